# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The life cycle of TCP sessions: listeners, descriptors, backlogs of slow receivers, reports.

Ownership: from accept4 to the report in `ended` a session owns its descriptors, and nothing else closes them. Listening
descriptors belong to the caller.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
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
    EPIPE,
    EPROTO,
    ETIMEDOUT,
    errno,
)
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.counters cimport grow_counters
from spectrum.engine.linux cimport *
from spectrum.engine.lookout cimport FLOW_OPENING, IDLE_KIND, Lookout, Packet
from spectrum.engine.loop cimport GENERATION_SHIFT, LISTENER_TOKEN, SIDE_SHIFT, TICK_MS, Loop, Part
from spectrum.engine.plan cimport SessionPlan
from spectrum.engine.progress cimport Progress
from spectrum.engine.record_form cimport RecordForm, read_wall_clock
from spectrum.engine.shared cimport Loads
from spectrum.engine.slab cimport *
from spectrum.engine.sockets cimport clock_ns, map_bytes, read_address, set_int
from spectrum.engine.tls_end cimport free_end, keep_unread, say_goodbye, shake_hands

cdef enum:
    # Sessions that must have ended since accepting stalled, before it is retried ahead of the next tick.
    RESUME_AFTER = 64
    # While more than a quarter of the latest clients (in 1/256) had disconnected, decisions on others are delayed for a
    # moment. Of 45,000 that reset each second one in ten is accepted before its reset arrives, and would be dialled.
    MANY_GONE = 64
    MOMENT_NS = 30000
    # The first event after the delay brings the decision; at the latest the timer does.
    LATEST_US = 100
    # Meanwhile a listener whose queue is empty is read again only after this time: waking up for each client that has
    # disconnected costs more than handling it.
    REST_NS = 500000
    # Protocol and flags in the form of the filter's rules.
    TCP_SYN = 0x02

cdef int64_t NS_PER_S = 1000000000

# Displayed names of `State`.
cdef tuple STATE_NAMES = (
    "free", "new", "header", "delayed", "client_tls", "connecting", "origin_tls", "relaying", "ended")


cdef int read_bounds(uint64_t *bounds_ns, bounds_s) except -1:
    """Fill in the bounds of buckets; return their number."""
    cdef int count = 0
    if len(bounds_s) >= MAX_BUCKETS:
        raise ValueError(f"at most {MAX_BUCKETS - 1} bounds, not {len(bounds_s)}")
    for bound_s in bounds_s:
        bounds_ns[count] = round(bound_s * 1e9)
        count += 1
    return count


cdef int bucket_of(const uint64_t *bounds_ns, int count, uint64_t value_ns) noexcept nogil:
    """Return the first bucket whose bound is not exceeded; the last one has no bound."""
    cdef int place = 0
    while place < count and value_ns > bounds_ns[place]:
        place += 1
    return place


cdef list filled(const uint32_t *counts):
    """Return index and count of the buckets that are not empty."""
    cdef int place
    return [(place, counts[place]) for place in range(MAX_BUCKETS) if counts[place]]


