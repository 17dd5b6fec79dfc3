"""The C layout of `Loop` and `Part`, for the parts."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from spectrum.engine.linux cimport epoll_event

cdef enum:
    # An epoll token is: bit 63 listener, bit 62 timer, bits 60-61 part, bits 56-59 side, bits 32-55 generation, bits
    # 0-31 index. The meaning of a side is the part's.
    PART_SHIFT = 60
    SIDE_SHIFT = 56
    GENERATION_SHIFT = 32
    GENERATION_MASK = 0xFFFFFF
    MAX_PARTS = 2
    RECENT = 4
    TICK_MS = 50
    IDLE_TICK_MS = 1000

cdef extern from *:
    """
    #define LISTENER_TOKEN ((uint64_t)1 << 63)
    #define TIMER_TOKEN ((uint64_t)1 << 62)
    """
    const uint64_t LISTENER_TOKEN
    const uint64_t TIMER_TOKEN


cdef class Part:
    cdef readonly Loop loop
    cdef uint64_t part_token
    # Listeners that should be watched and cannot be, by number: the errno.
    cdef readonly dict deaf
    cdef uint32_t _checked
    cdef void dispatch(self, uint64_t token, uint32_t events) noexcept nogil
    cdef bint tick(self) noexcept
    cdef int settle(self) except -1
    cdef uint32_t listener_count(self) noexcept nogil
    cdef int watch_listener(self, uint32_t number) noexcept nogil
    cdef int begin_to_listen(self, uint32_t number) except -1
    cdef bint _is_looked_at(self, uint32_t number, list mended) except -1


cdef class Loop:
    cdef int epoll, _timer
    cdef uint64_t now_ns, now_ms
    # Bytes moved in a round, of all parts.
    cdef uint64_t round_bytes
    cdef uint64_t _usual_bytes
    cdef list _parts
    cdef void *_part[MAX_PARTS]
    cdef int _part_count
    cdef long _timer_us  # what the timer was set to
    cdef uint64_t _last_event_ns, _busy_poll_ns, _gap_ns, _busy_ns
    cdef uint32_t _recent[RECENT]
    cdef uint32_t _recent_turn, _strangers

    cdef uint64_t add_part(self, Part part) except 0xFFFFFFFFFFFFFFFF
    cdef void read_clock(self) noexcept nogil
    cdef void tick_within(self, long delay_us) noexcept nogil
    cdef int watch(self, int fd, uint64_t token, uint32_t events) noexcept nogil
    cdef void rewatch(self, int fd, uint64_t token, uint32_t events) noexcept nogil
    cdef void unwatch(self, int fd) noexcept nogil
    cdef void _arm_timer(self, long delay_us) noexcept nogil
    cdef void _tick(self) noexcept
    cdef int _wait(self, epoll_event *events) noexcept nogil
    cdef void _note_round(self) noexcept nogil
    cdef void note_stranger(self) noexcept nogil
    cdef void _note_event(self, uint64_t token) noexcept nogil
    cdef void _dispatch(self, uint64_t token, uint32_t events) noexcept nogil
    cdef int _settle(self) except -1
