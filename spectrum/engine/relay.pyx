# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The TCP engine: it accepts, dials and moves bytes between descriptors. It has no policy.

It is a part of a `Loop`. Per new session it asks its handler once, in batches (`accepted`), and tells it once of its
end (`ended`); reads and writes happen without Python.

Ownership: from accept4 to the report in `ended` a session owns its descriptors, and nobody else closes them. Listening
descriptors belong to the caller. Sockets are edge-triggered: a leg is read until it is empty or the other one blocks.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.errno cimport (
    EAGAIN,
    ECONNABORTED,
    ECONNRESET,
    EINTR,
    EMFILE,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPERM,
    EPROTO,
    ETIMEDOUT,
    errno,
)
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.counters cimport grow_counters
from spectrum.engine.linux cimport *
from spectrum.engine.loop cimport (
    GENERATION_MASK,
    GENERATION_SHIFT,
    IDLE_TICK_MS,
    LISTENER_TOKEN,
    SIDE_SHIFT,
    Loop,
    Part,
)
from spectrum.engine.shared cimport Loads
from spectrum.engine.slab cimport *
from spectrum.engine.sockets cimport clock_ns, read_address
from spectrum.engine.target cimport Target
from spectrum.engine.tls cimport OriginTls, ServerContext
from spectrum.engine.tls_end cimport *

cdef extern from "<errno.h>" nogil:
    int EKEYREJECTED

cdef enum:
    CLIENT = 0
    ORIGIN = 1
    # In an epoll token side 0 is the client; side 1 + n is the origin that attempt n opened, before and after it is
    # connected.
    # At the same moment, for one session (RFC 8305 staggers them); the arrays of Dial have this length.
    MAX_ATTEMPTS = 4
    # Accepted per round, so that a flood leaves time to relay. As many descriptors are held in reserve: a session that
    # was accepted before the limit was met gets its origin.
    ACCEPT_BATCH = 64
    # The group of all TCP sessions of a node in the census; plane/limits.py knows it too.
    TCP_NODE = 1
    # One read. It begins small, to stay in the second-level cache, and doubles while the receiver takes everything:
    # then fewer and larger sends wake the receiver less often. Measured: docs/decisions/002-bulk.md.
    SMALL_READ_BYTES = 65536
    MAX_APPETITE = 3
    SCRATCH_BYTES = 524288  # SMALL_READ_BYTES << MAX_APPETITE
    # Of a TLS record that waited for its end, at most, when more was received (RFC 8446 section 5.2, RFC 5246 6.2.3).
    RECORD_BYTES = 32768
    # Bytes moved for one leg before the others get their turn.
    READ_BUDGET = 4194304
    # RFC 8305 section 5 recommends 250 ms between attempts.
    STAGGER_MS = 250
    # Sessions that must have ended since accepting stalled, before it is tried again ahead of the next tick.
    RESUME_AFTER = 64
    # Longest PROXY header that is peeked at; wire.proxy_protocol refuses longer ones.
    PEEK_BYTES = 4112

# In the keys of rates: which way bytes go.
cdef uint64_t CLIENT_WAY = 0x9ddfea08eb382d69
cdef uint64_t ORIGIN_WAY = 0xc3a5c85c97cb3127
cdef uint64_t NS_PER_S = 1000000000
# So much time may be owed for what was moved before reading stops.
cdef uint64_t BURST_NS = 100000000

# Outcomes, as `ended` reports them.
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

cdef enum Reach:
    # How far a leg is read. After a short read more would give another edge,
    ONE_EDGE
    # but what was there when reading paused would not;
    TO_END
    # and when epoll told of a FIN, the end is reached for certain.
    TO_KNOWN_END

cdef struct Listener:
    int fd
    uint32_t app
    uint8_t in_use
    uint8_t asks_address  # bound to a wildcard: the address that a client wrote to is asked for each
    uint8_t address[16]
    uint16_t port

cdef struct App:
    uint64_t group  # in the census
    # A leg that has something to send for `patience_ms` and gets rid of less than this is stuck. 0: never.
    uint32_t bytes_per_s
    uint32_t patience_ms
    # What moves each way, of all sessions, of each client's, and of each prefix's; 0: any amount.
    uint64_t app_bytes_per_s
    uint64_t client_bytes_per_s
    uint64_t prefix_bytes_per_s