cdef class Sessions(Part):
    """All TCP sessions of one worker, from accept to end.

    Args:
        loop: The event loop.
        handler: Its `accepted`, `begun`, `gone`, `header`, `turn_came`, `secured`, `origin_secured`, `insecure`,
            `attempt_failed`, `exhausted`, `told`, `ended`, `summed` and `recorded` are called from within the loop's
            `process`.
        max_sessions: Accepting stops at this many.
        loads: Counts the sessions of each origin.
        census: Counts the sessions of each app and client.
        rates: The rate limiters of apps and clients, in all workers.
        lookout: Samples new sessions for detection of attacks, and applies its rules.
        max_held_bytes: The limit of bytes kept for slow receivers, of all sessions together. Above it the sessions with
            the largest backlogs are reset.
        bounds: The bounds of the buckets in which `summed` counts connect times and durations, in seconds.

    Attributes:
        recorded: Whether records are written of the sessions that `summed` reports, and RTTs are read.
        records_per_s: The limit of these records per app in a second of the wall clock; 0 for no limit.
        tells_connects: Whether a session is reported when it is connected: by a record of its form, or by `told`.
        place_of: Returns the country and the autonomous system of a client, for those records; None without such data.
    """

    def __init__(self, Loop loop, handler, *, uint32_t max_sessions=0x7FFFFFFF, Loads loads=None,
                 Census census=None, Rates rates=None, Lookout lookout=None,
                 uint64_t max_held_bytes=0xFFFFFFFFFFFFFFFF, tuple bounds=((), ())):
        self.loop = loop
        self._handler = handler
        self._loads = loads if loads is not None else Loads()
        self._census = census if census is not None else Census()
        self._rates = rates if rates is not None else Rates()
        self._lookout = lookout if lookout is not None else Lookout(self._rates)
        self._max_sessions = max_sessions
        self._max_held_bytes = max_held_bytes
        self.recorded = True
        self._progress = Progress()
        self._connect_bound_count = read_bounds(self._connect_bounds_ns, bounds[0])
        self._duration_bound_count = read_bounds(self._duration_bounds_ns, bounds[1])
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
        for index in range(self._listener_count):
            self._drop_plan(index)
        free(self._listeners)
        free(self._app_bytes)
        free(self._apps)
        free(self._scratch)
        free(self._sealed)
        free(self._records.data)
        free(self._new_connects.names)
        for index in range(<uint32_t>self._sum_count):
            Py_DECREF(<object>self._sums[index].target)
        free(self._wire.outgoing)
        while self._spend_reserve():
            pass

    cdef void _release(self, Session *session) noexcept:
        """Free everything that a session owns, including descriptors."""
        cdef int side
        if session.state == FREE:
            return
        LIVE_SESSIONS(-1)
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
        if session.form != NULL:
            Py_DECREF(<object>session.form)

    # --- descriptors --------------------------------------------------------------------------------------------------

    cdef uint64_t _token(self, uint32_t index, Session *session, uint64_t side) noexcept nogil:
        return self.part_token | side << SIDE_SHIFT | <uint64_t>session.generation << GENERATION_SHIFT | index

    cdef uint64_t _leg_token(self, uint32_t index, Session *session, int side) noexcept nogil:
        return self._token(index, session, 0 if side == CLIENT else session.origin_side)

    cdef bint _fill_reserve(self) noexcept nogil:
        """Open the reserve of descriptors for sessions at the limit; return False if there are not enough."""
        cdef int fd
        while self._reserved < ACCEPT_BATCH:
            fd = dup(self.loop.epoll)
            if fd < 0:
                return False
            self._reserve[self._reserved] = fd
            self._reserved += 1
        return True

    cdef bint _spend_reserve(self) noexcept nogil:
        """Free one descriptor of the reserve; return False if it is empty."""
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

    # --- listeners and accepting --------------------------------------------------------------------------------------

    cdef uint32_t listener_count(self) noexcept nogil:
        return self._listener_count

    cdef int watch_listener(self, uint32_t number) noexcept nogil:
        cdef Listener *listener = &self._listeners[number]
        if not listener.in_use or listener.fd < 0 or listener.rests or self._stalled:
            return -1
        return self.loop.watch(listener.fd, LISTENER_TOKEN | self.part_token | number, EPOLLIN | EPOLLEXCLUSIVE)

    cdef void _unwatch_listener(self, uint32_t number) noexcept nogil:
        self.loop.unwatch(self._listeners[number].fd)

    cdef void _rest(self, uint32_t number) noexcept nogil:
        """Leave the clients of a listener in the kernel's queue until `_end_rest`."""
        if self._resting == MAX_RESTING:
            return
        self._listeners[number].rests = True
        self._unwatch_listener(number)
        if self._resting == 0:
            self._rest_until_ns = self.loop.now_ns + REST_NS
        self._rests[self._resting] = number
        self._resting += 1

    cdef void _end_rest(self) noexcept nogil:
        cdef uint32_t number
        if self._resting == 0 or self.loop.now_ns < self._rest_until_ns:
            return
        while self._resting:
            self._resting -= 1
            number = self._rests[self._resting]
            self._listeners[number].rests = False
            self.watch_listener(number)  # `check_listeners` retries if that fails

    cdef void _stall(self) noexcept nogil:
        """Stop accepting: clients wait in the kernel's queue until descriptors are free again (`_resume`)."""
        cdef uint32_t number
        if self._stalled:
            return
        self._stalled = True
        self._stalls += 1
        self._ended_since_stall = 0
        for number in range(self._listener_count):
            if self._listeners[number].in_use and self._listeners[number].fd >= 0:
                self._unwatch_listener(number)
        self.loop.tick_within(TICK_MS * 1000)

    cdef void _resume(self) noexcept nogil:
        cdef uint32_t number
        if not self._stalled or self._active >= self._max_sessions:
            return
        if not self._fill_reserve():
            return
        self._stalled = False
        for number in range(self._listener_count):
            self.watch_listener(number)  # `check_listeners` retries if that fails

    cdef int _accept(self, uint32_t number) noexcept nogil:
        """Accept a batch; return the number of connections, 0 if the queue is empty or accepting stalls.

        Connections that were reset in the queue are skipped: no work is begun for them. They count for the batch, so
        that a queue full of them leaves time to relay.
        """
        cdef Listener *listener = &self._listeners[number]
        cdef sockaddr_in6 address
        cdef socklen_t length
        cdef uint8_t[16] client
        cdef uint16_t port
        cdef int fd, taken = 0
        if not listener.in_use or self._stalled:
            return 0
        while taken < ACCEPT_BATCH and self._undecided < ACCEPT_BATCH and self._gone_count < ACCEPT_BATCH:
            if self._active >= self._max_sessions:
                self._stall()
                return taken
            length = sizeof(sockaddr_in6)
            fd = accept4(listener.fd, <sockaddr *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                taken += 1
                if self._client_error(fd):
                    close(fd)
                    self._pass_over(number, client, read_address(&address, client, &port))
                else:
                    self._gone_share -= self._gone_share >> 3
                    self._add(number, listener, fd, &address)
            elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                self._stall()
                return taken
            elif errno != EINTR and errno != ECONNABORTED and errno != EPROTO and errno != EPERM:
                if self._gone_share > MANY_GONE and not listener.rests:
                    self._rest(number)
                return taken
        return taken

    cdef int _client_error(self, int fd) noexcept nogil:
        """Return the errno that ended a client's connection, 0 while it is open.

        A FIN is not an end: the client may have sent its whole request, and wait for the answer. SO_ERROR is the
        cheapest query (0.15 µs, TCP_INFO 0.24) and does not depend on unread bytes.
        """
        cdef int error = 0
        cdef socklen_t length = sizeof(int)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)
        # A reset after a FIN (net/ipv4/tcp_input.c, tcp_reset); nothing was sent to it yet.
        return ECONNRESET if error == EPIPE else error

    cdef void _pass_over(self, uint32_t number, const uint8_t *address, uint8_t address_bytes) noexcept nogil:
        """Record a client that was reset before it was accepted."""
        self.loop.note_stranger()
        self._gone_share += 32 - (self._gone_share >> 3)
        self._note_gone(number, address, address_bytes, False)

    cdef void _note_gone(
            self, uint32_t number, const uint8_t *address, uint8_t address_bytes, bint is_refused) noexcept nogil:
        """Record a disconnected client; successive ones of one address are recorded together."""
        cdef Gone *gone = &self._gone[self._gone_count]
        cdef Gone *last
        memset(gone, 0, sizeof(Gone))
        gone.listener = number
        gone.count = 1
        gone.is_refused = is_refused
        gone.address_bytes = address_bytes
        memcpy(gone.address, address, address_bytes)
        if self._gone_count:
            last = &self._gone[self._gone_count - 1]
            if (last.listener == number and last.is_refused == is_refused and last.address_bytes == gone.address_bytes
                    and memcmp(last.address, gone.address, 16) == 0):
                last.count += 1
                return
        else:
            self._gone_since_ms = self.loop.now_ms
        self._gone_count += 1

    cdef object _tell_gone(self):
        """Report the clients that were reset before they were accepted, and those that a rule refused."""
        cdef list batch = []
        cdef Gone *gone
        cdef int place
        for place in range(self._gone_count):
            gone = &self._gone[place]
            batch.append((
                gone.listener,
                PyBytes_FromStringAndSize(<char *>gone.address, gone.address_bytes),
                gone.count,
                <bint>gone.is_refused,
            ))
        self._gone_count = 0
        self._handler.gone(batch)

    cdef bint _is_gone_due(self) noexcept nogil:
        """Return whether to report them now; together, so that a flood of them does not run Python for each."""
        return self._gone_count >= ACCEPT_BATCH or (
            self._gone_count and self.loop.now_ms - self._gone_since_ms >= TICK_MS)

    cdef bint _is_decision_due(self, uint64_t until_ns) noexcept nogil:
        return self._accepted_head and slab_at(&self._slab, self._accepted_head - 1).accepted_ns <= until_ns

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
        session.edge_bytes = session.address_bytes
        session.edge_port = listener.port
        if listener.asks_address:
            memset(address, 0, sizeof(sockaddr_in6))
            getsockname(fd, <sockaddr *>address, &length)
            read_address(address, session.edge_address, &session.edge_port)
        else:
            memcpy(session.edge_address, listener.address, 16)
        if self._lookout.on and self._is_refused(session):
            self._note_gone(number, session.client_address, session.address_bytes, True)
            self._abort(fd)
            slab_return(&self._slab, index)
            return
        self._active += 1
        self._undecided += 1
        # Accepted sessions form a list in the order of arrival; indices are stored plus one, 0 ends it.
        if self._accepted_head == 0:
            self._accepted_head = index + 1
        else:
            slab_at(&self._slab, self._accepted_tail - 1).next = index + 1
        self._accepted_tail = index + 1

    cdef bint _is_refused(self, Session *session) noexcept nogil:
        """Sample a new session for detection if it is due, and return whether a rule of detection refuses it."""
        cdef uint8_t source[16]
        cdef uint8_t destination[16]
        cdef Packet packet
        cdef bint is_due
        if self._is_told(session.app):  # the client's address is known later
            return False
        is_due = self._lookout.is_due(IDLE_KIND)
        if not is_due and self._lookout.rule_count == 0:
            return False
        self._describe(session, &packet, source, destination)
        return self._lookout.meets(&packet, self.loop.now_ns, is_due, True)

    cdef void _describe(self, Session *session, Packet *packet, uint8_t *source, uint8_t *destination) noexcept nogil:
        """Fill in a packet that opens a session; its addresses are written to the two places of 16 bytes."""
        map_bytes(session.client_address, session.address_bytes, source)
        map_bytes(session.edge_address, session.edge_bytes, destination)
        memset(packet, 0, sizeof(Packet))
        packet.source, packet.destination = source, destination
        packet.from_port, packet.to_port = session.client_port, session.edge_port
        packet.protocol, packet.flow, packet.tcp_flags = IPPROTO_TCP, FLOW_OPENING, TCP_SYN
        packet.group = self._group(session)

    cdef bint _is_told(self, uint32_t app) noexcept nogil:
        return app < self._apps_room and self._apps[app].told

    cdef object _decide(self, uint64_t until_ns):
        """Decide on sessions that were accepted until then, by the plans of their listeners, or by the handler.

        A session without a decision is closed. A delayed one is skipped if it was reset meanwhile.
        """
        cdef list batch = []
        cdef Session *session
        cdef Listener *listener
        cdef uint64_t name
        cdef uint32_t index
        while self._accepted_head:
            index = self._accepted_head - 1
            session = slab_at(&self._slab, index)
            if session.accepted_ns > until_ns:
                break
            self._accepted_head = session.next
            self._undecided -= 1
            if session.accepted_ns < self.loop.now_ns and self._client_error(session.legs[CLIENT].fd):
                self._pass_over(session.listener, session.client_address, session.address_bytes)
                self._forget(index, session)
                continue
            listener = &self._listeners[session.listener]
            if listener.plan != NULL and self._follow(index, session, <object>listener.plan):
                self._note_begun(session.listener)
                continue
            batch.append((
                <uint64_t>session.generation << 32 | index,
                session.listener,
                PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes),
                session.client_port,
                PyBytes_FromStringAndSize(<char *>session.edge_address, session.address_bytes),
                session.edge_port,
            ))
        if not batch:
            return
        try:
            self._handler.accepted(batch)
        finally:
            for item in batch:
                name = (<tuple>item)[0]
                session = self._find(name)
                if session != NULL and session.state == ACCEPTED:
                    self._end(<uint32_t>name, session, REFUSED, 0, True)

    cdef int _note_begun(self, uint32_t number) except -1:
        """Count a session that follows the plan of its listener."""
        if self._listeners[number].begun == 0:
            if self._begun_count == MAX_KINDS:
                self._tell_sums()
            self._begun[self._begun_count] = number
            self._begun_count += 1
        self._listeners[number].begun += 1
        return 0

    cdef void _forget(self, uint32_t index, Session *session) noexcept nogil:
        """Free a session for which nothing was begun."""
        close(session.legs[CLIENT].fd)
        self._active -= 1
        slab_return(&self._slab, index)

    cdef int _decide_all(self) except -1:
        """Report all disconnected clients, and decide on all other sessions."""
        while self._gone_count or self._accepted_head:
            if self._gone_count:
                self._tell_gone()
            if self._accepted_head:
                self._decide(self.loop.now_ns)
        return 0

    cdef void _drop_plan(self, uint32_t number):
        if self._listeners[number].plan != NULL:
            Py_DECREF(<object>self._listeners[number].plan)
            self._listeners[number].plan = NULL

    cdef Session *_find(self, uint64_t name) noexcept:
        cdef uint32_t index = <uint32_t>name
        if index >= self._slab.chunk_count << CHUNK_BITS:
            return NULL
        cdef Session *session = slab_at(&self._slab, index)
        if session.generation != name >> 32 or session.state == FREE or session.state == ENDED:
            return NULL
        return session

    cdef void _watch_for_end(self, uint32_t index, Session *session) noexcept nogil:
        """Watch an unread client for a reset: EPOLLERR and EPOLLHUP are always reported (epoll_ctl(2))."""
        if session.watched == UNWATCHED and self.loop.watch(
                session.legs[CLIENT].fd, self._leg_token(index, session, CLIENT), EPOLLET) == 0:
            session.watched = WATCHED_FOR_END

    cdef void _count(self, Session *session) noexcept nogil:
        if not session.counted:
            session.counted = True
            self._census.enter(TCP_NODE, self._group(session), session.client_address, session.address_bytes)

    cdef uint64_t _group(self, Session *session) noexcept nogil:
        return self._apps[session.app].group if session.app < self._apps_room else 0

    # --- waiting sessions ---------------------------------------------------------------------------------------------

    cdef void _link_pending(self, uint32_t index, Session *session) noexcept nogil:
        if session.pending:
            return
        session.pending = True
        session.pending_prev = 0
        session.pending_next = self._pending_head
        if self._pending_head:
            slab_at(&self._slab, self._pending_head - 1).pending_prev = index + 1
        self._pending_head = index + 1
        self.loop.tick_within(TICK_MS * 1000)

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

    # --- backlogs -----------------------------------------------------------------------------------------------------

    cdef bint _send(self, uint32_t index, Session *session, int side, const char *data, size_t size) noexcept nogil:
        """Send TLS's own records (alerts, tickets) after the backlog; return False if that fails (errno)."""
        cdef Leg *leg = &session.legs[side]
        cdef ssize_t sent = 0
        if leg.backlog == NULL:
            sent = send(leg.fd, data, size, MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    return False
                sent = 0
        return <size_t>sent == size or self._keep(index, session, side, data + sent, size - sent)

    cdef bint _send_held(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Send the backlog of leg `side`; return False if a part is left, or the session ended by it."""
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

    cdef void _hasten(self, Session *session) noexcept nogil:
        """Prepare for a send to the origin: from the second one on, bytes must not wait for an ACK of those before."""
        if session.haste == NOTHING_SENT:
            session.haste = SENT_ONCE
        elif session.haste == SENT_ONCE:
            self._undelay(session)

    cdef void _undelay(self, Session *session) noexcept nogil:
        set_int(session.legs[ORIGIN].fd, IPPROTO_TCP, TCP_NODELAY, 1)
        session.haste = UNDELAYED

    cdef uint32_t _interest(self, Leg *leg) noexcept nogil:
        return READING | (EPOLLOUT if leg.watches_out else 0)

    cdef bint _keep(self, uint32_t index, Session *session, int side, const char *data, size_t size) noexcept nogil:
        """Keep bytes that leg `side` did not take until it is writable; return False if that ended the session."""
        cdef Leg *leg = &session.legs[side]
        cdef char *held = <char *>realloc(leg.backlog, leg.backlog_end + size)
        if held == NULL:
            self._end(index, session, ERROR_CLIENT + side, ENOMEM, True)
            return False
        memcpy(held + leg.backlog_end, data, size)
        leg.backlog = held
        leg.backlog_end += <uint32_t>size
        self._held_bytes += size
        if side == ORIGIN and session.haste != UNDELAYED:
            self._undelay(session)
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
        """Reset the sessions with the largest backlogs, down to three quarters of the limit.

        That far, because each run scans all sessions; and all sessions with at least half of the largest backlog
        together.
        """
        cdef uint32_t index, count = self._slab.chunk_count << CHUNK_BITS
        cdef uint32_t most, held
        cdef Session *session
        while self._held_bytes > self._max_held_bytes - (self._max_held_bytes >> 2):
            most = 0
            for index in range(count):
                most = max(most, self._held_by(slab_at(&self._slab, index)))
            if most == 0:
                return
            for index in range(count):
                session = slab_at(&self._slab, index)
                held = self._held_by(session)
                if held and held >= most >> 1:
                    self._end(index, session, NO_MEMORY, 0, True)
                    if self._held_bytes <= self._max_held_bytes - (self._max_held_bytes >> 2):
                        return

    cdef uint32_t _held_by(self, Session *session) noexcept nogil:
        """Return the bytes that a session holds, in any state: also of a handshake that its peer has not read."""
        cdef uint32_t held = 0
        cdef int side
        if session.state != FREE and session.state != ENDED:
            for side in range(2):
                if session.legs[side].backlog != NULL:
                    held += session.legs[side].backlog_end
        return held

    # --- TLS handshakes -----------------------------------------------------------------------------------------------

    cdef ssize_t _take_flight(self, uint32_t index, Session *session, int side) noexcept:
        """Read the handshake of leg `side`, and continue it: 1 if it is complete, 0 if it needs more.

        Negative if it failed: an errno, or -EPROTO for a failure of TLS.
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
        """Set the wire buffers: received bytes in `_sealed`, and nothing to send."""
        self._wire.received = self._sealed
        self._wire.received_bytes = size
        self._wire.at = 0
        self._wire.outgoing_bytes = 0

    # --- ends ---------------------------------------------------------------------------------------------------------

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
            if not leg.measured and (self.recorded or error == ETIMEDOUT):
                self._tcp_info(leg.fd, &info)
                session.rtt_us[side] = info.tcpi_rtt
            if error == ETIMEDOUT and outcome == ERROR_CLIENT + side and info.tcpi_snd_wnd == 0:
                # TCP_USER_TIMEOUT expired although the peer is alive: it does not read.
                session.outcome = STUCK_CLIENT + side
                session.error = 0
            if reset:
                self._abort(leg.fd)
            else:
                close(leg.fd)
            self._free_backlog(leg)
        if session.target != NULL:
            if session.waiting:
                self._loads.answer(session.number)
            self._loads.leave(session.number)
        if session.dial != NULL:
            with gil:
                session.target = session.dial.tried
                session.dial.tried = NULL
                self._free_dial(session)
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
        """End the TLS of a leg, with a close_notify if it can still be sent."""
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
        """Report the ended sessions to the handler, and free them."""
        cdef list batch = []
        cdef Session *session
        cdef uint64_t[4] since
        cdef uint32_t link = self._ended_head, index
        if self._new_connects.count:
            self._tell_connected()
        self._ended_head = self._ended_tail = 0
        read_wall_clock(&self._wall_clock)
        while link:
            index = link - 1
            session = slab_at(&self._slab, index)
            link = session.next
            if session.form != NULL and session.connected_ns:
                try:
                    self._add_up(index, session)
                except Exception as exc:
                    self._handler.broken(exc)
                Py_DECREF(<object>session.form)
                Py_DECREF(<object>session.target)
                session.form = session.target = NULL
                slab_return(&self._slab, index)
                continue
            batch.append(self._item(
                index, session, session.outcome, session.error, since if self._left(index, session, since) else NULL))
            if session.target != NULL:
                Py_DECREF(<object>session.target)
                session.target = NULL
            if session.form != NULL:
                Py_DECREF(<object>session.form)
                session.form = NULL
            slab_return(&self._slab, index)
        if batch:
            self._tell_sums()
            self._handler.ended(batch)

    cdef bint _left(self, uint32_t index, Session *session, uint64_t *since) noexcept nogil:
        """Fill in an ended session's traffic since the last record of its progress; return False if there is none."""
        cdef uint64_t[4] counts
        memset(counts, 0, sizeof(counts))
        counts[CLIENT] = session.legs[CLIENT].received_bytes
        counts[ORIGIN] = session.legs[ORIGIN].received_bytes
        return self._progress.left_since(index, session.generation, counts, since)

    cdef tuple _item(self, uint32_t index, Session *session, int outcome, int error, const uint64_t *since):
        """Return the report of a session for the handler; `since` is NULL if its progress was never reported."""
        return (
            session.listener,
            outcome,
            error,
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
            PyBytes_FromStringAndSize(<char *>session.edge_address, session.edge_bytes),
            session.edge_port,
            (since[CLIENT], since[ORIGIN]) if since != NULL else None,
        )

    # --- reports of open sessions -------------------------------------------------------------------------------------

    cdef int _tell_connected(self) except -1:
        """Report the sessions that were connected in this round, before the ends of any."""
        cdef list batch = []
        cdef uint32_t place, index, count = self._new_connects.count
        cdef Session *session
        self._new_connects.count = 0
        read_wall_clock(&self._wall_clock)
        for place in range(count):
            index = <uint32_t>self._new_connects.names[place]
            session = slab_at(&self._slab, index)
            if session.state != FREE and session.generation == self._new_connects.names[place] >> 32:
                self._tell_open(index, session, CONNECTED, NULL, batch)
        if batch:
            self._tell_sums()
            self._handler.told(batch)
        return 0

    cdef int _tell_progress(self) except -1:
        """Report the progress of sessions whose turn it is, and that have been connected for an interval."""
        cdef list batch = []
        cdef uint32_t index, places = self._slab.chunk_count << CHUNK_BITS
        cdef uint32_t due = self._progress.due(places, self.loop.now_ms)
        cdef uint64_t longest_ns = self.loop.now_ns - self._progress.interval_ms * 1000000
        cdef uint64_t[4] counts
        cdef uint64_t[4] since
        cdef Session *session
        cdef tcp_info info
        cdef int side
        if not due:
            return 0
        memset(counts, 0, sizeof(counts))
        read_wall_clock(&self._wall_clock)
        for _ in range(due):
            index = self._progress.next_place(places)
            session = slab_at(&self._slab, index)
            if session.state != RELAYING or session.connected_ns > longest_ns:
                continue
            for side in range(2):
                counts[side] = session.legs[side].received_bytes
                self._tcp_info(session.legs[side].fd, &info)
                session.rtt_us[side] = info.tcpi_rtt
            session.ended_ns = self.loop.now_ns  # so far; set again at the end
            if self._progress.take_since(index, session.generation, counts, since):
                self._tell_open(index, session, PROGRESS, since, batch)
        if batch:
            self._tell_sums()
            self._handler.told(batch)
        return 0

    cdef int _tell_open(
            self, uint32_t index, Session *session, int outcome, const uint64_t *since, list batch) except -1:
        """Write a record of an open session, or make the handler write it."""
        if not self.recorded:
            return 0
        if session.form != NULL:
            self._write_record(index, session, outcome, 0, since)
        else:
            batch.append(self._item(index, session, outcome, 0, since))
        return 0

    # --- records and sums ------------------------------------------------------------------------------------------

    cdef int _add_up(self, uint32_t index, Session *session) except -1:
        """Add an ended session to the sum of its kind, and write its record."""
        cdef Sum *total = self._sum_of(session)
        cdef uint64_t[4] since
        cdef uint64_t connect_ns = session.connected_ns - session.accepted_ns
        cdef uint64_t duration_ns = session.ended_ns - session.accepted_ns
        total.count += 1
        total.connect_ns += connect_ns
        total.duration_ns += duration_ns
        total.connects[bucket_of(self._connect_bounds_ns, self._connect_bound_count, connect_ns)] += 1
        total.durations[bucket_of(self._duration_bounds_ns, self._duration_bound_count, duration_ns)] += 1
        if self.recorded:
            self._write_record(
                index, session, session.outcome, session.error, since if self._left(index, session, since) else NULL)
        return 0

    cdef int _write_record(
            self, uint32_t index, Session *session, int outcome, int error, const uint64_t *since) except -1:
        cdef object place = None
        if self.records_per_s and not self._has_record(session):
            return 0
        if self.place_of is not None:
            place = self.place_of(PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes))
        (<RecordForm>session.form).write(
            &self._records, <uint64_t>session.generation << 32 | index, session, outcome, error, since,
            &self._wall_clock, place)
        self._record_count += 1
        if self._record_count == RECORDS_AT_ONCE:
            self._hand_on_records()
        return 0

    cdef int _hand_on_records(self) except -1:
        cdef int count = self._record_count
        cdef bytes records = PyBytes_FromStringAndSize(self._records.data, self._records.size)
        self._record_count = 0
        self._records.size = 0
        self._handler.recorded(count, records)
        return 0

    cdef bint _has_record(self, Session *session) noexcept nogil:
        """Return whether a session gets a record within its app's limit per second, and count it."""
        cdef App *app
        cdef int64_t at_ns = <int64_t>(session.ended_ns or session.connected_ns) + self._wall_clock.offset_ns
        if session.app >= self._apps_room:
            return True
        app = &self._apps[session.app]
        if app.second != at_ns // NS_PER_S:
            app.second = at_ns // NS_PER_S
            app.recorded = 0
        if app.recorded < self.records_per_s:
            app.recorded += 1
            return True
        app.left_out += 1
        self._left_out = True
        return False

    cdef Sum *_sum_of(self, Session *session) except NULL:
        cdef bint answered = session.legs[ORIGIN].received_bytes > 0
        cdef Sum *total
        cdef int place
        if session.number:
            self._tells_now = True
        for place in range(self._sum_count - 1, -1, -1):
            total = &self._sums[place]
            if (total.listener == session.listener and total.target == session.target
                    and total.outcome == session.outcome and total.error == session.error
                    and total.answered == answered):
                return total
            if session.number and total.target == session.target:
                break  # the order of ends at a load balancer's origin is significant
        if self._sum_count == MAX_KINDS:
            self._tell_sums()
        total = &self._sums[self._sum_count]
        self._sum_count += 1
        memset(total, 0, sizeof(Sum))
        total.listener = session.listener
        total.outcome = session.outcome
        total.error = session.error
        total.target = session.target
        total.answered = answered
        Py_INCREF(<object>total.target)
        return total

    cdef bint _is_telling_due(self) noexcept nogil:
        """Return whether to report sums to the handler now.

        They are reported after a pause; later ones within a tick are reported together, as calling Python costs more
        than a session. For origins with counted sessions they are reported at once: clients may wait for their place.
        """
        if not self._begun_count and not self._sum_count and not self._record_count:
            return False
        return self._tells_now or self.loop.now_ms - self._told_ms >= TICK_MS

    cdef int _tell_sums(self) except -1:
        """Report begun sessions and the sums of ended ones to the handler, and pass on their records."""
        cdef list sums = []
        cdef Sum *total
        cdef int place
        cdef uint32_t begun
        self._told_ms = self.loop.now_ms
        self._tells_now = False
        while self._begun_count:
            self._begun_count -= 1
            place = self._begun[self._begun_count]
            begun = self._listeners[place].begun
            self._listeners[place].begun = 0
            self._handler.begun(place, begun)
        for place in range(self._sum_count):
            total = &self._sums[place]
            sums.append((
                total.listener,
                total.outcome,
                total.error,
                <object>total.target,
                total.answered,
                total.count,
                filled(total.connects),
                total.connect_ns,
                filled(total.durations),
                total.duration_ns,
            ))
            Py_DECREF(<object>total.target)
        self._sum_count = 0
        if sums:
            self._handler.summed(sums)
        if self._record_count:
            self._hand_on_records()
        return 0

    cdef int settle(self) except -1:
        cdef uint64_t until_ns = self.loop.now_ns
        if self._gone_share > MANY_GONE:
            until_ns -= MOMENT_NS
        while self._is_gone_due() or self._is_decision_due(until_ns) or self._ended_head:
            if self._is_gone_due():
                self._tell_gone()
            if self._is_decision_due(until_ns):
                self._decide(until_ns)
            if self._ended_head:
                self._report()
        if self._new_connects.count:
            self._tell_connected()
        if self._is_telling_due():
            self._tell_sums()
        if self._accepted_head:
            self.loop.tick_within(LATEST_US)
        elif self._resting:
            self.loop.tick_within(REST_NS // 1000)
        elif self._gone_count or self._begun_count or self._sum_count or self._record_count:
            self.loop.tick_within(TICK_MS * 1000)
        if self._stalled and self._ended_since_stall >= RESUME_AFTER:
            self._ended_since_stall = 0
            self._resume()
        return 0

    # --- for other parts ----------------------------------------------------------------------------------------------

    cdef bint _follow(self, uint32_t index, Session *session, object plan) except -1:
        return False

    cdef void _free_dial(self, Session *session) noexcept:
        pass

    cdef void _leave_origin(self, Session *session) noexcept:
        pass

    # === Public API ===

    def add_listener(self, int fd, uint32_t app, bytes address, uint16_t port):
        """Accept from a listening descriptor, which the caller still owns; return the listener's number.

        Numbers are never reused, so the report of a session that outlived its listener names no other one. An empty
        `address` is a wildcard: the address that a client connected to is then read per session. A listener without a
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
        try:
            self.begin_to_listen(number)
        except ValueError:
            listener.in_use = False
            raise
        return number

    def set_app(self, uint32_t app, uint64_t group, uint32_t bytes_per_s=0, uint32_t patience_ms=0,
                uint64_t app_bytes_per_s=0, uint64_t client_bytes_per_s=0, uint64_t prefix_bytes_per_s=0,
                bint told=False):
        """Set the properties of an app.

        Args:
            app: Its slot.
            group: Its number in the census; it cannot change while there are sessions.
            bytes_per_s: The lowest rate at which a peer must read pending bytes; 0 for none,
            patience_ms: and the time after which a slower session ends.
            app_bytes_per_s: The limit of new sessions together each way; 0 for no limit.
            client_bytes_per_s: The same for those of one client.
            prefix_bytes_per_s: The same for those of a client's prefix.
            told: Whether its sessions come from proxies, with headers that name the client.
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
        self._apps[app].told = told

    def set_plan(self, uint32_t number, SessionPlan plan):
        """Make the new sessions of a listener follow a plan, until `drop_plans`.

        The handler is not asked about sessions that it covers: `handler.begun` reports their number.
        """
        if number < self._listener_count:
            self._drop_plan(number)
            Py_INCREF(plan)
            self._listeners[number].plan = <PyObject *>plan

    def drop_plans(self, listeners=None):
        """Ask the handler about all new sessions, or those of some listeners, by number."""
        cdef uint32_t number
        self._tell_sums()
        for number in range(self._listener_count) if listeners is None else listeners:
            if number < self._listener_count:
                self._drop_plan(number)

    def remove_listener(self, uint32_t number, bint drain=True):
        """Stop accepting from a listener; with `drain` its queue is accepted first. Its sessions continue."""
        cdef int taken = 1
        if number >= self._listener_count or not self._listeners[number].in_use:
            return
        self.deaf.pop(number, None)
        if self._listeners[number].fd < 0:
            self._listeners[number].in_use = False
            self._tell_sums()
            return
        self._decide_all()
        if drain:
            self.loop.read_clock()
            while taken:
                taken = self._accept(number)
                self._decide_all()
        if not self._stalled:
            self._unwatch_listener(number)
        self._listeners[number].in_use = False
        self._tell_sums()

    def tell_sums(self):
        """Report sums to the handler (`begun`, `summed`) now; otherwise it happens within a tick."""
        self._tell_sums()

    def sessions(self, *, listener=None, targets=None):
        """Return the names of sessions: of a listener, connected to one of `targets`, or all."""
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

    def look(self, uint32_t first, uint32_t count):
        """Return the sessions in `count` places from `first` on, and the next place; 0 after the last one.

        The place of a session does not change. Undecided sessions are left out. Of each: name, listener, state, client,
        port, edge, port, target (None if none was dialled yet), age and idle time (ms), bytes from client and origin.
        """
        cdef uint32_t index, end = self._slab.chunk_count << CHUNK_BITS
        cdef uint32_t last = min(<uint64_t>first + count, <uint64_t>end)
        cdef uint64_t idle_ms
        cdef Session *session
        cdef object target
        cdef list seen = []
        self.loop.read_clock()
        for index in range(first, last):
            session = slab_at(&self._slab, index)
            if session.state in (FREE, ACCEPTED, ENDED):
                continue
            target = None
            if session.target != NULL:
                target = <object>session.target
            elif session.dial != NULL and session.dial.tried != NULL:
                target = <object>session.dial.tried
            idle_ms = self.loop.now_ms - session.active_ms if session.state == RELAYING else 0
            seen.append((
                <uint64_t>session.generation << 32 | index,
                session.listener,
                STATE_NAMES[session.state],
                PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes),
                session.client_port,
                PyBytes_FromStringAndSize(<char *>session.edge_address, session.edge_bytes),
                session.edge_port,
                target,
                (self.loop.now_ns - session.accepted_ns) // 1000000,
                idle_ms,
                session.legs[CLIENT].received_bytes,
                session.legs[ORIGIN].received_bytes,
            ))
        return seen, last if last < end else 0

    def blocked(self, uint32_t first, uint32_t count):
        """Return the sessions in `count` places from `first` on that rules of detection block, and the next place.

        These are sessions that were admitted before there was the rule, and whose clients have sent nothing; of apps
        that are told who their clients are, none. The next place is 0 after the last one.
        """
        cdef uint32_t index, end = self._slab.chunk_count << CHUNK_BITS
        cdef uint32_t last = min(<uint64_t>first + count, <uint64_t>end)
        cdef uint8_t source[16]
        cdef uint8_t destination[16]
        cdef Packet packet
        cdef Session *session
        cdef list names = []
        self.loop.read_clock()
        for index in range(first, last):
            session = slab_at(&self._slab, index)
            if (session.state in (FREE, ACCEPTED, SECURING, ENDED) or session.legs[CLIENT].received_bytes
                    or session.legs[CLIENT].tls != NULL or self._is_told(session.app)):
                continue
            self._describe(session, &packet, source, destination)
            if self._lookout.blocks(&packet, self.loop.now_ns):
                names.append(<uint64_t>session.generation << 32 | index)
        return names, last if last < end else 0

    def take_left_out(self):
        """Return (app, records that were left out for `records_per_s`) of the apps with any since the last call."""
        cdef uint32_t app
        cdef list taken = []
        if not self._left_out:
            return taken
        self._left_out = False
        for app in range(self._apps_room):
            if self._apps[app].left_out:
                taken.append((app, self._apps[app].left_out))
                self._apps[app].left_out = 0
        return taken

    def report_singly(self, uint64_t name):
        """Report a session's end by `ended`, although it was connected with a form of its record."""
        cdef Session *session = self._find(name)
        if session != NULL and session.form != NULL:
            Py_DECREF(<object>session.form)
            session.form = NULL

    def close(self, uint64_t name, int error, bint reset=False):
        """End a session, with a reset if `reset`; `error` is reported in `ended` with outcome CLOSED.

        Names of ended sessions are ignored.
        """
        cdef Session *session = self._find(name)
        if session != NULL:
            self._end(<uint32_t>name, session, CLOSED, error, reset)
            self._report()
            self._tell_sums()

    def close_sessions(self, int error, set listeners=None):
        """End the sessions of `listeners`, or all; `error` is reported in `ended` with outcome CLOSED."""
        cdef uint32_t index
        cdef Session *session
        self._decide_all()
        for index in range(self._slab.chunk_count << CHUNK_BITS):
            session = slab_at(&self._slab, index)
            if session.state not in (FREE, ENDED) and (listeners is None or session.listener in listeners):
                self._end(index, session, CLOSED, error, False)
        if self._ended_head:
            self._report()
        self._tell_sums()

    @property
    def max_sessions(self):
        """Accepting stops at this many sessions."""
        return self._max_sessions

    @max_sessions.setter
    def max_sessions(self, uint32_t value):
        self._max_sessions = value
        self._resume()

    @property
    def progress_ms(self):
        """Interval of reports of sessions that are open longer, in milliseconds; 0 for none."""
        return self._progress.interval_ms

    @progress_ms.setter
    def progress_ms(self, uint64_t value):
        self._progress.interval_ms = value

    @property
    def max_held_bytes(self):
        """The limit of bytes that are kept for slow receivers, of all sessions together."""
        return self._max_held_bytes

    @max_held_bytes.setter
    def max_held_bytes(self, uint64_t value):
        self._max_held_bytes = value

    @property
    def held_bytes(self):
        """The bytes that are kept for slow receivers, of all sessions together."""
        return self._held_bytes

    @property
    def active(self):
        """The number of live sessions."""
        return self._active

    @property
    def stalled(self):
        """Whether accepting has stopped for lack of descriptors."""
        return self._stalled

    @property
    def stalls(self):
        """How often accepting has stopped."""
        return self._stalls
