"""The C layout of `Dialer`, for the relay."""

from libc.stdint cimport uint32_t, uint64_t
from spectrum.engine.sessions cimport Sessions
from spectrum.engine.slab cimport Dial, Session
from spectrum.engine.target cimport Target


cdef class Dialer(Sessions):
    cdef list _preconnected  # the targets that have spare connections
    cdef void _dial_next(self, uint32_t index, Session *session) noexcept
    cdef bint _is_within_budget(self, Dial *dial, Target target) noexcept
    cdef int _take_spare(self, Target target) noexcept
    cdef bint _tend_spares(self) noexcept
    cdef bint _is_dialing(self, Dial *dial) noexcept
    cdef bint _has_target(self, uint32_t index, Session *session) noexcept
    cdef uint64_t _attempt_deadline(self, Dial *dial, int number) noexcept
    cdef bint _watch_attempt(self, uint32_t index, Session *session, int slot, uint32_t events) noexcept
    cdef bint _open(self, uint32_t index, Session *session, int slot, Target target) noexcept
    cdef int _origin_socket(self, Session *session, Target target) noexcept
    cdef void _close_attempt(self, Dial *dial, int slot) noexcept
    cdef void _end_attempt(self, Dial *dial, int slot) noexcept
    cdef void _note_tried(self, Dial *dial, Target target) noexcept
    cdef void _failed(self, uint32_t index, Session *session, Target target) noexcept
    cdef void _check_dial(self, uint32_t index, Session *session) noexcept
    cdef void _attempt_event(self, uint32_t index, Session *session, int slot, uint32_t events) noexcept
    cdef void _connected(self, uint32_t index, Session *session, int slot) noexcept
    cdef void _greet_origin(self, uint32_t index, Session *session, uint64_t deadline_ms) noexcept
    cdef void _secure_origin(self, uint32_t index, Session *session) noexcept
    cdef void _distrust(self, uint32_t index, Session *session, int error) noexcept
    # Continues with a connected session, whose first bytes are in the scratch buffer; the relay implements it.
    cdef void _relay(self, uint32_t index, Session *session, size_t header_bytes) noexcept
