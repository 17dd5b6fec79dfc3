"""The C layout of `RetryBudget`, for the dialer."""

from libc.stdint cimport uint64_t


cdef class RetryBudget:
    cdef double _share, _least, _sessions, _retries
    cdef uint64_t _counted_ms
    cdef void _decay(self, uint64_t now_ms) noexcept
    cpdef void begin(self, uint64_t now_ms) noexcept
    cpdef bint allows(self, uint64_t now_ms) noexcept
    cpdef bint spend(self, uint64_t now_ms) noexcept
