"""The C layout of `Spares`, for targets and the dialer."""

from libc.stdint cimport uint64_t

cdef enum:
    MAX_SPARES = 256
    # Counters.
    OPENED = 0
    USED     # by a session
    LOST     # closed by the origin
    CLOSED   # not wanted any more
    FAILED   # to connect
    COUNTS


cdef class Spares:
    cdef int _wanted
    cdef uint64_t _most, _timeout_ms
    # Ready ones first, the oldest at the beginning; then those being connected.
    cdef int[MAX_SPARES] _fds
    cdef uint64_t[MAX_SPARES] _deadline_ms
    cdef int _ready, _count
    cdef uint64_t _look_at_ms, _not_before_ms, _pause_ms
    cdef uint64_t[COUNTS] counts
    cdef void want(self, int wanted, uint64_t most, uint64_t timeout_ms) noexcept
    cdef int take(self, uint64_t now_ms) noexcept nogil
    cdef int look(self, uint64_t sessions, int workers, uint64_t now_ms) noexcept nogil
    cdef void _look_over(self, uint64_t now_ms) noexcept nogil
    cdef bint is_busy(self, uint64_t now_ms) noexcept nogil
    cdef void add(self, int fd, uint64_t now_ms) noexcept nogil
    cdef void fail(self, uint64_t now_ms) noexcept nogil
    cdef void _lose(self, uint64_t now_ms) noexcept nogil
    cdef void _rest(self, uint64_t now_ms) noexcept nogil
    cdef void _remove(self, int place) noexcept nogil
    cdef void _close(self, int count) noexcept nogil
    cdef void close_all(self) noexcept nogil
    cdef int count(self) noexcept nogil
