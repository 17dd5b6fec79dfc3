# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""State that all workers share: the number of sessions of each origin, and the affinity of clients to origins.

Both are in memory files of the supervisor, which outlive a worker. There are no locks: a count is written by one worker
only, and torn writes of an affinity are detected.
"""

from libc.errno cimport errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from spectrum.engine.linux cimport *

cdef extern from *:
    """
    #define load_word(place) __atomic_load_n(place, __ATOMIC_RELAXED)
    #define store_word(place, value) __atomic_store_n(place, value, __ATOMIC_RELAXED)
    """
    uint64_t load_word(uint64_t *place) nogil
    void store_word(uint64_t *place, uint64_t value) nogil

cdef enum:
    CELLS = 65536
    # Entries that share a cache line of 64 bytes.
    WAYS = 4
    # An entry's value is a tag of 40 bits and the seconds of its last use, modulo 2 to the 24 (194 days).
    STAMP_BITS = 24
    STAMP_MASK = (1 << STAMP_BITS) - 1
    # Fraction of its time to live; an entry in use is written again only after this part of it.
    REFRESH_PART = 8
    # Buckets in the sample that estimates how full a table is: 64 KiB.
    SAMPLE = 1024

MAX_NUMBER = CELLS - 1


cdef class Loads:
    """Sessions by the number of an origin or pool.

    Args:
        memory: A memory file of at least `bytes_for(workers)`; -1 for private memory.
        workers: The number of workers that share it.
        worker: The number of this worker.
    """

    def __init__(self, int memory=-1, int workers=1, int worker=0):
        if not 0 <= worker < workers:
            raise ValueError(f"worker {worker} of {workers}")
        self._workers = workers
        self._memory_bytes = Loads.bytes_for(workers)
        self.parents = <uint16_t *>calloc(CELLS, sizeof(uint16_t))
        if self.parents == NULL:
            raise MemoryError()
        self._memory = mmap(NULL, self._memory_bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED if memory >= 0 else MAP_PRIVATE | MAP_ANONYMOUS, memory, 0)
        if self._memory == MAP_FAILED:
            self._memory = NULL
            raise OSError(errno, "the counts of sessions cannot be mapped")
        self.cells = <Cell *>self._memory + <size_t>worker * CELLS

    def __dealloc__(self):
        if self._memory != NULL:
            munmap(self._memory, self._memory_bytes)
        free(self.parents)

    @staticmethod
    def bytes_for(int workers):
        """Return the size of a memory file for some workers."""
        return <size_t>workers * CELLS * sizeof(Cell)

    def set_parent(self, uint16_t number, uint16_t parent):
        """Count the sessions of an origin for its pool `parent`, too; call it before the first session of `number`."""
        self.parents[number] = parent

    cdef uint32_t _open(self, uint16_t number) noexcept nogil:
        cdef uint32_t total = 0
        cdef int worker
        for worker in range(self._workers):
            total += (<Cell *>self._memory)[<size_t>worker * CELLS + number].open
        return total

    def open(self, uint16_t number):
        """Return the number of sessions, in all workers."""
        return self._open(number)

    def waiting(self, uint16_t number):
        """Return the number of sessions whose client waits for an answer, in all workers."""
        cdef uint32_t total = 0
        cdef int worker
        for worker in range(self._workers):
            total += (<Cell *>self._memory)[<size_t>worker * CELLS + number].waiting
        return total

    def clear(self, int worker):
        """Clear the counts of a dead worker."""
        if not 0 <= worker < self._workers:
            raise ValueError(f"worker {worker} of {self._workers}")
        memset(<Cell *>self._memory + <size_t>worker * CELLS, 0, CELLS * sizeof(Cell))


cdef class Affinities:
    """Clients' affinity: a table of fixed size from a client's key to an origin's tag.

    Several workers write without a lock: an entry's first word is key XOR value, so that words of two writers do not
    make a valid entry (Hyatt and Mann, "A lockless transposition table", 2002). A full bucket replaces its oldest
    entry.

    Args:
        memory: A memory file of at least `bytes_for(entries)`.
        entries: The least number of clients that fit.
    """

    def __init__(self, int memory, uint32_t entries):
        self._memory_bytes = Affinities.bytes_for(entries)
        self._mask = self._memory_bytes // (WAYS * 16) - 1
        self._memory = mmap(NULL, self._memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)
        if self._memory == MAP_FAILED:
            self._memory = NULL
            raise OSError(errno, "the table of affinities cannot be mapped")

    def __dealloc__(self):
        if self._memory != NULL:
            munmap(self._memory, self._memory_bytes)

    @staticmethod
    def bytes_for(uint32_t entries):
        """Return the size of a memory file for some entries."""
        cdef size_t buckets = 1
        while buckets * WAYS < entries:
            buckets *= 2
        return buckets * WAYS * 16

    cdef uint64_t *_bucket(self, uint64_t key) noexcept nogil:
        return <uint64_t *>self._memory + (key & self._mask) * WAYS * 2

    cdef uint64_t *_find(self, uint64_t key, uint64_t *value) noexcept nogil:
        """Return the entry of a key, and its value; NULL if there is none."""
        cdef uint64_t *entry = self._bucket(key)
        cdef int _
        for _ in range(WAYS):
            value[0] = load_word(entry + 1)
            if value[0] and load_word(entry) ^ value[0] == key:
                return entry
            entry += 2
        return NULL

    cdef void _write(self, uint64_t *entry, uint64_t key, uint64_t value) noexcept nogil:
        store_word(entry, key ^ value)
        store_word(entry + 1, value)

    def find(self, uint64_t key, uint64_t now_s, uint64_t ttl_s, bint touch=True):
        """Return the tag of a key; 0 if there is none, or it was not used for `ttl_s`.

        `now_s` are monotonic seconds, the same in all workers. The lookup counts as use, unless `touch` is False.
        """
        return self.tag_of(key, now_s, ttl_s, touch)

    cdef uint64_t tag_of(self, uint64_t key, uint64_t now_s, uint64_t ttl_s, bint touch) noexcept nogil:
        cdef uint64_t value, age
        cdef uint64_t *entry = self._find(key, &value)
        if entry == NULL:
            return 0
        age = (now_s - value) & STAMP_MASK
        if age >= ttl_s:
            return 0
        if touch and age * REFRESH_PART >= ttl_s:
            self._write(entry, key, value & ~<uint64_t>STAMP_MASK | (now_s & STAMP_MASK))
        return value >> STAMP_BITS

    def remember(self, uint64_t key, uint64_t tag, uint64_t now_s):
        """Set the tag of a key, 1 to 2**40 - 1."""
        self.set_tag(key, tag, now_s)

    cdef void set_tag(self, uint64_t key, uint64_t tag, uint64_t now_s) noexcept nogil:
        cdef uint64_t value, age, oldest = 0
        cdef uint64_t *entry = self._find(key, &value)
        cdef uint64_t *candidate = self._bucket(key)
        cdef int _
        if entry == NULL:
            entry = candidate
            for _ in range(WAYS):
                value = load_word(candidate + 1)
                age = (now_s - value) & STAMP_MASK if value else STAMP_MASK + 1
                if age > oldest:
                    oldest = age
                    entry = candidate
                candidate += 2
        self._write(entry, key, tag << STAMP_BITS | (now_s & STAMP_MASK))

    def forget(self, uint64_t key):
        """Remove a key."""
        cdef uint64_t value
        cdef uint64_t *entry = self._find(key, &value)
        if entry != NULL:
            self._write(entry, 0, 0)

    def share(self, uint64_t now_s, uint64_t ttl_s):
        """Return the share of entries used within `ttl_s`, from a sample: keys are evenly distributed.

        Reading all of a large table would also allocate all of its pages.
        """
        cdef uint64_t value, seen = min(self._mask + 1, <uint64_t>SAMPLE) * WAYS, used = 0, at
        for at in range(seen):
            value = load_word(<uint64_t *>self._memory + 2 * at + 1)
            used += value != 0 and ((now_s - value) & STAMP_MASK) < ttl_s
        return <double>used / <double>seen
