"""The C layout of what workers share, for the engines."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef struct Cell:
    uint32_t open     # sessions and flows, including those being connected
    uint32_t waiting  # those whose client has no answer yet


cdef class Loads:
    cdef void *_memory
    cdef size_t _memory_bytes
    cdef int _workers
    cdef Cell *cells        # this worker's, by number
    cdef uint16_t *parents  # the number that is counted along; that of 0 is never read
    cdef uint32_t _open(self, uint16_t number) noexcept nogil
    cdef inline void enter(self, uint32_t number) noexcept nogil:
        """Count a session that is being connected."""
        self.cells[number].open += 1
        self.cells[self.parents[number]].open += 1

    cdef inline void leave(self, uint32_t number) noexcept nogil:
        """Count a session that ended, or could not be connected."""
        self.cells[number].open -= 1
        self.cells[self.parents[number]].open -= 1

    cdef inline void wait(self, uint32_t number) noexcept nogil:
        """Count a session whose client waits for an answer."""
        self.cells[number].waiting += 1
        self.cells[self.parents[number]].waiting += 1

    cdef inline void answer(self, uint32_t number) noexcept nogil:
        """Count a session whose client no longer waits."""
        self.cells[number].waiting -= 1
        self.cells[self.parents[number]].waiting -= 1


cdef class Affinities:
    cdef void *_memory
    cdef size_t _memory_bytes
    cdef uint64_t _mask
    cdef uint64_t *_bucket(self, uint64_t key) noexcept nogil
    cdef uint64_t *_find(self, uint64_t key, uint64_t *value) noexcept nogil
    cdef void _write(self, uint64_t *entry, uint64_t key, uint64_t value) noexcept nogil
    cdef uint64_t tag_of(self, uint64_t key, uint64_t now_s, uint64_t ttl_s, bint touch) noexcept nogil
    cdef void set_tag(self, uint64_t key, uint64_t tag, uint64_t now_s) noexcept nogil
