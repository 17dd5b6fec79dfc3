"""The C layout of `SessionPlan`, for the sessions."""

from libc.stdint cimport uint32_t, uint64_t
from spectrum.core.access.prefix_table cimport PrefixTable
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.record_form cimport RecordForm
from spectrum.engine.slab cimport Session

cdef enum:
    ADMITTED = 0
    LEFT_TO_HANDLER = -1

cdef struct Limit:
    uint64_t group
    int scope
    bint is_rate
    uint32_t most
    int reason
    bint delays

cdef class SessionPlan:
    cdef tuple _orders
    cdef Py_ssize_t _turn
    cdef int _header
    cdef object _judge
    cdef PrefixTable _prefixes
    cdef Limit *_limits
    cdef int _limit_count
    cdef uint32_t connect_timeout_ms, idle_timeout_ms
    cdef RecordForm form
    cdef tuple next_targets(self)
    cdef bint _is_named(self, Session *session) except -1
    cdef bytes header_of(self, Session *session)
    cdef int admit(self, Session *session, Census census, Rates rates) except -2
    cdef uint64_t _key(self, Limit *limit, Session *session, Census census) noexcept nogil
