# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Whose turn it is to be told of: all places of a table once in an interval, a few at each tick; no timer for each."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef class Progress:
    """The turns, and what was told last of each place.

    `interval_ms` is how often each place has its turn; 0 for never.
    """

    def __dealloc__(self):
        free(self._told)

    cdef uint32_t due(self, uint32_t places, uint64_t now_ms) noexcept nogil:
        """Return how many of the places have their turn now."""
        cdef uint64_t count
        if self._since_ms == 0 or now_ms < self._since_ms:
            self._since_ms = now_ms
        count = (now_ms - self._since_ms) * places // self.interval_ms
        if count:
            self._since_ms = now_ms
        return <uint32_t>min(count, min(<uint64_t>places, <uint64_t>PROGRESS_AT_ONCE))

    cdef uint32_t next_place(self, uint32_t places) noexcept nogil:
        """Return the place whose turn it is, of so many."""
        self._place += 1
        if self._place >= places:
            self._place = 0
        return self._place

    cdef bint take_since(
            self, uint32_t place, uint32_t generation, const uint64_t *counts, uint64_t *since) noexcept nogil:
        """Fill in what came since the last time, and keep the counts; return False where there is no memory for that.

        Of another generation nothing was told.
        """
        cdef uint32_t room
        cdef int i
        cdef Told *told
        if place >= self._room:
            room = max(place + 1, self._room * 2)
            told = <Told *>realloc(self._told, room * sizeof(Told))
            if told == NULL:
                return False
            memset(told + self._room, 0, (room - self._room) * sizeof(Told))
            self._told = told
            self._room = room
        told = &self._told[place]
        if told.generation != generation:
            memset(told, 0, sizeof(Told))
            told.generation = generation
        for i in range(COUNTED):
            since[i] = counts[i] - told.counts[i] if counts[i] >= told.counts[i] else counts[i]
            told.counts[i] = counts[i]
        return True

    cdef bint left_since(
            self, uint32_t place, uint32_t generation, const uint64_t *counts, uint64_t *since) noexcept nogil:
        """Fill in what came since the last time, at the end; return False where nothing was told before."""
        if place >= self._room or self._told[place].generation != generation:
            return False
        return self.take_since(place, generation, counts, since)
