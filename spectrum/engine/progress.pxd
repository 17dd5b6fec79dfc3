"""Reports of sessions and flows while they are open: that they are connected, and their progress."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc

cdef enum:
    # Places of one tick (TICK_MS), so that no open session waits long: a record takes up to 9 us. With more places than
    # fit into the interval, the interval gets longer.
    PROGRESS_AT_ONCE = 400
    # Counts of a session: bytes each way; of a flow also datagrams each way.
    COUNTED = 4

cdef struct Names:
    uint64_t *names
    uint32_t count
    uint32_t room

cdef struct Told:
    uint32_t generation
    uint64_t counts[4]


cdef class Progress:
    cdef uint64_t interval_ms
    cdef uint64_t _since_ms
    cdef uint32_t _place
    # By place, the last report. Only with progress reports: a session has no room for it.
    cdef Told *_told
    cdef uint32_t _room

    cdef uint32_t due(self, uint32_t places, uint64_t now_ms) noexcept nogil
    cdef uint32_t next_place(self, uint32_t places) noexcept nogil
    cdef bint take_since(
        self, uint32_t place, uint32_t generation, const uint64_t *counts, uint64_t *since) noexcept nogil
    cdef bint left_since(
        self, uint32_t place, uint32_t generation, const uint64_t *counts, uint64_t *since) noexcept nogil


cdef inline bint add_name(Names *names, uint64_t name) noexcept nogil:
    """Add a name; return False without memory for it."""
    cdef uint64_t *grown
    if names.count == names.room:
        grown = <uint64_t *>realloc(names.names, (names.room * 2 + 64) * sizeof(uint64_t))
        if grown == NULL:
            return False
        names.names = grown
        names.room = names.room * 2 + 64
    names.names[names.count] = name
    names.count += 1
    return True
