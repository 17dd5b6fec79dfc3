"""Counters per app, in an array that grows with the apps."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

cdef inline int grow_counters(uint64_t **counters, uint32_t *apps, uint32_t wanted, uint32_t each) except -1:
    """Grow `counters` to `each` counters, zero at first, for at least `wanted` apps; set `apps` to its capacity."""
    cdef uint64_t *grown
    cdef uint32_t count = wanted * 2 + 16
    if wanted <= apps[0]:
        return 0
    grown = <uint64_t *>realloc(counters[0], each * count * sizeof(uint64_t))
    if grown == NULL:
        raise MemoryError()
    memset(grown + each * apps[0], 0, each * (count - apps[0]) * sizeof(uint64_t))
    counters[0] = grown
    apps[0] = count
    return 0
