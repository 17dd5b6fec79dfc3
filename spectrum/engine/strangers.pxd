"""The C layout of `Strangers`, for the UDP engine."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # Bits of the table of sources, and the shift that makes a bit's number of a hash.
    TABLE_WORDS = 512
    HASH_SHIFT = 18
    # Of the kernel (BPF_MAXINSNS).
    MAX_INSTRUCTIONS = 4096
    # Of the code of rules: the table takes 2,046, and the rest 44.
    MAX_BLOCK_INSTRUCTIONS = 2000
    # So many datagrams that rules block stand for one that passes. Each wakes the worker, which takes longer than to
    # refuse it. The same in kernel/syn_filter.py.
    PASSED_ONE_IN = 64

cdef struct Instruction:
    # struct sock_filter of linux/filter.h
    uint16_t code
    uint8_t yes
    uint8_t no
    uint32_t operand


cdef class Strangers:
    cdef uint32_t _key
    # Sources in use lately, and in the period before it.
    cdef uint32_t _now[TABLE_WORDS]
    cdef uint32_t _before[TABLE_WORDS]
    cdef uint64_t _since_ns
    cdef int _fold
    cdef Instruction _code[MAX_INSTRUCTIONS]
    cdef int _size
    # Rules that block, as code for each version of IP.
    cdef bytes _four, _six
    cdef Instruction *_blocks[2]
    cdef uint32_t _block_sizes[2]
    cdef uint64_t expires_ns
    cdef bint has_blocks
    # Whether a source came that programs do not have.
    cdef bint changed

    cdef uint32_t _place_of(self, const uint8_t *source) noexcept nogil
    cdef void note(self, const uint8_t *source, uint64_t now_ns) noexcept nogil
    cdef bint has(self, const uint8_t *source) noexcept nogil
    cdef bint is_selective(self) noexcept nogil
    cdef int attach(self, int fd, uint32_t one_in, bint blocks) noexcept nogil
    cdef void expire(self, uint64_t now_ns) noexcept nogil
    cdef void detach(self, int fd) noexcept nogil
    cdef void _put(self, uint16_t code, uint8_t yes, uint8_t no, uint32_t operand) noexcept nogil
    cdef void _put_table(self, const uint32_t *words, uint32_t first, uint32_t count) noexcept nogil
    cdef void _put_blocks(self) noexcept nogil
    cdef void _make(self, uint32_t one_in, bint blocks) noexcept nogil
