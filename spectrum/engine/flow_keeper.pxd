"""The C layout of `FlowKeeper`, for the UDP engine, which extends it."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.flows cimport Flow, FlowTable, Key
from spectrum.engine.linux cimport sa_family_t
from spectrum.engine.lookout cimport Lookout
from spectrum.engine.loop cimport Part
from spectrum.engine.offload cimport Offload
from spectrum.engine.progress cimport Names, Progress
from spectrum.engine.shared cimport Loads
from spectrum.engine.strangers cimport Strangers
from spectrum.engine.target cimport Target

cdef enum:
    CLIENT = 0
    ORIGIN = 1
    # In an epoll token side 1 is a flow's socket, side 2 a channel.
    FLOW_SIDE = 1
    CHANNEL_SIDE = 2
    # The group of all flows of a node in the census; the same in plane/limits.py.
    UDP_NODE = 2
    # Datagrams per system call. Slots are numbered in 8 bits, with NO_SLOT for none.
    BATCH = 64
    # Counters of an app: bytes each way, datagrams each way, and drops by reason.
    DROPS = 12
    COUNTS = 4 + DROPS
    # Settings of an app: its group in the census, its flags (AppFlag), and its limits per second.
    APP_WORDS = 8
    # Limits of bytes of the app, of a client, of a prefix; then of datagrams likewise.
    BYTES = 2
    DATAGRAMS = 5

cdef enum AppFlag:
    TOLD = 1            # its datagrams come from proxies, with headers that name the client
    NO_FRAGMENTS = 2    # fragmented datagrams are dropped, and none are fragmented

# How the origin learns the client's address.
cpdef enum Mode:
    PLAIN = 0
    FIRST = 1       # a header before the first datagram
    STANDALONE = 2  # a header as a datagram of its own, before the first
    EACH = 3        # a header before each
    SIMPLE = 4      # Simple Proxy Protocol; replies must carry it too
    LENIENT = 5     # the same, but a reply without it passes as it is

# Outcomes as reported by `ended`.
cpdef enum FlowOutcome:
    FLOW_IDLE = 1
    FLOW_EVICTED = 2
    FLOW_ORIGIN_ERROR = 3
    FLOW_CONNECT_FAILED = 4
    FLOW_REFUSED = 5
    FLOW_CLOSED = 6
    # Reports of open flows, in `told`.
    FLOW_CONNECTED = 7
    FLOW_PROGRESS = 8

cdef struct Listener:
    int fd
    uint32_t app
    uint8_t in_use
    uint8_t asks_address  # bound to a wildcard: each datagram reports its destination address
    uint8_t intercepts    # by TPROXY: each datagram reports its port too, and answers are sent from doors
    uint8_t was_read      # since the last report
    uint8_t whole         # its replies are not fragmented
    uint32_t dropped      # by the kernel, as counted at the last report
    uint32_t window       # the last one in which a stranger sent to it
    uint32_t strangers    # how many datagrams began a flow, or would have, in that window
    uint32_t refused      # how many a rule of detection refused
    uint32_t one_in       # of strangers' datagrams that the kernel lets pass; 0 for all
    uint8_t blocks        # it drops what rules block
    uint32_t weight       # these two for what comes out of the queue
    uint8_t thins
    uint32_t mixed        # the window in which these changed
    uint32_t calm         # windows since there were too many strangers, and since many were refused
    uint32_t still
    sa_family_t family
    uint16_t port         # network order
    uint8_t address[16]   # mapped

cdef struct Channel:
    # One socket to an origin, shared by the flows of one target; Simple Proxy headers distinguish them.
    int fd
    uint32_t listener
    uint32_t flows
    uint32_t generation
    PyObject *target      # borrowed: each of its flows owns a reference


cdef class FlowKeeper(Part):
    cdef object _handler
    cdef Loads _loads
    cdef FlowTable _table
    cdef Listener *_listeners
    cdef uint32_t _listener_count, _listener_room
    cdef Channel *_channels
    cdef set _short_channels  # numbers of those whose queue this process may not enlarge
    cdef uint32_t _channel_count
    cdef uint64_t *_counts
    cdef uint32_t _app_count
    cdef uint64_t *_apps
    cdef uint32_t _apps_room
    cdef Census _census
    cdef Rates _rates
    cdef Lookout _lookout
    cdef Strangers _strangers
    cdef Offload _offload
    cdef dict _inherited
    cdef uint32_t _accepted_head, _accepted_tail, _ended_head, _ended_tail, _ended_count
    cdef uint32_t _max_flows, _max_sockets, _sockets
    cdef uint32_t _too_big_reports
    cdef uint64_t _last_scan_ms, _last_note_ms
    cdef uint64_t _evicted
    cdef bint _draining
    cdef public bint tells_connects
    cdef Names _new_connects
    cdef Progress _progress

    cdef int _map(self, int memory) except -1
    cdef Flow *_find(self, uint64_t name, uint8_t state) noexcept
    cdef uint64_t _name(self, uint32_t index) noexcept
    cdef Flow *_create(self, const Key *key, Listener *listener, uint32_t *index) noexcept nogil
    cdef bint _evict(self, bint with_socket) noexcept nogil
    cdef bint _evict_older(self, uint32_t link, uint32_t other) noexcept nogil
    cdef void _touch(self, uint32_t index, Flow *flow) noexcept nogil
    cdef void _confirm(self, uint32_t index, Flow *flow) noexcept nogil
    cdef void _note_origin(self, Flow *flow) noexcept nogil
    cdef void _offer(self, uint32_t index, Flow *flow) noexcept nogil
    cdef bint _kernel_can(self, Flow *flow) noexcept nogil
    cdef bint _read_back(self, uint32_t index, Flow *flow) noexcept nogil
    cdef void _read_back_all(self) noexcept nogil
    cdef void _recall(self, uint32_t index, Flow *flow) noexcept nogil
    cdef void _decide_anew(self, int64_t app) noexcept nogil
    cdef object _decide(self)
    cdef int _speak(self, Flow *flow, Mode mode, bytes header) except -1
    cdef object _pin(self, uint32_t index, Flow *flow, tuple targets, uint16_t source_port, int tries=*)
    cdef int _reach(self, uint32_t index, Flow *flow, Target target, uint16_t source_port)
    cdef int _origin_socket(self, Flow *flow, Target target, uint16_t source_port, int *source) noexcept
    cdef uint64_t _token(self, uint64_t side, uint32_t generation, uint32_t index) noexcept nogil
    cdef int _join_channel(self, Flow *flow, Target target)
    cdef uint32_t _free_channel(self) except? 0xFFFFFFFF
    cdef void _unpin(self, Flow *flow) noexcept nogil
    cdef void _end(self, uint32_t index, int outcome, int error) noexcept nogil
    cdef uint64_t _group(self, Flow *flow) noexcept nogil
    cdef void _count(self, Flow *flow, bint enters) noexcept nogil
    cdef object _report(self)
    cdef bint _left(self, uint32_t index, Flow *flow, uint64_t *since) noexcept nogil
    cdef tuple _item(self, uint32_t index, Flow *flow, int outcome, int error, const uint64_t *since)
    cdef int _tell_connected(self) except -1
    cdef int _tell_progress(self) except -1
    cdef int _forget_table(self) except -1
    # Sends the queued replies to clients; the UDP engine implements it.
    cdef void _flush_replies(self) noexcept nogil
    # Called when a flow got a socket to its target; the UDP engine implements it.
    cdef void _reached(self, Flow *flow) noexcept
