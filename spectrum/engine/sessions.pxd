"""The C layout of `Sessions`, for the dialer and the relay, which extend it."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.linux cimport sockaddr_in6, tcp_info
from spectrum.engine.lookout cimport Lookout, Packet
from spectrum.engine.loop cimport Part
from spectrum.engine.progress cimport Names, Progress
from spectrum.engine.record_form cimport Text, WallClock
from spectrum.engine.shared cimport Loads
from spectrum.engine.slab cimport Leg, Session, Slab
from spectrum.engine.tls_end cimport Wire

cdef enum:
    CLIENT = 0
    ORIGIN = 1
    # Side 0 of an epoll token is the client; side 1 + n is the origin that attempt n opened, also once it is connected.

    # Parallel attempts of one session (RFC 8305 staggers them); the arrays of Dial have this length.
    MAX_ATTEMPTS = 4
    # Accepted per round, so that a flood leaves time to relay. As many descriptors are held in reserve, for origins of
    # sessions that were accepted before the limit was reached.
    ACCEPT_BATCH = 64
    # Listeners whose clients can be delayed at the same time; others are not delayed.
    MAX_RESTING = 16
    # The group of all TCP sessions of a node in the census; the same in plane/limits.py.
    TCP_NODE = 1
    # One read. It begins small, to stay in the second-level cache, and doubles while the receiver takes everything:
    # then fewer and larger sends wake the receiver less often. Measured: docs/decisions/002-bulk.md.
    SMALL_READ_BYTES = 65536
    MAX_APPETITE = 3
    SCRATCH_BYTES = 524288  # SMALL_READ_BYTES << MAX_APPETITE
    # The most that an incomplete TLS record adds when its end arrives (RFC 8446 section 5.2, RFC 5246 6.2.3).
    RECORD_BYTES = 32768
    # Ended sessions are summed by common properties; at this number of different sums they are reported.
    MAX_KINDS = 16
    MAX_BUCKETS = 16
    # Records that are passed on together, of some 600 bytes each: thousands may end at once.
    RECORDS_AT_ONCE = 64

cdef extern from *:
    """
    #define READING (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)
    """
    # Events of a leg that is read. Urgent data is among them because a read ends there, whatever follows.
    const uint32_t READING

# Outcomes as reported by `ended`.
cpdef enum Outcome:
    EOF_CLIENT = 1
    EOF_ORIGIN = 2
    ERROR_CLIENT = 3
    ERROR_ORIGIN = 4
    IDLE = 5
    CONNECT_FAILED = 6
    HEADER_TIMEOUT = 7
    REFUSED = 8
    CLIENT_LEFT = 9
    CLOSED = 10
    STUCK_CLIENT = 11
    STUCK_ORIGIN = 12
    NO_MEMORY = 13
    HANDSHAKE_FAILED = 14
    HANDSHAKE_TIMEOUT = 15
    TLS_ERROR_CLIENT = 16
    TLS_ERROR_ORIGIN = 17
    NO_WATCH = 18
    # Reports of open sessions, in `told`.
    CONNECTED = 19
    PROGRESS = 20
    OVER_BUDGET = 21

cdef struct Listener:
    PyObject *plan  # its SessionPlan, owned; NULL: the handler decides
    int fd
    uint32_t app
    uint32_t begun        # sessions that followed the plan, not yet reported to the handler
    uint8_t in_use
    uint8_t rests         # most of its clients are gone: it is not watched for a moment
    uint8_t asks_address  # bound to a wildcard: the address that a client connected to is read per session
    uint8_t address[16]
    uint16_t port

cdef struct Gone:
    # Clients of one address that were reset before they were accepted, or refused by a rule of detection.
    uint32_t listener
    uint32_t count
    uint8_t is_refused
    uint8_t address[16]
    uint8_t address_bytes

cdef struct Sum:
    # The sum of ended sessions with the same properties, and their durations, by the bounds of `Sessions`.
    uint32_t listener
    int outcome
    int error
    PyObject *target  # owned
    bint answered     # the origin sent something
    uint32_t count
    uint32_t connects[MAX_BUCKETS]
    uint32_t durations[MAX_BUCKETS]
    uint64_t connect_ns
    uint64_t duration_ns

cdef struct App:
    uint64_t group  # in the census
    # A leg that sends less than this in `patience_ms` although bytes are pending is stuck. 0: never.
    uint32_t bytes_per_s
    uint32_t patience_ms
    # Bytes per second each way, of all sessions, per client and per prefix; 0: no limit.
    uint64_t app_bytes_per_s
    uint64_t client_bytes_per_s
    uint64_t prefix_bytes_per_s
    # A second of the wall clock, its sessions with a record, and those without one, for `records_per_s`.
    int64_t second
    uint32_t recorded
    uint32_t left_out
    uint8_t told  # its sessions come from proxies, with headers that name the client


cdef class Sessions(Part):
    cdef int[ACCEPT_BATCH] _reserve
    cdef int _reserved, _undecided
    # One batch from the queue, and one that turns out to be gone before it is decided on.
    cdef Gone[2 * ACCEPT_BATCH] _gone
    cdef int _gone_count
    cdef uint64_t _gone_since_ms
    # Share of the latest clients that had disconnected: a moving average, in 1/256.
    cdef uint32_t _gone_share
    cdef uint32_t[MAX_RESTING] _rests
    cdef int _resting
    cdef uint64_t _rest_until_ns
    cdef object _handler
    cdef Loads _loads
    cdef Sum[MAX_KINDS] _sums
    cdef int _sum_count
    # Listeners with begun sessions that are not reported yet, and the time of the last report.
    cdef uint32_t[MAX_KINDS] _begun
    cdef int _begun_count
    cdef uint64_t _told_ms
    cdef bint _tells_now
    cdef bint _left_out
    cdef uint64_t[MAX_BUCKETS] _connect_bounds_ns
    cdef uint64_t[MAX_BUCKETS] _duration_bounds_ns
    cdef int _connect_bound_count, _duration_bound_count
    cdef Text _records
    cdef int _record_count
    cdef WallClock _wall_clock
    cdef public object place_of
    cdef public bint recorded
    cdef public uint32_t records_per_s
    cdef public bint tells_connects
    cdef Names _new_connects
    cdef Progress _progress
    cdef char *_scratch
    cdef char *_sealed  # ciphertext received from a leg with TLS
    cdef Wire _wire
    cdef Slab _slab
    cdef Listener *_listeners
    cdef uint32_t _listener_count, _listener_room
    cdef uint64_t *_app_bytes
    cdef uint32_t _app_count
    cdef App *_apps
    cdef uint32_t _apps_room
    cdef Census _census
    cdef Rates _rates
    cdef Lookout _lookout
    cdef uint64_t _held_bytes, _max_held_bytes
    cdef uint32_t _accepted_head, _accepted_tail, _ended_head, _ended_tail, _pending_head
    cdef uint64_t _last_scan_ms
    cdef uint32_t _active, _max_sessions, _ended_since_stall
    cdef uint64_t _stalls
    cdef bint _stalled

    cdef void _release(self, Session *session) noexcept
    cdef uint64_t _token(self, uint32_t index, Session *session, uint64_t side) noexcept nogil
    cdef uint64_t _leg_token(self, uint32_t index, Session *session, int side) noexcept nogil
    cdef bint _fill_reserve(self) noexcept nogil
    cdef bint _spend_reserve(self) noexcept nogil
    cdef void _abort(self, int fd) noexcept nogil
    cdef void _unwatch_listener(self, uint32_t number) noexcept nogil
    cdef void _rest(self, uint32_t number) noexcept nogil
    cdef void _end_rest(self) noexcept nogil
    cdef void _stall(self) noexcept nogil
    cdef void _resume(self) noexcept nogil
    cdef int _accept(self, uint32_t number) noexcept nogil
    cdef void _pass_over(self, uint32_t number, const uint8_t *address, uint8_t address_bytes) noexcept nogil
    cdef void _note_gone(
        self, uint32_t number, const uint8_t *address, uint8_t address_bytes, bint is_refused) noexcept nogil
    cdef bint _is_refused(self, Session *session) noexcept nogil
    cdef void _describe(self, Session *session, Packet *packet, uint8_t *source, uint8_t *destination) noexcept nogil
    cdef bint _is_told(self, uint32_t app) noexcept nogil
    cdef object _tell_gone(self)
    cdef int _client_error(self, int fd) noexcept nogil
    cdef void _watch_for_end(self, uint32_t index, Session *session) noexcept nogil
    cdef void _add(self, uint32_t number, Listener *listener, int fd, sockaddr_in6 *address) noexcept nogil
    cdef object _decide(self, uint64_t until_ns)
    cdef int _decide_all(self) except -1
    cdef int _note_begun(self, uint32_t number) except -1
    cdef void _forget(self, uint32_t index, Session *session) noexcept nogil
    cdef bint _is_gone_due(self) noexcept nogil
    cdef bint _is_decision_due(self, uint64_t until_ns) noexcept nogil
    cdef void _drop_plan(self, uint32_t number)
    cdef Session *_find(self, uint64_t name) noexcept
    cdef void _count(self, Session *session) noexcept nogil
    cdef uint64_t _group(self, Session *session) noexcept nogil
    cdef void _link_pending(self, uint32_t index, Session *session) noexcept nogil
    cdef void _unlink_pending(self, uint32_t index, Session *session) noexcept nogil
    cdef bint _send(self, uint32_t index, Session *session, int side, const char *data, size_t size) noexcept nogil
    cdef bint _send_held(self, uint32_t index, Session *session, int side) noexcept nogil
    cdef void _hasten(self, Session *session) noexcept nogil
    cdef void _undelay(self, Session *session) noexcept nogil
    cdef uint32_t _interest(self, Leg *leg) noexcept nogil
    cdef bint _keep(self, uint32_t index, Session *session, int side, const char *data, size_t size) noexcept nogil
    cdef void _free_backlog(self, Leg *leg) noexcept nogil
    cdef void _shed_memory(self) noexcept nogil
    cdef uint32_t _held_by(self, Session *session) noexcept nogil
    cdef ssize_t _take_flight(self, uint32_t index, Session *session, int side) noexcept
    cdef void _receive_sealed(self, size_t size) noexcept nogil
    cdef void _end(self, uint32_t index, Session *session, int outcome, int error, bint reset) noexcept nogil
    cdef void _end_tls(self, Leg *leg, bint reset) noexcept nogil
    cdef void _tcp_info(self, int fd, tcp_info *info) noexcept nogil
    cdef object _report(self)
    cdef bint _left(self, uint32_t index, Session *session, uint64_t *since) noexcept nogil
    cdef tuple _item(self, uint32_t index, Session *session, int outcome, int error, const uint64_t *since)
    cdef int _tell_connected(self) except -1
    cdef int _tell_progress(self) except -1
    cdef int _tell_open(
        self, uint32_t index, Session *session, int outcome, const uint64_t *since, list batch) except -1
    cdef int _write_record(
        self, uint32_t index, Session *session, int outcome, int error, const uint64_t *since) except -1
    cdef int _hand_on_records(self) except -1
    cdef bint _has_record(self, Session *session) noexcept nogil
    cdef Sum *_sum_of(self, Session *session) except NULL
    cdef int _add_up(self, uint32_t index, Session *session) except -1
    cdef bint _is_telling_due(self) noexcept nogil
    cdef int _tell_sums(self) except -1
    # Returns whether a session's plan was followed; the relay implements it.
    cdef bint _follow(self, uint32_t index, Session *session, object plan) except -1
    # State of a session that waits for an origin, or is in a handshake with one; the dialer's.
    cdef void _free_dial(self, Session *session) noexcept
    cdef void _leave_origin(self, Session *session) noexcept
