# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Counts for limits: open sessions per app and per client, and rates of new ones.

Both are sketches of fixed size in memory that all workers share, so that a flood of addresses costs no memory (Cormode
and Muthukrishnan, "An improved data stream summary: the count-min sketch", 2005): a key has a cell in each of four
rows, and its value is the least of them. Keys may share cells; if one shares all four, its value is too high, never too
low. The cells of a key depend on a secret.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from spectrum.engine.linux cimport *

cdef extern from *:
    """
    #define load_word(place) __atomic_load_n(place, __ATOMIC_RELAXED)
    #define store_word(place, value) __atomic_store_n(place, value, __ATOMIC_RELAXED)
    static inline uint64_t mix(uint64_t a, uint64_t b) {
        /* The folded product that wyhash and its kin mix with. */
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t mix(uint64_t a, uint64_t b) nogil
    uint64_t load_word(uint64_t *place) nogil
    void store_word(uint64_t *place, uint64_t value) nogil

cdef enum:
    ROWS = 4
    # Cells per row. With 50,000 clients in two groups, one client in a hundred has a count that is too high by one.
    CELL_BITS = 18
    CELLS = 1 << CELL_BITS
    RATE_BITS = 16
    RATE_CELLS = 1 << RATE_BITS
    NS_PER_S = 1000000000

# Odd numbers with as many ones as zeros, from wyhash.
cdef uint64_t FIRST = 0xa0761d6478bd642f
cdef uint64_t SECOND = 0xe7037ed1a0b428db


cdef void *_map(int memory, size_t size) except NULL:
    cdef void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE,
                             MAP_SHARED if memory >= 0 else MAP_PRIVATE | MAP_ANONYMOUS, memory, 0)
    if mapped == MAP_FAILED:
        raise OSError(errno, "the counts for limits cannot be mapped")
    return mapped


cdef inline uint32_t _cell(uint64_t key, int row, int bits) noexcept nogil:
    """Return the cell of a key in a row; each mixed word serves two rows."""
    cdef uint64_t word = mix(key ^ FIRST, SECOND + <uint64_t>(row >> 1))
    return <uint32_t>((word >> (32 * (row & 1))) & ((1 << bits) - 1)) + (<uint32_t>row << bits)


cdef class Census:
    """Sessions by group and by client in a group. A group is any number: that of an app, or of the whole node.

    Each worker counts in cells of its own, without locks, and the counts of a dead worker can be cleared.

    Args:
        memory: A memory file of at least `bytes_for(workers)`; -1 for private memory.
        workers: The number of workers that share it.
        worker: The number of this worker.
        secret: The same for all workers.
        ipv4_bits: The bits of an IPv4 address that identify a client.
        ipv6_bits: The same for IPv6.
        ipv4_wide_bits: The bits of an IPv4 address that identify the client's prefix.
        ipv6_wide_bits: The same for IPv6.
    """

    def __init__(self, int memory=-1, int workers=1, int worker=0, *, uint64_t secret=0, int ipv4_bits=32,
                 int ipv6_bits=64, int ipv4_wide_bits=24, int ipv6_wide_bits=48):
        if not 0 <= worker < workers:
            raise ValueError(f"worker {worker} of {workers}")
        self._workers = workers
        self._secret = secret
        self._ipv4_bits = ipv4_bits
        self._ipv6_bits = ipv6_bits
        self._ipv4_wide_bits = ipv4_wide_bits
        self._ipv6_wide_bits = ipv6_wide_bits
        self._memory_bytes = Census.bytes_for(workers)
        self._memory = _map(memory, self._memory_bytes)
        self._own = <uint32_t *>self._memory + <size_t>worker * ROWS * CELLS

    def __dealloc__(self):
        if self._memory != NULL:
            munmap(self._memory, self._memory_bytes)

    @staticmethod
    def bytes_for(int workers):
        """Return the size of a memory file for some workers; only used pages take memory."""
        return <size_t>workers * ROWS * CELLS * sizeof(uint32_t)

    cdef uint64_t client_key(self, uint64_t group, const uint8_t *client, int length) noexcept nogil:
        """Return the key of a client in a group."""
        return self._key(group, client, length, self._ipv4_bits if length == 4 else self._ipv6_bits)

    cdef uint64_t prefix_key(self, uint64_t group, const uint8_t *client, int length) noexcept nogil:
        """Return the key of a client's prefix, which differs from the client's own key whatever its length."""
        return self._key(~group, client, length, self._ipv4_wide_bits if length == 4 else self._ipv6_wide_bits)

    cdef uint64_t _key(self, uint64_t group, const uint8_t *client, int length, int bits) noexcept nogil:
        cdef uint8_t prefix[16]
        cdef uint64_t words[2]
        memset(prefix, 0, 16)
        memcpy(prefix, client, bits >> 3)
        if bits & 7:
            prefix[bits >> 3] = client[bits >> 3] & <uint8_t>(0xFF00 >> (bits & 7))
        memcpy(words, prefix, 16)
        return mix(mix(words[0] ^ self._secret, words[1] ^ FIRST) ^ group, SECOND ^ <uint64_t>length)

    cdef void _add_key(self, uint64_t key, int amount) noexcept nogil:
        cdef int row
        key ^= self._secret
        for row in range(ROWS):
            self._own[_cell(key, row, CELL_BITS)] += amount

    cdef void _add(self, uint64_t node, uint64_t app, const uint8_t *client, int length, int amount) noexcept nogil:
        self._add_key(node, amount)
        self._add_key(app, amount)
        self._add_key(self.client_key(node, client, length), amount)
        self._add_key(self.client_key(app, client, length), amount)
        self._add_key(self.prefix_key(node, client, length), amount)
        self._add_key(self.prefix_key(app, client, length), amount)

    cdef void enter(self, uint64_t node, uint64_t app, const uint8_t *client, int length) noexcept nogil:
        """Count a new session: for the node and the app, and for its client in both."""
        self._add(node, app, client, length, 1)

    cdef void leave(self, uint64_t node, uint64_t app, const uint8_t *client, int length) noexcept nogil:
        """Count the end of a session."""
        self._add(node, app, client, length, -1)

    cdef uint32_t _count_key(self, uint64_t key) noexcept nogil:
        cdef uint32_t least = 0xFFFFFFFF, total, cell
        cdef int row, worker
        key ^= self._secret
        for row in range(ROWS):
            cell = _cell(key, row, CELL_BITS)
            total = 0
            for worker in range(self._workers):
                total += (<uint32_t *>self._memory)[<size_t>worker * ROWS * CELLS + cell]
            least = min(least, total)
        return least

    def count(self, uint64_t group):
        """Return the number of sessions of a group, in all workers."""
        return self._count_key(group)

    def count_of(self, int worker, uint64_t group):
        """Return the number of sessions of a group in one worker."""
        if not 0 <= worker < self._workers:
            raise ValueError(f"worker {worker} of {self._workers}")
        cdef uint32_t least = 0xFFFFFFFF
        cdef int row
        for row in range(ROWS):
            least = min(least, (<uint32_t *>self._memory)[<size_t>worker * ROWS * CELLS
                                                          + _cell(group ^ self._secret, row, CELL_BITS)])
        return least

    def count_client(self, uint64_t group, bytes client, bint wide=False):
        """Return the number of sessions of a client in a group, with `wide` of the client's prefix, in all workers."""
        return self._count_key(self.key_of(group, client, wide))

    def key_of(self, uint64_t group, bytes client, bint wide=False):
        """Return the key of a client in a group, with `wide` of the client's prefix.

        Raises:
            ValueError: If `client` is not an address of 4 or 16 bytes.
        """
        if len(client) not in (4, 16):
            raise ValueError(f"an address is 4 or 16 bytes, not {len(client)}")
        cdef const uint8_t *address = <const uint8_t *>PyBytes_AS_STRING(client)
        if wide:
            return self.prefix_key(group, address, <int>len(client))
        return self.client_key(group, address, <int>len(client))

    def add(self, uint64_t node, uint64_t app, bytes client, int amount):
        """Add to the count of a client's sessions, as the engines do one by one."""
        self.key_of(node, client)
        self._add(node, app, <const uint8_t *>PyBytes_AS_STRING(client), <int>len(client), amount)

    def clear(self, int worker):
        """Clear the counts of a dead worker."""
        if not 0 <= worker < self._workers:
            raise ValueError(f"worker {worker} of {self._workers}")
        memset(<uint32_t *>self._memory + <size_t>worker * ROWS * CELLS, 0, ROWS * CELLS * sizeof(uint32_t))


