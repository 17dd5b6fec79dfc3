# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Turns of progress reports: every place of a table once per interval, a few at each tick, without timers."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef class Progress:
    """The turns, and the last reported counts of each place.

    `interval_ms` is the time between two turns of a place; 0 for never.
    """

    def __dealloc__(self):
        free(self._told)

    cdef uint32_t due(self, uint32_t places, uint64_t now_ms) noexcept nogil:
        """Return the number of places whose turn is now."""
        cdef uint64_t count
        if self._since_ms == 0 or now_ms < self._since_ms:
            self._since_ms = now_ms
        count = (now_ms - self._since_ms) * places // self.interval_ms
        if count:
            self._since_ms = now_ms
        return <uint32_t>min(count, min(<uint64_t>places, <uint64_t>PROGRESS_AT_ONCE))

    cdef uint32_t next_place(self, uint32_t places) noexcept nogil:
        """Return the place whose turn it is."""
        self._place += 1
        if self._place >= places:
            self._place = 0
        return self._place

    cdef bint take_since(
            self, uint32_t place, uint32_t generation, const uint64_t *counts, uint64_t *since) noexcept nogil:
        """Fill in the difference to the last report, and store the counts; return False without memory for them.

        Counts of another generation are ignored.
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
        """Fill in the difference to the last report, at the end; return False if there was none."""
        if place >= self._room or self._told[place].generation != generation:
            return False
        return self.take_since(place, generation, counts, since)