cdef class Relay(Part):
    """All TCP sessions of one worker.

    Args:
        loop: Brings its events.
        handler: Its `accepted`, `header`, `turn_came`, `secured`, `origin_secured`, `insecure`, `attempt_failed`,
            `exhausted` and `ended` are called from within the loop's `process`.
        max_sessions: Accepting stops at this many.
        loads: Counts the sessions of each origin.
        census: Counts the sessions of each app and client.
        rates: What apps and clients have moved lately, in all workers.
        max_held_bytes: Of what slow receivers did not take yet, so much is kept for all sessions together. Above it the
            sessions that hold most are reset.
    """

    cdef int[ACCEPT_BATCH] _reserve
    cdef int _reserved, _undecided
    cdef object _handler
    cdef Loads _loads
    cdef char *_scratch
    cdef char *_sealed  # what a leg with TLS received
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
    cdef uint64_t _held_bytes, _max_held_bytes
    cdef uint32_t _accepted_head, _accepted_tail, _ended_head, _ended_tail, _pending_head
    cdef uint64_t _last_scan_ms
    cdef uint32_t _active, _max_sessions, _ended_since_stall
    cdef uint64_t _stalls
    cdef bint _stalled

    def __init__(self, Loop loop, handler, *, uint32_t max_sessions=0x7FFFFFFF, Loads loads=None,
                 Census census=None, Rates rates=None, uint64_t max_held_bytes=0xFFFFFFFFFFFFFFFF):
        self.loop = loop
        self._handler = handler
        self._loads = loads if loads is not None else Loads()
        self._census = census if census is not None else Census()
        self._rates = rates if rates is not None else Rates()
        self._max_sessions = max_sessions
        self._max_held_bytes = max_held_bytes
        self._scratch = <char *>malloc(SCRATCH_BYTES + RECORD_BYTES)
        self._sealed = <char *>malloc(SCRATCH_BYTES)
        if self._scratch == NULL or self._sealed == NULL:
            raise MemoryError()
        self._fill_reserve()
        self._last_scan_ms = loop.now_ms
        self.part_token = loop.add_part(self)

    def __dealloc__(self):
        cdef uint32_t index
        for index in range(self._slab.chunk_count << CHUNK_BITS):
            self._release(slab_at(&self._slab, index))
        for index in range(self._slab.chunk_count):
            free(self._slab.chunks[index])
        free(self._slab.chunks)
        free(self._listeners)
        free(self._app_bytes)
        free(self._apps)
        free(self._scratch)
        free(self._sealed)
        free(self._wire.outgoing)
        while self._spend_reserve():
            pass

    cdef void _release(self, Session *session) noexcept:
        """Free whatever a session holds, descriptors included."""
        cdef int side
        if session.state == FREE:
            return
        for side in range(2):
            if session.state != ENDED and session.legs[side].fd >= 0:
                close(session.legs[side].fd)
            free(session.legs[side].backlog)
            if session.legs[side].tls != NULL:
                free_end(session.legs[side].tls)
        if session.dial != NULL:
            self._free_dial(session)
        if session.target != NULL:
            Py_DECREF(<object>session.target)

    # --- descriptors ----------------------------------------------------------------------------------------------

    cdef uint64_t _token(self, uint32_t index, Session *session, uint64_t side) noexcept nogil:
        return self.part_token | side << SIDE_SHIFT | <uint64_t>session.generation << GENERATION_SHIFT | index

    cdef uint64_t _leg_token(self, uint32_t index, Session *session, int side) noexcept nogil:
        return self._token(index, session, 0 if side == CLIENT else session.origin_side)

    cdef bint _fill_reserve(self) noexcept nogil:
        """Hold descriptors back for sessions at the limit; False when there are not enough."""
        cdef int fd
        while self._reserved < ACCEPT_BATCH:
            fd = dup(self.loop.epoll)
            if fd < 0:
                return False
            self._reserve[self._reserved] = fd
            self._reserved += 1
        return True

    cdef bint _spend_reserve(self) noexcept nogil:
        """Free one descriptor of the reserve; False when it is empty."""
        if self._reserved == 0:
            return False
        self._reserved -= 1
        close(self._reserve[self._reserved])
        return True

    cdef void _abort(self, int fd) noexcept nogil:
        """Close with a reset instead of a FIN."""
        cdef linger_t hard
        hard.l_onoff = 1
        hard.l_linger = 0
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(linger_t))
        close(fd)

    # --- listeners and accepting ----------------------------------------------------------------------------------

    cdef void _watch_listener(self, uint32_t number) noexcept nogil:
        self.loop.watch(
            self._listeners[number].fd, LISTENER_TOKEN | self.part_token | number, EPOLLIN | EPOLLEXCLUSIVE)

    cdef void _unwatch_listener(self, uint32_t number) noexcept nogil:
        self.loop.unwatch(self._listeners[number].fd)

    cdef void _stall(self) noexcept nogil:
        """Stop accepting; clients wait in the kernel's queue. `_resume` undoes it once descriptors are free again."""
        cdef uint32_t number
        if self._stalled:
            return
        self._stalled = True
        self._stalls += 1
        self._ended_since_stall = 0
        for number in range(self._listener_count):
            if self._listeners[number].in_use and self._listeners[number].fd >= 0:
                self._unwatch_listener(number)
        self.loop.tick_soon()

    cdef void _resume(self) noexcept nogil:
        cdef uint32_t number
        if not self._stalled or self._active >= self._max_sessions:
            return
        if not self._fill_reserve():
            return
        self._stalled = False
        for number in range(self._listener_count):
            if self._listeners[number].in_use and self._listeners[number].fd >= 0:
                self._watch_listener(number)

    cdef void _accept(self, uint32_t number) noexcept nogil:
        cdef Listener *listener = &self._listeners[number]
        cdef sockaddr_in6 address
        cdef socklen_t length
        cdef int fd
        if not listener.in_use or self._stalled:
            return
        while self._undecided < ACCEPT_BATCH:
            if self._active >= self._max_sessions:
                self._stall()
                return
            length = sizeof(sockaddr_in6)
            fd = accept4(listener.fd, <sockaddr *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                self._add(number, listener, fd, &address)
            elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                self._stall()
                return
            elif errno != EINTR and errno != ECONNABORTED and errno != EPROTO and errno != EPERM:
                return

    cdef void _add(self, uint32_t number, Listener *listener, int fd, sockaddr_in6 *address) noexcept nogil:
        cdef uint32_t index
        cdef Session *session = slab_take(&self._slab, &index)
        cdef uint32_t generation
        cdef socklen_t length = sizeof(sockaddr_in6)
        if session == NULL:
            close(fd)
            self._stall()
            return
        generation = session.generation
        memset(session, 0, sizeof(Session))
        session.generation = generation
        session.state = ACCEPTED
        session.listener = number
        session.app = listener.app
        session.accepted_ns = self.loop.now_ns
        session.legs[CLIENT].fd = fd
        session.legs[ORIGIN].fd = -1
        session.address_bytes = read_address(address, session.client_address, &session.client_port)
        session.edge_port = listener.port
        if listener.asks_address:
            memset(address, 0, sizeof(sockaddr_in6))
            getsockname(fd, <sockaddr *>address, &length)
            read_address(address, session.edge_address, &session.edge_port)
        else:
            memcpy(session.edge_address, listener.address, 16)
        self._active += 1
        self._undecided += 1
        # Accepted sessions form a list in the order of their arrival; indices are stored plus one, 0 ends it.
        if self._accepted_head == 0:
            self._accepted_head = index + 1
        else:
            slab_at(&self._slab, self._accepted_tail - 1).next = index + 1
        self._accepted_tail = index + 1

    cdef object _decide(self):
        """Ask the handler what becomes of the accepted sessions; one that it forgets is closed."""
        cdef list batch = []
        cdef Session *session
        cdef uint64_t name
        cdef uint32_t link = self._accepted_head
        while link:
            session = slab_at(&self._slab, link - 1)
            batch.append((
                <uint64_t>session.generation << 32 | (link - 1),
                session.listener,
                PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes),
                session.client_port,
                PyBytes_FromStringAndSize(<char *>session.edge_address, session.address_bytes),
                session.edge_port,
            ))
            link = session.next
        self._accepted_head = self._accepted_tail = 0
        self._undecided = 0
        try:
            self._handler.accepted(batch)
        finally:
            for item in batch:
                name = (<tuple>item)[0]
                session = self._find(name)
                if session != NULL and session.state == ACCEPTED:
                    self._end(<uint32_t>name, session, REFUSED, 0, True)

    # --- the handler's answers ------------------------------------------------------------------------------------

    cdef Session *_find(self, uint64_t name) noexcept:
        cdef uint32_t index = <uint32_t>name
        if index >= self._slab.chunk_count << CHUNK_BITS:
            return NULL
        cdef Session *session = slab_at(&self._slab, index)
        if session.generation != name >> 32 or session.state == FREE or session.state == ENDED:
            return NULL
        return session

    def connect(self, uint64_t name, tuple targets, bytes header, uint32_t connect_timeout_ms,
                uint32_t idle_timeout_ms, int tries=1):
        """Try `targets` (of `Target`) in order; send `header` before the client's first byte, then relay.

        All attempts together have `connect_timeout_ms`, of which each gets an equal part of what is left. When none of
        `targets` can be reached, `handler.exhausted` may name others, up to `tries` times less one. A name whose
        session is over is ignored. `idle_timeout_ms` 0 is never.
        """
        cdef Session *session = self._find(name)
        cdef Dial *dial
        cdef int slot
        if session == NULL or not self._is_undecided(session):
            return
        dial = <Dial *>calloc(1, sizeof(Dial))
        if dial == NULL:
            raise MemoryError()
        for slot in range(MAX_ATTEMPTS):
            dial.fds[slot] = -1
        Py_INCREF(targets)
        dial.targets = <PyObject *>targets
        Py_INCREF(header)
        dial.header = <PyObject *>header
        dial.ends_at_ms = self.loop.now_ms + connect_timeout_ms
        dial.tries = max(tries, 1)
        session.dial = dial
        session.state = DIALING
        session.idle_timeout_ms = idle_timeout_ms
        self._count(session)
        self._unlink_pending(<uint32_t>name, session)
        self._dial_next(<uint32_t>name, session)

    cdef void _count(self, Session *session) noexcept nogil:
        if not session.counted:
            session.counted = True
            self._census.enter(TCP_NODE, self._group(session), session.client_address, session.address_bytes)

    cdef uint64_t _group(self, Session *session) noexcept nogil:
        return self._apps[session.app].group if session.app < self._apps_room else 0

    def refuse(self, uint64_t name, int error):
        """Reset the client; `error` comes back in `ended` with outcome REFUSED."""
        cdef Session *session = self._find(name)
        if session != NULL and self._is_undecided(session):
            self._end(<uint32_t>name, session, REFUSED, error, True)

    cdef bint _is_undecided(self, Session *session) noexcept nogil:
        return (session.state == ACCEPTED or session.state == HEADER or session.state == HELD
                or session.state == SECURING)

    def hold(self, uint64_t name, uint32_t delay_ms):
        """Let a session wait: `handler.turn_came` decides on it after `delay_ms`."""
        cdef Session *session = self._find(name)
        if session == NULL or not self._is_undecided(session):
            return
        session.state = HELD
        session.deadline_ms = self.loop.now_ms + delay_ms
        self._link_pending(<uint32_t>name, session)

    def read_header(self, uint64_t name, uint32_t timeout_ms):
        """Let the client speak first: `handler.header` sees its first bytes, until it answers or time runs out."""
        cdef Session *session = self._find(name)
        if session == NULL or session.state != ACCEPTED:
            return
        session.state = HEADER
        session.deadline_ms = self.loop.now_ms + timeout_ms
        self._link_pending(<uint32_t>name, session)
        session.watched = True
        self.loop.watch(session.legs[CLIENT].fd, self._leg_token(<uint32_t>name, session, CLIENT),
                        EPOLLIN | EPOLLRDHUP | EPOLLET)

    def secure(self, uint64_t name, ServerContext context, uint32_t timeout_ms):
        """Speak TLS with the client: `handler.secured` decides on it once hands are shaken, within `timeout_ms`."""
        cdef Session *session = self._find(name)
        cdef uint32_t index = <uint32_t>name
        if session == NULL or not self._is_undecided(session) or session.legs[CLIENT].tls != NULL:
            return
        session.legs[CLIENT].tls = server_end(context)
        session.state = SECURING
        session.deadline_ms = self.loop.now_ms + timeout_ms
        # From here on it costs something.
        self._count(session)
        self._link_pending(index, session)
        if session.watched:
            self._secure_client(index, session)  # its edge is used up
        else:
            session.watched = True
            self.loop.watch(session.legs[CLIENT].fd, self._leg_token(index, session, CLIENT),
                            EPOLLIN | EPOLLRDHUP | EPOLLET)

    def consume(self, uint64_t name, Py_ssize_t size):
        """Take the first `size` bytes, which `handler.header` has seen, from the client."""
        cdef Session *session = self._find(name)
        if session == NULL or not 0 <= size <= SCRATCH_BYTES:
            return
        # They are in the kernel's buffer, so one call takes them all.
        recv(session.legs[CLIENT].fd, self._scratch, size, 0)

    def assign(self, uint64_t name, uint32_t listener):
        """Let a session that waits for its decision be of another listener, and its app."""
        cdef Session *session = self._find(name)
        if (session == NULL or (session.state != ACCEPTED and session.state != HEADER)
                or listener >= self._listener_count):
            return
        session.listener = listener
        session.app = self._listeners[listener].app

    def set_client(self, uint64_t name, bytes address, uint16_t port):
        """Replace the client's address in the report by the one that its front proxy told."""
        cdef Session *session = self._find(name)
        if session == NULL or len(address) not in (4, 16):
            return
        session.address_bytes = <uint8_t>len(address)
        memcpy(session.client_address, PyBytes_AS_STRING(address), session.address_bytes)
        session.client_port = port

    # --- sessions that wait for something -------------------------------------------------------------------------

    cdef void _link_pending(self, uint32_t index, Session *session) noexcept nogil:
        if session.pending:
            return
        session.pending = True
        session.pending_prev = 0
        session.pending_next = self._pending_head
        if self._pending_head:
            slab_at(&self._slab, self._pending_head - 1).pending_prev = index + 1
        self._pending_head = index + 1
        self.loop.tick_soon()

    cdef void _unlink_pending(self, uint32_t index, Session *session) noexcept nogil:
        if not session.pending:
            return
        session.pending = False
        if session.pending_prev:
            slab_at(&self._slab, session.pending_prev - 1).pending_next = session.pending_next
        else:
            self._pending_head = session.pending_next
        if session.pending_next:
            slab_at(&self._slab, session.pending_next - 1).pending_prev = session.pending_prev

    cdef bint tick(self) noexcept:
        """Look at deadlines: often at the few sessions that wait for something, once a second at all others."""
        cdef uint32_t link = self._pending_head, index
        cdef Session *session
        while link:
            index = link - 1
            session = slab_at(&self._slab, index)
            link = session.pending_next
            if session.state == HEADER:
                if self.loop.now_ms >= session.deadline_ms:
                    self._end(index, session, HEADER_TIMEOUT, 0, True)
            elif session.state == HELD:
                if self.loop.now_ms >= session.deadline_ms:
                    self._turn_came(index, session)
            elif session.state == SECURING:
                if self.loop.now_ms >= session.deadline_ms:
                    self._end(index, session, HANDSHAKE_TIMEOUT, 0, True)
            elif session.state == DIALING:
                self._check_dial(index, session)
            elif session.state == SECURING_ORIGIN:
                if self.loop.now_ms >= session.deadline_ms:
                    self._distrust(index, session, ETIMEDOUT)
            elif session.state == RELAYING:
                self._read_on(index, session)
        if self.loop.now_ms - self._last_scan_ms >= IDLE_TICK_MS:
            self._last_scan_ms = self.loop.now_ms
            self._scan()
        self._resume()
        return self._pending_head != 0 or self._stalled

    cdef void _turn_came(self, uint32_t index, Session *session) noexcept:
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        try:
            self._handler.turn_came(name)
        except Exception as exc:
            self._handler.broken(exc)
        if self._find(name) != NULL and session.state == HELD:
            self._end(index, session, REFUSED, 0, True)

    cdef void _scan(self) noexcept:
        """End the idle and the stuck sessions, and arm the keepalive of those that the last scan did not see."""
        cdef uint32_t index
        cdef Session *session
        for index in range(self._slab.chunk_count << CHUNK_BITS):
            session = slab_at(&self._slab, index)
            if session.state != RELAYING:
                continue
            if not session.armed:
                session.armed = True
                (<Target>session.target).arm_keepalive(session.legs[ORIGIN].fd)
            if session.idle_timeout_ms and self.loop.now_ms - session.active_ms >= session.idle_timeout_ms:
                self._end(index, session, IDLE, 0, False)
            elif session.app < self._apps_room and self._apps[session.app].bytes_per_s:
                self._watch_pace(index, session, &self._apps[session.app])

    cdef void _watch_pace(self, uint32_t index, Session *session, App *app) noexcept nogil:
        """End a session one of whose peers does not take what it is sent.

        TCP itself waits for ever on a peer that goes on answering probes with a window of nothing, or of a few bytes.
        """
        cdef int side
        cdef uint32_t given, now_ms = <uint32_t>self.loop.now_ms, since_ms
        cdef tcp_info info
        for side in range(2):
            given = <uint32_t>session.legs[1 - side].received_bytes
            if session.settled[side] == given or (session.slow and session.slow != side + 1):
                continue
            self._tcp_info(session.legs[side].fd, &info)
            if info.tcpi_unacked == 0 and info.tcpi_notsent_bytes == 0 and session.legs[side].backlog == NULL:
                session.settled[side] = given
                session.slow = 0
                continue
            since_ms = now_ms - session.slow_since_ms
            if session.slow and since_ms < app.patience_ms:
                continue
            if session.slow and (<uint64_t>(<uint32_t>info.tcpi_bytes_acked - session.slow_acked) * 1000
                                 < <uint64_t>app.bytes_per_s * since_ms):
                self._end(index, session, STUCK_CLIENT + side, 0, True)
                return
            session.slow = side + 1
            session.slow_since_ms = now_ms
            session.slow_acked = <uint32_t>info.tcpi_bytes_acked

    # --- dialling -------------------------------------------------------------------------------------------------

    cdef void _free_dial(self, Session *session) noexcept:
        """Forget the attempts; those still open are closed."""
        cdef int slot
        for slot in range(MAX_ATTEMPTS):
            if session.dial.fds[slot] >= 0:
                self._end_attempt(session.dial, slot)
        Py_DECREF(<object>session.dial.targets)
        Py_DECREF(<object>session.dial.header)
        free(session.dial)
        session.dial = NULL

    cdef void _dial_next(self, uint32_t index, Session *session) noexcept:
        """Open attempts until one is under way; end the session when none is left."""
        cdef Dial *dial = session.dial
        cdef int slot, number
        cdef Target target
        while self._has_target(index, session):
            slot = 0
            while slot < MAX_ATTEMPTS and dial.fds[slot] >= 0:
                slot += 1
            if slot == MAX_ATTEMPTS:
                return
            number = dial.next_target
            dial.next_target += 1
            target = <Target>PyTuple_GET_ITEM(<object>dial.targets, number)
            dial.target_of[slot] = number
            if self._open(index, session, slot, target):
                return
            self._failed(session, target)
        if not self._is_dialing(dial):
            self._end(index, session, CONNECT_FAILED, dial.last_error or ETIMEDOUT, True)

    cdef bint _is_dialing(self, Dial *dial) noexcept:
        cdef int slot
        for slot in range(MAX_ATTEMPTS):
            if dial.fds[slot] >= 0:
                return True
        return False

    cdef bint _has_target(self, uint32_t index, Session *session) noexcept:
        """Whether there is a target to try next, and time for it; the handler may name more when all were tried."""
        cdef Dial *dial = session.dial
        cdef Py_ssize_t count = PyTuple_GET_SIZE(<object>dial.targets)
        if self.loop.now_ms >= dial.ends_at_ms:
            return False
        if dial.next_target < count:
            return True
        if dial.tries <= 1 or count == 0 or self._is_dialing(dial):
            return False
        dial.tries -= 1
        try:
            more = self._handler.exhausted(
                <uint64_t>session.generation << 32 | index, session.listener,
                <object>PyTuple_GET_ITEM(<object>dial.targets, count - 1),
                PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes), session.client_port)
        except Exception as exc:
            self._handler.broken(exc)
            return False
        if not isinstance(more, tuple) or not more:
            return False
        Py_INCREF(more)
        Py_DECREF(<object>dial.targets)
        dial.targets = <PyObject *>more
        dial.next_target = 0
        return True

    cdef uint64_t _attempt_deadline(self, Dial *dial, int number) noexcept:
        """When an attempt at target `number` is given up: time is shared with those to be tried after it."""
        cdef uint64_t left_ms = dial.ends_at_ms - self.loop.now_ms
        cdef int later, after = dial.tries - 1
        for later in range(number + 1, <int>PyTuple_GET_SIZE(<object>dial.targets)):
            if not (<Target>PyTuple_GET_ITEM(<object>dial.targets, later)).staggered:
                after += 1
        return self.loop.now_ms + max(left_ms // (after + 1), <uint64_t>1)

    cdef bint _open(self, uint32_t index, Session *session, int slot, Target target) noexcept:
        """Begin one attempt; False when it failed at once."""
        cdef Dial *dial = session.dial
        cdef pollfd ready
        cdef int fd = self._origin_socket(session, target)
        if fd < 0:
            dial.last_error = -fd
            return False
        dial.fds[slot] = fd
        dial.deadline_ms[slot] = self._attempt_deadline(dial, dial.target_of[slot])
        self._loads.enter(target.number)
        self._loads.wait(target.number)
        dial.stagger_at_ms = self.loop.now_ms + STAGGER_MS
        # On loopback the handshake is over by now; elsewhere this is one cheap call.
        ready.fd = fd
        ready.events = POLLOUT
        ready.revents = 0
        if poll(&ready, 1, 0) > 0:
            if ready.revents & (POLLERR | POLLHUP):
                self._close_attempt(dial, slot)
                return False
            self.loop.watch(fd, self._token(index, session, 1 + slot), EPOLLIN | EPOLLRDHUP | EPOLLET)
            self._connected(index, session, slot)
            return True
        self.loop.watch(fd, self._token(index, session, 1 + slot), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
        self._link_pending(index, session)
        return True

    cdef int _origin_socket(self, Session *session, Target target) noexcept:
        """Return a socket on its way to the target, or a negative errno."""
        cdef int fd = target.connect_stream(session.client_address, session.address_bytes, session.client_port)
        if (fd == -EMFILE or fd == -ENFILE) and self._spend_reserve():
            # This session has its origin; no other is accepted until the reserve is whole again.
            self._stall()
            fd = target.connect_stream(session.client_address, session.address_bytes, session.client_port)
        return fd

    cdef void _close_attempt(self, Dial *dial, int slot) noexcept:
        """Close a failed attempt and keep its errno."""
        cdef int error = 0
        cdef socklen_t length = sizeof(int)
        getsockopt(dial.fds[slot], SOL_SOCKET, SO_ERROR, &error, &length)
        dial.last_error = error or ETIMEDOUT
        self._end_attempt(dial, slot)

    cdef void _end_attempt(self, Dial *dial, int slot) noexcept:
        cdef Target target = <Target>PyTuple_GET_ITEM(<object>dial.targets, dial.target_of[slot])
        if self._loads is not None:  # as it may be while this engine is collected
            self._loads.leave(target.number)
            self._loads.answer(target.number)
        close(dial.fds[slot])
        dial.fds[slot] = -1

    cdef void _failed(self, Session *session, Target target) noexcept:
        try:
            self._handler.attempt_failed(session.listener, target, session.dial.last_error)
        except Exception as exc:
            self._handler.broken(exc)

    cdef void _check_dial(self, uint32_t index, Session *session) noexcept:
        """Give up attempts that took too long; start a staggered one beside those that take long."""
        cdef Dial *dial = session.dial
        cdef int slot, expired = 0
        cdef Target target
        for slot in range(MAX_ATTEMPTS):
            if dial.fds[slot] >= 0 and self.loop.now_ms >= dial.deadline_ms[slot]:
                target = <Target>PyTuple_GET_ITEM(<object>dial.targets, dial.target_of[slot])
                self._close_attempt(dial, slot)
                self._failed(session, target)
                expired += 1
        if expired:
            self._dial_next(index, session)
        elif (self.loop.now_ms >= dial.stagger_at_ms and dial.next_target < PyTuple_GET_SIZE(<object>dial.targets)
                and (<Target>PyTuple_GET_ITEM(<object>dial.targets, dial.next_target)).staggered):
            self._dial_next(index, session)

    cdef void _attempt_event(self, uint32_t index, Session *session, int slot, uint32_t events) noexcept:
        cdef Target target
        if slot >= MAX_ATTEMPTS or session.dial.fds[slot] < 0:
            return
        if events & (EPOLLERR | EPOLLHUP):
            target = <Target>PyTuple_GET_ITEM(<object>session.dial.targets, session.dial.target_of[slot])
            self._close_attempt(session.dial, slot)
            self._failed(session, target)
            self._dial_next(index, session)
        elif events & EPOLLOUT:
            self._connected(index, session, slot)

    cdef void _connected(self, uint32_t index, Session *session, int slot) noexcept:
        """An attempt won: close the others, and relay from now on, or speak TLS first."""
        cdef Dial *dial = session.dial
        cdef Target target = <Target>PyTuple_GET_ITEM(<object>dial.targets, dial.target_of[slot])
        cdef Py_ssize_t header_bytes = PyBytes_GET_SIZE(<object>dial.header)
        cdef bint polled_out = session.pending
        Py_INCREF(target)
        session.target = <PyObject *>target
        session.number = target.number
        self._loads.answer(target.number)
        session.legs[ORIGIN].fd = dial.fds[slot]
        session.origin_side = 1 + slot
        session.legs[ORIGIN].watches_out = polled_out
        dial.fds[slot] = -1
        if target.tls is not None:
            self._greet_origin(index, session, dial.deadline_ms[slot])
            return
        memcpy(self._scratch, PyBytes_AS_STRING(<object>dial.header), header_bytes)
        self._relay(index, session, header_bytes)

    cdef void _relay(self, uint32_t index, Session *session, size_t header_bytes) noexcept:
        """Relay from now on; the header, in the scratch buffer, and the client's first bytes are sent together."""
        (<Target>session.target).connected += 1
        self._unlink_pending(index, session)
        self._free_dial(session)
        session.state = RELAYING
        session.paced = session.app < self._apps_room and (
            self._apps[session.app].app_bytes_per_s or self._apps[session.app].client_bytes_per_s
            or self._apps[session.app].prefix_bytes_per_s)
        session.connected_ns = clock_ns()
        session.active_ms = self.loop.now_ms
        with nogil:
            # Watched since its own header was awaited: its edge is used up, so read to the end.
            if session.legs[ORIGIN].backlog == NULL:
                self._pump(index, session, CLIENT, header_bytes, TO_END if session.watched else ONE_EDGE)
            if session.state == RELAYING and not session.watched:
                # After the first read: what arrived in between is told of at once.
                session.watched = True
                self.loop.watch(session.legs[CLIENT].fd, self._token(index, session, 0), EPOLLIN | EPOLLRDHUP | EPOLLET)
            if (session.state == RELAYING and session.legs[ORIGIN].tls != NULL
                    and session.legs[CLIENT].backlog == NULL and not session.legs[ORIGIN].eof):
                self._pump(index, session, ORIGIN, 0, TO_END)  # the same of the handshake

    # --- TLS handshakes -------------------------------------------------------------------------------------------

    cdef ssize_t _take_flight(self, uint32_t index, Session *session, int side) noexcept:
        """Read what leg `side` has of a handshake, and take it on: 1 where it is done, 0 where it needs more.

        Negative where it failed: an errno, or -EPROTO for a failure of TLS.
        """
        cdef Leg *leg = &session.legs[side]
        cdef ssize_t got
        cdef int done
        while True:
            got = recv(leg.fd, self._sealed, SMALL_READ_BYTES, 0)
            if got < 0:
                if errno == EINTR:
                    continue
                return 0 if errno == EAGAIN else -errno
            if got == 0:
                return -ECONNRESET
            self._receive_sealed(got)
            done = shake_hands(leg.tls, &self._wire)
            if self._wire.outgoing_bytes and not self._send(
                    index, session, side, self._wire.outgoing, self._wire.outgoing_bytes):
                return -ECONNRESET
            if done < 0:
                return -EPROTO
            if done:
                return 1 if keep_unread(leg.tls, &self._wire) else -ENOMEM

    cdef void _receive_sealed(self, size_t size) noexcept nogil:
        """Let the wire hold what was read into `_sealed`, and nothing to be sent."""
        self._wire.received = self._sealed
        self._wire.received_bytes = size
        self._wire.at = 0
        self._wire.outgoing_bytes = 0

    cdef void _secure_client(self, uint32_t index, Session *session) noexcept:
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        cdef TlsEnd *end = session.legs[CLIENT].tls
        cdef ssize_t done = self._take_flight(index, session, CLIENT)
        if session.state != SECURING or done == 0:
            return
        try:
            if done == 1:
                self._handler.secured(name, facts(end))
            else:
                self._handler.insecure(name, CLIENT, reason(end) if done == -EPROTO else "the client left")
        except Exception as exc:
            self._handler.broken(exc)
        if self._find(name) != NULL and session.state == SECURING:
            self._end(index, session, REFUSED if done == 1 else HANDSHAKE_FAILED, 0, done == 1)

    cdef void _greet_origin(self, uint32_t index, Session *session, uint64_t deadline_ms) noexcept:
        """Begin to speak TLS with the origin that was connected to; the header and the ClientHello leave together."""
        cdef Dial *dial = session.dial
        cdef Leg *leg = &session.legs[ORIGIN]
        cdef OriginTls tls = (<Target>session.target).tls
        cdef bytes header = <object>dial.header
        cdef int slot
        for slot in range(MAX_ATTEMPTS):
            if dial.fds[slot] >= 0:
                self._end_attempt(dial, slot)
        session.state = SECURING_ORIGIN
        session.deadline_ms = deadline_ms
        self._link_pending(index, session)
        try:
            # What is passed through must be what the client agreed on.
            alpn = agreed_protocol(session.legs[CLIENT].tls) if session.legs[CLIENT].tls != NULL else b""
            leg.tls = client_end(tls, &self._wire, alpn)
        except MemoryError:
            self._distrust(index, session, ENOMEM)
            return
        self._receive_sealed(0)
        put(&self._wire, PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header))
        if shake_hands(leg.tls, &self._wire) < 0:
            self._distrust(index, session, EPROTO)
            return
        if self._send(index, session, ORIGIN, self._wire.outgoing, self._wire.outgoing_bytes):
            self._secure_origin(index, session)

    cdef void _secure_origin(self, uint32_t index, Session *session) noexcept:
        cdef ssize_t done = self._take_flight(index, session, ORIGIN)
        if session.state != SECURING_ORIGIN or done == 0:
            return
        if done != 1:
            self._distrust(index, session, <int>-done)
            return
        try:
            self._handler.origin_secured(
                <uint64_t>session.generation << 32 | index, origin_facts(session.legs[ORIGIN].tls))
        except Exception as exc:
            self._handler.broken(exc)
        self._relay(index, session, 0)

    cdef void _distrust(self, uint32_t index, Session *session, int error) noexcept:
        """Leave an origin with which there is no TLS, and go on with the next one."""
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        cdef TlsEnd *end = session.legs[ORIGIN].tls
        cdef Target target = <Target>session.target
        if error == EPROTO:
            if is_distrust():
                error = EKEYREJECTED
            try:
                self._handler.insecure(name, ORIGIN, reason(end))
            except Exception as exc:
                self._handler.broken(exc)
        session.dial.last_error = error
        self._leave_origin(session)
        session.state = DIALING
        self._failed(session, target)
        self._dial_next(index, session)

    cdef void _leave_origin(self, Session *session) noexcept:
        """Be without an origin again."""
        cdef Leg *leg = &session.legs[ORIGIN]
        cdef Target target = <Target>session.target
        close(leg.fd)
        leg.fd = -1
        self._free_backlog(leg)
        if leg.tls != NULL:
            free_end(leg.tls)
            leg.tls = NULL
        self._loads.leave(target.number)
        session.target = NULL
        Py_DECREF(target)

    # --- the client's own header ----------------------------------------------------------------------------------

    cdef void _peek(self, uint32_t index, Session *session, uint32_t events) noexcept:
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        cdef ssize_t size = recv(session.legs[CLIENT].fd, self._scratch, PEEK_BYTES, MSG_PEEK)
        if size < 0 and (errno == EAGAIN or errno == EINTR):
            return
        if size <= 0:
            self._end(index, session, CLIENT_LEFT, 0, True)
            return
        try:
            self._handler.header(
                name, session.listener, PyBytes_FromStringAndSize(self._scratch, size),
                PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes), session.client_port,
                PyBytes_FromStringAndSize(<char *>session.edge_address, session.address_bytes), session.edge_port,
            )
        except Exception as exc:
            self._handler.broken(exc)
            if self._find(name) != NULL:
                self._end(index, session, REFUSED, 0, True)
            return
        if self._find(name) != NULL and session.state == HEADER and events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            # The rest of the header will never come.
            self._end(index, session, CLIENT_LEFT, 0, True)

    # --- relaying -------------------------------------------------------------------------------------------------

    cdef void _pump(self, uint32_t index, Session *session, int side, size_t prefix, Reach reach) noexcept nogil:
        """Move what leg `side` has to the other leg.

        The first `prefix` bytes of the scratch buffer are sent before it. With the end known to be in the queue, the
        last bytes wait for it (MSG_MORE) and leave with the FIN in one segment.
        """
        cdef Leg *source = &session.legs[side]
        cdef Leg *sink = &session.legs[1 - side]
        cdef ssize_t got, plain, room
        cdef size_t filled, moved = 0
        cdef bint paused = False
        if session.paused_until_ms[side]:
            return  # `_read_on` comes back to it
        session.active_ms = self.loop.now_ms
        while True:
            room = (SMALL_READ_BYTES << source.appetite) - prefix
            if session.paced:
                room = min(room, self._portion(session))
            if source.tls == NULL:
                got = recv(source.fd, self._scratch + prefix, room, 0)
            else:
                got = self._read_sealed(source, room)
            if got < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self._end(index, session, ERROR_CLIENT + side, errno, True)
                    return
                if prefix == 0:
                    return
            plain = got
            if got > 0 and source.tls != NULL:
                plain = self._unseal(index, session, side, got, prefix)
                if plain < 0:
                    return
            filled = prefix
            if plain > 0:
                filled += plain
                source.received_bytes += plain
                self._app_bytes[2 * session.app + side] += plain
                if session.paced:
                    paused = self._pace(index, session, side, plain)
                if session.waiting == side:  # the client speaks and does not wait yet, or is answered
                    self._turn(session)
            if got > 0:
                moved += got
                self.loop.round_bytes += got
            if filled and not self._forward(index, session, 1 - side, filled, reach == TO_KNOWN_END):
                return
            # A FIN without close_notify is an end too, as it is for HAProxy: many peers do no better.
            if got == 0 or (source.tls != NULL and source.tls.closed):
                source.eof = True
                self._pass_eof(index, session, side)
                return
            if sink.backlog != NULL:
                source.appetite = 0
                return
            if paused:
                return
            if got < 0 or (got < room and reach == ONE_EDGE):
                return
            if got == room and source.appetite < MAX_APPETITE:
                source.appetite += 1
            prefix = 0
            if moved >= READ_BUDGET:
                self.loop.rewatch(source.fd, self._leg_token(index, session, side), self._interest(source))
                return

    cdef bint _forward(self, uint32_t index, Session *session, int side, size_t size, bint more) noexcept nogil:
        """Send the first `size` bytes of the scratch buffer to leg `side`; False when the session had to end."""
        cdef Leg *leg = &session.legs[side]
        cdef const char *data = self._scratch
        cdef ssize_t sent
        if leg.tls != NULL:
            self._receive_sealed(0)
            if not seal(leg.tls, &self._wire, data, size):
                self._end(index, session, TLS_ERROR_CLIENT + side, 0, True)
                return False
            data, size = self._wire.outgoing, self._wire.outgoing_bytes
        sent = send(leg.fd, data, size, MSG_NOSIGNAL | (MSG_MORE if more else 0))
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self._end(index, session, ERROR_CLIENT + side, errno, True)
                return False
            sent = 0
        return <size_t>sent == size or self._keep(index, session, side, data + sent, size - sent)

    cdef bint _send(self, uint32_t index, Session *session, int side, const char *data, size_t size) noexcept nogil:
        """Send what TLS itself has to say, after what is held already; False where it can not be sent (errno)."""
        cdef Leg *leg = &session.legs[side]
        cdef ssize_t sent = 0
        if leg.backlog == NULL:
            sent = send(leg.fd, data, size, MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    return False
                sent = 0
        return <size_t>sent == size or self._keep(index, session, side, data + sent, size - sent)

    cdef ssize_t _read_sealed(self, Leg *leg, size_t room) noexcept nogil:
        """Read a leg with TLS: what its handshake left first."""
        if leg.tls.unread != NULL:
            return take_unread(leg.tls, self._sealed, room)
        return recv(leg.fd, self._sealed, room, 0)

    cdef ssize_t _unseal(self, uint32_t index, Session *session, int side, size_t size, size_t prefix) noexcept nogil:
        """Put what `size` bytes of leg `side` mean behind the prefix in the scratch buffer.

        Returns how many they are, -1 when the session had to end.
        """
        cdef Leg *leg = &session.legs[side]
        cdef ssize_t plain
        self._receive_sealed(size)
        plain = unseal(leg.tls, &self._wire, self._scratch + prefix, SCRATCH_BYTES + RECORD_BYTES - prefix)
        # An answer to a KeyUpdate, or the alert that says what is wrong.
        if self._wire.outgoing_bytes and not self._send(
                index, session, side, self._wire.outgoing, self._wire.outgoing_bytes):
            if session.state == RELAYING:
                self._end(index, session, ERROR_CLIENT + side, errno, True)
            return -1
        if plain < 0:
            with gil:
                self._tell_insecure(index, session, side)
            self._end(index, session, TLS_ERROR_CLIENT + side, 0, True)
        return plain

    cdef void _tell_insecure(self, uint32_t index, Session *session, int side) noexcept:
        try:
            self._handler.insecure(
                <uint64_t>session.generation << 32 | index, side, reason(session.legs[side].tls))
        except Exception as exc:
            self._handler.broken(exc)

    cdef bint _say_goodbye(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Let leg `side` say close_notify; False while that waits, or when the session had to end."""
        self._receive_sealed(0)
        if not say_goodbye(session.legs[side].tls, &self._wire):
            return True
        if not self._send(index, session, side, self._wire.outgoing, self._wire.outgoing_bytes):
            if session.state == RELAYING:
                self._end(index, session, ERROR_CLIENT + side, errno, True)
            return False
        return session.legs[side].backlog == NULL

    cdef ssize_t _portion(self, Session *session) noexcept nogil:
        """How much a paced session reads at once: a tenth of a second's worth, so that it does not go in jerks."""
        cdef App *app = &self._apps[session.app]
        cdef uint64_t least = SMALL_READ_BYTES * 10
        if app.app_bytes_per_s:
            least = min(least, app.app_bytes_per_s)
        if app.client_bytes_per_s:
            least = min(least, app.client_bytes_per_s)
        if app.prefix_bytes_per_s:
            least = min(least, app.prefix_bytes_per_s)
        return <ssize_t>(least // 10)

    cdef bint _pace(self, uint32_t index, Session *session, int side, uint64_t moved) noexcept nogil:
        """Count what a paced session moved, and stop reading from a side that moves too much; True where it stops."""
        cdef App *app = &self._apps[session.app]
        cdef uint64_t now_ns = self.loop.now_ns, paid = 0, key
        cdef uint64_t way = CLIENT_WAY if side == CLIENT else ORIGIN_WAY
        if app.app_bytes_per_s:
            paid = self._rates.pay(app.group ^ way, moved * NS_PER_S // app.app_bytes_per_s, now_ns)
        if app.client_bytes_per_s:
            key = self._census.client_key(app.group, session.client_address, session.address_bytes) ^ way
            paid = max(paid, self._rates.pay(key, moved * NS_PER_S // app.client_bytes_per_s, now_ns))
        if app.prefix_bytes_per_s:
            key = self._census.prefix_key(app.group, session.client_address, session.address_bytes) ^ way
            paid = max(paid, self._rates.pay(key, moved * NS_PER_S // app.prefix_bytes_per_s, now_ns))
        if paid <= now_ns + BURST_NS:
            return False
        session.paused_until_ms[side] = self.loop.now_ms + (paid - now_ns - BURST_NS) // 1000000 + 1
        self._link_pending(index, session)
        return True

    cdef void _read_on(self, uint32_t index, Session *session) noexcept nogil:
        """Read on from the sides of a paced session whose pause is over."""
        cdef int side
        for side in range(2):
            if session.paused_until_ms[side] and self.loop.now_ms >= session.paused_until_ms[side]:
                session.paused_until_ms[side] = 0
                # Else its receiver is slow too, and `_flush` comes back to it.
                if session.legs[1 - side].backlog == NULL and not session.legs[side].eof:
                    self._pump(index, session, side, 0, TO_END)
                if session.state != RELAYING:
                    return
        if not session.paused_until_ms[CLIENT] and not session.paused_until_ms[ORIGIN]:
            self._unlink_pending(index, session)

    cdef void _turn(self, Session *session) noexcept nogil:
        """It is the other side's turn: a client that spoke waits, until its origin does."""
        session.waiting = not session.waiting
        if session.waiting:
            self._loads.wait(session.number)
        else:
            self._loads.answer(session.number)

    cdef uint32_t _interest(self, Leg *leg) noexcept nogil:
        return EPOLLIN | EPOLLRDHUP | EPOLLET | (EPOLLOUT if leg.watches_out else 0)

    cdef bint _keep(self, uint32_t index, Session *session, int side, const char *data, size_t size) noexcept nogil:
        """Hold the bytes that leg `side` did not take until it is writable; False when the session had to end."""
        cdef Leg *leg = &session.legs[side]
        cdef char *held = <char *>realloc(leg.backlog, leg.backlog_end + size)
        if held == NULL:
            self._end(index, session, ERROR_CLIENT + side, ENOMEM, True)
            return False
        memcpy(held + leg.backlog_end, data, size)
        leg.backlog = held
        leg.backlog_end += <uint32_t>size
        self._held_bytes += size
        if not leg.watches_out:
            leg.watches_out = True
            self.loop.rewatch(leg.fd, self._leg_token(index, session, side), self._interest(leg))
        if self._held_bytes > self._max_held_bytes:
            self._shed_memory()
        return session.state != ENDED

    cdef void _free_backlog(self, Leg *leg) noexcept nogil:
        if leg.backlog != NULL:
            free(leg.backlog)
            leg.backlog = NULL
            self._held_bytes -= leg.backlog_end
            leg.backlog_start = leg.backlog_end = 0

    cdef void _shed_memory(self) noexcept nogil:
        """Reset the sessions that hold most, down to three quarters of the limit.

        So far, because each turn looks at all sessions; and those that hold at least half of the most together.
        """
        cdef uint32_t index, count = self._slab.chunk_count << CHUNK_BITS
        cdef uint32_t most, held
        cdef Session *session
        while self._held_bytes > self._max_held_bytes - (self._max_held_bytes >> 2):
            most = 0
            for index in range(count):
                most = max(most, self._held_by(slab_at(&self._slab, index)))
            for index in range(count):
                session = slab_at(&self._slab, index)
                held = self._held_by(session)
                if held and held >= most >> 1:
                    self._end(index, session, NO_MEMORY, 0, True)
                    if self._held_bytes <= self._max_held_bytes - (self._max_held_bytes >> 2):
                        return

    cdef uint32_t _held_by(self, Session *session) noexcept nogil:
        cdef uint32_t held = 0
        cdef int side
        if session.state == RELAYING:
            for side in range(2):
                if session.legs[side].backlog != NULL:
                    held += session.legs[side].backlog_end
        return held

    cdef void _flush(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Leg `side` is writable: send its backlog, then read on from the other leg."""
        if not self._send_held(index, session, side):
            return
        if session.legs[1 - side].eof:
            self._pass_eof(index, session, 1 - side)
        else:
            self._pump(index, session, 1 - side, 0, TO_END)

    cdef bint _send_held(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Send what is held for leg `side`; False where something is left, or the session had to end."""
        cdef Leg *leg = &session.legs[side]
        cdef ssize_t sent
        while leg.backlog_start < leg.backlog_end:
            sent = send(leg.fd, leg.backlog + leg.backlog_start, leg.backlog_end - leg.backlog_start, MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self._end(index, session, ERROR_CLIENT + side, errno, True)
                return False
            session.active_ms = self.loop.now_ms
            self.loop.round_bytes += sent
            leg.backlog_start += <uint32_t>sent
        self._free_backlog(leg)
        return True

    cdef void _pass_eof(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Leg `side` has sent its FIN: pass it on once everything before it is sent; end when both are through."""
        cdef Leg *source = &session.legs[side]
        cdef Leg *sink = &session.legs[1 - side]
        if session.first_eof == 0:
            session.first_eof = side + 1
        if sink.backlog != NULL or (sink.tls != NULL and not self._say_goodbye(index, session, 1 - side)):
            return
        if sink.eof and source.backlog == NULL:
            self._end(index, session, EOF_CLIENT if session.first_eof == 1 else EOF_ORIGIN, 0, False)
            return
        shutdown(sink.fd, SHUT_WR)

    cdef void _leg_event(self, uint32_t index, Session *session, int side, uint32_t events) noexcept nogil:
        cdef Leg *leg = &session.legs[side]
        cdef int error = 0
        cdef socklen_t length = sizeof(int)
        if events & EPOLLOUT and leg.backlog != NULL:
            self._flush(index, session, side)
            if session.state != RELAYING:
                return
        if not events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            return
        if not leg.eof and session.legs[1 - side].backlog == NULL and not session.paused_until_ms[side]:
            if events & EPOLLERR:
                self._pump(index, session, side, 0, TO_END)
            else:
                self._pump(index, session, side, 0, TO_KNOWN_END if events & EPOLLRDHUP else ONE_EDGE)
        elif events & EPOLLERR:
            # Not read for now, or at its end already: a reset must be noticed all the same.
            getsockopt(leg.fd, SOL_SOCKET, SO_ERROR, &error, &length)
            if error:
                self._end(index, session, ERROR_CLIENT + side, error, True)

    # --- ends -----------------------------------------------------------------------------------------------------

    cdef void _end(self, uint32_t index, Session *session, int outcome, int error, bint reset) noexcept nogil:
        """Close a session's descriptors, with a reset if `reset`, and queue its report."""
        cdef int side
        cdef Leg *leg
        cdef tcp_info info
        session.outcome = outcome
        session.error = error
        session.ended_ns = clock_ns()
        if session.state == SECURING_ORIGIN:
            with gil:
                self._leave_origin(session)
        for side in range(2):
            leg = &session.legs[side]
            if leg.tls != NULL:
                self._end_tls(leg, reset)
            if leg.fd < 0:
                continue
            self._tcp_info(leg.fd, &info)
            session.rtt_us[side] = info.tcpi_rtt
            if error == ETIMEDOUT and outcome == ERROR_CLIENT + side and info.tcpi_snd_wnd == 0:
                # The kernel's patience ended (TCP_USER_TIMEOUT), yet the peer lives: it takes nothing.
                session.outcome = STUCK_CLIENT + side
                session.error = 0
            if reset:
                self._abort(leg.fd)
            else:
                close(leg.fd)
            self._free_backlog(leg)
        if session.dial != NULL:
            with gil:
                self._free_dial(session)
        if session.target != NULL:
            if session.waiting:
                self._loads.answer(session.number)
            self._loads.leave(session.number)
        if session.counted:
            self._census.leave(TCP_NODE, self._group(session), session.client_address, session.address_bytes)
        self._unlink_pending(index, session)
        session.state = ENDED
        session.next = 0
        self._active -= 1
        if self._ended_head == 0:
            self._ended_head = index + 1
        else:
            slab_at(&self._slab, self._ended_tail - 1).next = index + 1
        self._ended_tail = index + 1
        if self._stalled:
            self._ended_since_stall += 1

    cdef void _end_tls(self, Leg *leg, bint reset) noexcept nogil:
        """End the TLS of a leg, with a close_notify where that can still be said."""
        self._receive_sealed(0)
        if not reset and leg.backlog == NULL and say_goodbye(leg.tls, &self._wire):
            send(leg.fd, self._wire.outgoing, self._wire.outgoing_bytes, MSG_NOSIGNAL)
        with gil:
            free_end(leg.tls)
        leg.tls = NULL

    cdef void _tcp_info(self, int fd, tcp_info *info) noexcept nogil:
        cdef socklen_t length = sizeof(tcp_info)
        memset(info, 0, sizeof(tcp_info))
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length)

    cdef object _report(self):
        """Tell the handler of the ended sessions, and free them."""
        cdef list batch = []
        cdef Session *session
        cdef uint32_t link = self._ended_head, index
        self._ended_head = self._ended_tail = 0
        while link:
            index = link - 1
            session = slab_at(&self._slab, index)
            batch.append((
                session.listener,
                session.outcome,
                session.error,
                PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes),
                session.client_port,
                <object>session.target if session.target != NULL else None,
                session.accepted_ns,
                session.connected_ns,
                session.ended_ns,
                session.legs[CLIENT].received_bytes,
                session.legs[ORIGIN].received_bytes,
                session.rtt_us[CLIENT],
                session.rtt_us[ORIGIN],
                <uint64_t>session.generation << 32 | index,
            ))
            if session.target != NULL:
                Py_DECREF(<object>session.target)
                session.target = NULL
            link = session.next
            slab_return(&self._slab, index)
        self._handler.ended(batch)

    # --- events ---------------------------------------------------------------------------------------------------

    cdef void dispatch(self, uint64_t token, uint32_t events) noexcept nogil:
        cdef uint32_t index = <uint32_t>token
        cdef Session *session
        cdef int side
        if token & LISTENER_TOKEN:
            self._accept(index)
            return
        session = slab_at(&self._slab, index)
        if session.generation != (token >> GENERATION_SHIFT & GENERATION_MASK):
            return
        side = token >> SIDE_SHIFT & 0xF
        if session.state == RELAYING:
            if side == 0:
                self._leg_event(index, session, CLIENT, events)
            elif side == session.origin_side:
                self._leg_event(index, session, ORIGIN, events)
        elif session.state == DIALING and side > 0:
            with gil:
                self._attempt_event(index, session, side - 1, events)
        elif session.state == HEADER and side == 0:
            with gil:
                self._peek(index, session, events)
        elif session.state == SECURING and side == 0:
            if not events & EPOLLOUT or session.legs[CLIENT].backlog == NULL or self._send_held(index, session, CLIENT):
                with gil:
                    self._secure_client(index, session)
        elif session.state == SECURING_ORIGIN and side == session.origin_side:
            if not events & EPOLLOUT or session.legs[ORIGIN].backlog == NULL or self._send_held(index, session, ORIGIN):
                with gil:
                    self._secure_origin(index, session)

    cdef int settle(self) except -1:
        while self._accepted_head or self._ended_head:
            if self._accepted_head:
                self._decide()
            if self._ended_head:
                self._report()
        if self._stalled and self._ended_since_stall >= RESUME_AFTER:
            self._ended_since_stall = 0
            self._resume()
        return 0

    # === Public API ===

    def add_listener(self, int fd, uint32_t app, bytes address, uint16_t port):
        """Accept from a listening descriptor, which stays the caller's; return the listener's number.

        Numbers are never used twice, so the report of a session that outlived its listener names no other one. An
        empty `address` is a wildcard: each session then asks which address its client wrote to. One without a
        descriptor (-1) gets its sessions from others, by `assign`.
        """
        cdef uint32_t number = self._listener_count
        cdef Listener *grown
        cdef Listener *listener
        if len(address) not in (0, 4, 16):
            raise ValueError(f"an address is 4 or 16 bytes, not {len(address)}")
        if number == self._listener_room:
            grown = <Listener *>realloc(self._listeners, (number * 2 + 16) * sizeof(Listener))
            if grown == NULL:
                raise MemoryError()
            self._listeners = grown
            self._listener_room = number * 2 + 16
        self._listener_count += 1
        listener = &self._listeners[number]
        memset(listener, 0, sizeof(Listener))
        listener.fd = fd
        listener.app = app
        listener.in_use = True
        listener.asks_address = len(address) == 0
        listener.port = port
        memcpy(listener.address, PyBytes_AS_STRING(address), len(address))
        grow_counters(&self._app_bytes, &self._app_count, app + 1, 2)
        if not self._stalled and fd >= 0:
            self._watch_listener(number)
        return number

    def set_app(self, uint32_t app, uint64_t group, uint32_t bytes_per_s=0, uint32_t patience_ms=0,
                uint64_t app_bytes_per_s=0, uint64_t client_bytes_per_s=0, uint64_t prefix_bytes_per_s=0):
        """Say what there is to know of an app.

        Args:
            app: Its slot.
            group: Its number in the census; it can not change while there are sessions.
            bytes_per_s: Sessions end where a peer takes less than this of what it is sent; 0 for never,
            patience_ms: and does so for so long.
            app_bytes_per_s: New sessions together move no more than this each way; 0 for any amount.
            client_bytes_per_s: The same for those of one client.
            prefix_bytes_per_s: And for those of the prefix that clients are in.
        """
        cdef App *grown
        if app >= self._apps_room:
            grown = <App *>realloc(self._apps, (app * 2 + 16) * sizeof(App))
            if grown == NULL:
                raise MemoryError()
            memset(grown + self._apps_room, 0, (app * 2 + 16 - self._apps_room) * sizeof(App))
            self._apps = grown
            self._apps_room = app * 2 + 16
        self._apps[app].group = group
        self._apps[app].bytes_per_s = bytes_per_s
        self._apps[app].patience_ms = patience_ms
        self._apps[app].app_bytes_per_s = app_bytes_per_s
        self._apps[app].client_bytes_per_s = client_bytes_per_s
        self._apps[app].prefix_bytes_per_s = prefix_bytes_per_s

    def remove_listener(self, uint32_t number, bint drain=True):
        """Stop accepting from a listener; what its queue holds is accepted first if `drain`. Its sessions go on."""
        cdef long before
        if number >= self._listener_count or not self._listeners[number].in_use:
            return
        if self._listeners[number].fd < 0:
            self._listeners[number].in_use = False
            return
        if drain:
            self.loop.read_clock()
            before = -1
            while self._active != before and not self._stalled:
                before = self._active
                self._accept(number)
                if self._accepted_head:
                    self._decide()
        if not self._stalled:
            self._unwatch_listener(number)
        self._listeners[number].in_use = False

    def sessions(self, *, listener=None, targets=None):
        """Return the names of sessions: those of a listener, those connected to any of `targets`, or all."""
        cdef uint32_t index
        cdef Session *session
        cdef list names = []
        for index in range(self._slab.chunk_count << CHUNK_BITS):
            session = slab_at(&self._slab, index)
            if session.state in (FREE, ENDED) or (listener is not None and session.listener != listener):
                continue
            if targets is not None and (session.state != RELAYING or <object>session.target not in targets):
                continue
            names.append(<uint64_t>session.generation << 32 | index)
        return names

    def close(self, uint64_t name, int error):
        """End a session; `error` comes back in `ended` with outcome CLOSED. A name whose session is over is ignored."""
        cdef Session *session = self._find(name)
        if session != NULL:
            self._end(<uint32_t>name, session, CLOSED, error, False)
            self._report()

    def close_sessions(self, int error, set listeners=None):
        """End the sessions of `listeners`, or all; `error` comes back in `ended` with outcome CLOSED."""
        cdef uint32_t index
        cdef Session *session
        for index in range(self._slab.chunk_count << CHUNK_BITS):
            session = slab_at(&self._slab, index)
            if session.state not in (FREE, ENDED) and (listeners is None or session.listener in listeners):
                self._end(index, session, CLOSED, error, False)
        if self._ended_head:
            self._report()

    def take_bytes(self):
        """Return (app, bytes from clients, bytes from origins) of the apps that moved any since the last call."""
        cdef uint32_t app
        cdef uint64_t *counters
        cdef list taken = []
        for app in range(self._app_count):
            counters = self._app_bytes + 2 * app
            if counters[CLIENT] or counters[ORIGIN]:
                taken.append((app, counters[CLIENT], counters[ORIGIN]))
                counters[CLIENT] = counters[ORIGIN] = 0
        return taken

    @property
    def max_sessions(self):
        """Accepting stops at this many sessions."""
        return self._max_sessions

    @max_sessions.setter
    def max_sessions(self, uint32_t value):
        self._max_sessions = value
        self._resume()

    @property
    def max_held_bytes(self):
        """Of what slow receivers did not take yet, so much is kept for all sessions together."""
        return self._max_held_bytes

    @max_held_bytes.setter
    def max_held_bytes(self, uint64_t value):
        self._max_held_bytes = value

    @property
    def held_bytes(self):
        """What slow receivers did not take yet, of all sessions together."""
        return self._held_bytes

    @property
    def active(self):
        """Sessions that are not over."""
        return self._active

    @property
    def stalled(self):
        """True while accepting is stopped for want of descriptors."""
        return self._stalled

    @property
    def stalls(self):
        """How often accepting was stopped."""
        return self._stalls
