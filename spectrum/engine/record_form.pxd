"""The C layout of `RecordForm`, for the sessions."""

from libc.stdint cimport int64_t, uint64_t
from spectrum.engine.slab cimport Session

cdef struct Text:
    # Lines as they are written, one after the other.
    char *data
    size_t size
    size_t room

cdef struct WallClock:
    # What is added to the monotonic clock, and the last second that was written.
    int64_t offset_ns
    int64_t second
    char text[20]

cdef void read_wall_clock(WallClock *clock) noexcept nogil

cdef class RecordForm:
    cdef object _template_of
    cdef dict _pieces
    cdef char *_write_value(
        self, char *at, int mark, uint64_t name, Session *session, const uint64_t *since, WallClock *clock,
        object where) except NULL
    cdef bint write(self, Text *text, uint64_t name, Session *session, int outcome, int error, const uint64_t *since,
                    WallClock *clock, object where) except -1
