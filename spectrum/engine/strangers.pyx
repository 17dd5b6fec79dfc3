# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Datagrams of strangers are dropped before the queue of a socket, while they are too many: a classic BPF program.

A stranger is a source (an IPv4 address, the /64 of an IPv6 one) that had no confirmed flow lately. Flows that there are
share the queue of a socket with strangers, so these fill it in a flood, and their datagrams take the worker's time. The
kernel runs the program before the queue (socket(7), SO_ATTACH_FILTER), and no privilege is needed.

Such programs have no maps. The table of sources is part of the code, found by bisection: a Bloom filter with one hash,
so a stranger may be taken for one who is not, and never the other way round.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.linux cimport SOL_SOCKET, setsockopt
from spectrum.engine.sockets cimport MAPPED, clock_ns

cdef enum:
    # linux/include/uapi/asm-generic/socket.h
    SO_ATTACH_FILTER = 26
    SO_DETACH_FILTER = 27
    # linux/bpf_common.h
    LOAD_WORD = 0x20
    LOAD_BYTE = 0x30
    LOAD_NUMBER = 0x00
    LOAD_X_FROM_MEMORY = 0x61
    STORE = 0x02
    COPY_TO_X = 0x07
    COPY_FROM_X = 0x87
    AND = 0x54
    XOR = 0xA4
    XOR_X = 0xAC
    MULTIPLY = 0x24
    SHIFT_RIGHT = 0x74
    SHIFT_RIGHT_X = 0x7C
    JUMP = 0x05
    JUMP_EQUAL = 0x15
    JUMP_GREATER_EQUAL = 0x35
    RETURN = 0x06

# linux/filter.h: offsets from the network header, and a random number.
cdef uint32_t NETWORK = 0xFFF00000
cdef uint32_t RANDOM = 0xFFFFF038
cdef uint32_t PASS = 0xFFFFFFFF
# Knuth's multiplicative hashing; every bit of the hash depends on all of the address by the shift between two of them.
cdef uint32_t FACTOR = 0x9E3779B1
# Sources are in the table for one to two of these after their flows were last used.
cdef uint64_t PERIOD_NS = 600000000000
# The table of fewer words for kernels whose net.core.optmem_max is 20 KiB: a quarter.
cdef int FOLDED = 2

cdef struct Program:
    # struct sock_fprog of linux/filter.h
    unsigned short size
    Instruction *code