cdef class Rates:
    """Rate limiters by key: the generic cell rate algorithm (ITU-T I.371) with a burst of one second's worth.

    A cell holds the theoretical arrival time. Workers write without a lock; of two at the same moment one may not be
    charged.

    Args:
        memory: A memory file of at least `bytes_size()`; -1 for private memory.
    """

    def __init__(self, int memory=-1):
        self._memory_bytes = Rates.bytes_size()
        self._cells = <uint64_t *>_map(memory, self._memory_bytes)

    def __dealloc__(self):
        if self._cells != NULL:
            munmap(self._cells, self._memory_bytes)

    @staticmethod
    def bytes_size():
        """Return the size of its memory file."""
        return ROWS * RATE_CELLS * sizeof(uint64_t)

    cdef uint64_t _paid_until(self, uint64_t key) noexcept nogil:
        cdef uint64_t least = 0xFFFFFFFFFFFFFFFF
        cdef int row
        for row in range(ROWS):
            least = min(least, load_word(&self._cells[_cell(key, row, RATE_BITS)]))
        return least

    def wait_ns(self, uint64_t key, uint32_t per_second, uint64_t now_ns):
        """Return the ns after which the next event conforms to a rate; 0 for now."""
        cdef uint64_t paid = self._paid_until(key) + NS_PER_S // per_second
        return paid - (now_ns + NS_PER_S) if paid > now_ns + NS_PER_S else 0

    def charge(self, uint64_t key, uint32_t per_second, uint64_t now_ns):
        """Charge an admitted event."""
        self.pay(key, NS_PER_S // per_second, now_ns)

    cdef bint afford(self, uint64_t key, uint64_t cost_ns, uint64_t now_ns) noexcept nogil:
        """Return whether an event with this cost in ns conforms to the rate."""
        return self._paid_until(key) + cost_ns <= now_ns + NS_PER_S

    cdef uint64_t pay(self, uint64_t key, uint64_t cost_ns, uint64_t now_ns) noexcept nogil:
        """Charge a cost in ns; return the limiter's new time."""
        cdef uint64_t paid = max(self._paid_until(key), now_ns) + cost_ns
        cdef uint64_t *cell
        cdef int row
        for row in range(ROWS):
            cell = &self._cells[_cell(key, row, RATE_BITS)]
            if load_word(cell) < paid:
                store_word(cell, paid)
        return paid