cdef class Strangers:
    """The sources in use, and the program that lets only one in so many datagrams of others pass."""

    def __init__(self):
        self._key = <uint32_t>(clock_ns() * FACTOR >> 7)

    cdef uint32_t _place_of(self, const uint8_t *source) noexcept nogil:
        """Return the number of a source's bit; its address is mapped."""
        cdef uint32_t words[2]
        cdef uint32_t hash
        if memcmp(source, MAPPED, 12) == 0:
            hash = big(source + 12)
        else:
            words[0], words[1] = big(source), big(source + 4)
            hash = words[0] * FACTOR ^ words[1]
        hash = (hash ^ self._key) * FACTOR
        hash = (hash ^ hash >> 16) * FACTOR
        return hash >> HASH_SHIFT

    cdef void note(self, const uint8_t *source, uint64_t now_ns) noexcept nogil:
        """Take note of a source in use."""
        cdef uint32_t place = self._place_of(source)
        cdef uint32_t bit = <uint32_t>1 << (place & 31)
        if now_ns - self._since_ns > PERIOD_NS:
            memcpy(self._before, self._now, sizeof(self._now))
            memset(self._now, 0, sizeof(self._now))
            self._since_ns = now_ns
        if not self._now[place >> 5] & bit:
            self.changed |= not self._before[place >> 5] & bit
            self._now[place >> 5] |= bit

    cdef bint has(self, const uint8_t *source) noexcept nogil:
        """Return whether a source is in the table."""
        cdef uint32_t place = self._place_of(source)
        return ((self._now[place >> 5] | self._before[place >> 5]) >> (place & 31) & 1) != 0

    cdef bint is_selective(self) noexcept nogil:
        """Return whether few strangers are taken for sources in use: at most one in eight."""
        cdef uint32_t word, place, count = 0
        for place in range(TABLE_WORDS):
            word = self._now[place] | self._before[place]
            while word:
                word &= word - 1
                count += 1
        return count <= TABLE_WORDS * 32 // 8

    # --- the program ----------------------------------------------------------------------------------------------

    cdef int attach(self, int fd, uint32_t one_in, bint blocks) noexcept nogil:
        """Let one in so many datagrams of strangers pass to a socket, by chance, all for 0; return 0 or an errno.

        With `blocks`, few of those pass that rules block. The program has the sources that are in use now; it replaces
        another one.
        """
        cdef Program program
        while True:
            self._make(one_in, blocks)
            program.size, program.code = <unsigned short>self._size, self._code
            if setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(Program)) == 0:
                return 0
            if errno != ENOMEM or self._fold:
                return errno
            self._fold = FOLDED

    cdef void detach(self, int fd) noexcept nogil:
        """Let all datagrams pass to a socket; nothing happens if it has no program."""
        cdef int unused = 0
        setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(int))

    cdef void _put(self, uint16_t code, uint8_t yes, uint8_t no, uint32_t operand) noexcept nogil:
        cdef Instruction *one = &self._code[self._size]
        one.code, one.yes, one.no, one.operand = code, yes, no, operand
        self._size += 1

    cdef void _put_table(self, const uint32_t *words, uint32_t first, uint32_t count) noexcept nogil:
        """Have a word of the table loaded by its number. Jumps behind all of it are written by `_make`: operand 0."""
        cdef uint32_t half = count // 2, place, jump
        for place in range(1, count):
            if words[place] != words[0]:
                self._put(JUMP_GREATER_EQUAL, 0, 1, first + half)
                jump = <uint32_t>self._size
                self._put(JUMP, 0, 0, 0)
                self._put_table(words, first, half)
                self._code[jump].operand = <uint32_t>self._size - jump - 1
                self._put_table(words + half, first + half, count - half)
                return
        self._put(LOAD_NUMBER, 0, 0, words[0])
        self._put(JUMP, 0, 0, 0)

    cdef void expire(self, uint64_t now_ns) noexcept nogil:
        """Forget the rules once the first of them has ended."""
        if self.has_blocks and self.expires_ns and self.expires_ns <= now_ns:
            self.has_blocks, self.changed = False, True

    cdef void _put_blocks(self) noexcept nogil:
        """Drop what rules block, but for one in PASSED_ONE_IN."""
        cdef uint32_t four = self._block_sizes[0], six = self._block_sizes[1]
        self._put(LOAD_WORD, 0, 0, RANDOM)
        self._put(JUMP_GREATER_EQUAL, 1, 0, PASS // PASSED_ONE_IN)
        self._put(JUMP, 0, 0, 5 + four + six)
        self._put(LOAD_BYTE, 0, 0, NETWORK)
        self._put(SHIFT_RIGHT, 0, 0, 4)
        self._put(JUMP_EQUAL, 1, 0, 4)
        self._put(JUMP, 0, 0, four + 1)
        memcpy(&self._code[self._size], self._blocks[0], four * sizeof(Instruction))
        self._size += four
        self._put(JUMP, 0, 0, six)
        memcpy(&self._code[self._size], self._blocks[1], six * sizeof(Instruction))
        self._size += six

    cdef void _make(self, uint32_t one_in, bint blocks) noexcept nogil:
        cdef uint32_t words[TABLE_WORDS]
        cdef uint32_t place, count = TABLE_WORDS >> self._fold
        cdef int begin, at
        memset(words, 0, sizeof(words))
        for place in range(TABLE_WORDS):
            words[place >> self._fold] |= self._now[place] | self._before[place]
        self.changed = False
        self._size = 0
        self._put(LOAD_BYTE, 0, 0, NETWORK)
        self._put(SHIFT_RIGHT, 0, 0, 4)
        self._put(JUMP_EQUAL, 0, 6, 6)
        self._put(LOAD_WORD, 0, 0, NETWORK + 8)
        self._put(MULTIPLY, 0, 0, FACTOR)
        self._put(COPY_TO_X, 0, 0, 0)
        self._put(LOAD_WORD, 0, 0, NETWORK + 12)
        self._put(XOR_X, 0, 0, 0)
        self._put(JUMP, 0, 0, 1)
        self._put(LOAD_WORD, 0, 0, NETWORK + 12)
        self._put(XOR, 0, 0, self._key)
        self._put(MULTIPLY, 0, 0, FACTOR)
        self._put(COPY_TO_X, 0, 0, 0)
        self._put(SHIFT_RIGHT, 0, 0, 16)
        self._put(XOR_X, 0, 0, 0)
        self._put(MULTIPLY, 0, 0, FACTOR)
        self._put(SHIFT_RIGHT, 0, 0, HASH_SHIFT)
        self._put(COPY_TO_X, 0, 0, 0)
        self._put(AND, 0, 0, 31)
        self._put(STORE, 0, 0, 0)
        self._put(COPY_FROM_X, 0, 0, 0)
        self._put(SHIFT_RIGHT, 0, 0, 5 + self._fold)
        begin = self._size
        self._put_table(words, 0, count)
        for at in range(begin, self._size):
            if self._code[at].code == JUMP and self._code[at].operand == 0:
                self._code[at].operand = self._size - at - 1
        self._put(LOAD_X_FROM_MEMORY, 0, 0, 0)
        self._put(SHIFT_RIGHT_X, 0, 0, 0)
        self._put(AND, 0, 0, 1)
        self._put(JUMP_EQUAL, 0, 1, 1)
        self._put(RETURN, 0, 0, PASS)
        if blocks:
            self._put_blocks()
        if one_in > 1:
            self._put(LOAD_WORD, 0, 0, RANDOM)
            self._put(JUMP_GREATER_EQUAL, 0, 1, PASS // one_in)
            self._put(RETURN, 0, 0, 0)
        self._put(RETURN, 0, 0, PASS)

    # === Public API ===

    def note_source(self, bytes source, uint64_t now_ns):
        """Take note of a source in use, an address of 16 bytes, as the engine does."""
        self.note(source, now_ns)

    def has_source(self, bytes source):
        """Return whether the table has a source."""
        return self.has(source)

    def block(self, bytes four, bytes six, uint64_t expires_ns):
        """Drop what rules block from the next program on, rather than what others did.

        Args:
            four: Code for datagrams of IPv4 (struct sock_filter): what it does not return for goes on behind it.
            six: The same for IPv6.
            expires_ns: When the first of the rules ends, on the monotonic clock; 0 for never.

        Raises:
            ValueError: If it is too long.
        """
        if len(four) % sizeof(Instruction) or len(six) % sizeof(Instruction) or (
                len(four) + len(six) > MAX_BLOCK_INSTRUCTIONS * sizeof(Instruction)):
            raise ValueError(f"rules take {MAX_BLOCK_INSTRUCTIONS} instructions at most")
        self.expires_ns = expires_ns
        if self.has_blocks and four == self._four and six == self._six:
            return
        self._four, self._six = four, six
        self._blocks[0] = <Instruction *>PyBytes_AS_STRING(four)
        self._blocks[1] = <Instruction *>PyBytes_AS_STRING(six)
        self._block_sizes[0] = <uint32_t>(len(four) // sizeof(Instruction))
        self._block_sizes[1] = <uint32_t>(len(six) // sizeof(Instruction))
        self.changed |= self.has_blocks or len(four) + len(six) != 0
        self.has_blocks = len(four) + len(six) != 0

    def filter(self, int fd, uint32_t one_in, bint blocks=False):
        """Let one in so many datagrams of strangers pass to a socket; all for 1. With `blocks`, as rules say.

        Raises:
            OSError: If the kernel refuses the program.
        """
        cdef int error = 0
        if one_in > 1 or blocks:
            error = self.attach(fd, one_in, blocks)
        else:
            self.detach(fd)
        if error:
            raise OSError(error, "the filter of a socket cannot be set")


cdef inline uint32_t big(const uint8_t *at) noexcept nogil:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]
