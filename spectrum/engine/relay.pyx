# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The TCP engine: it accepts, dials and moves bytes between descriptors. It has no policy.

It is a part of a `Loop`. It calls its handler once per new session, in batches (`accepted`), and once at the session's
end (`ended`); bytes are moved without Python. Sockets are edge-triggered: a leg is read until it is empty or the other
one blocks.

`Sessions` has the life cycle of every session, `Dialer` connects it to an origin, `Relay` asks for the decision and
moves its bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, PyObject
from libc.errno cimport EAGAIN, EINTR, EPROTO, ETIMEDOUT, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset
from spectrum.engine.dialer cimport Dialer
from spectrum.engine.linux cimport *
from spectrum.engine.lookout cimport FLOW_IN_USE, FLOW_SHAKEN, Packet
from spectrum.engine.loop cimport GENERATION_MASK, GENERATION_SHIFT, IDLE_TICK_MS, LISTENER_TOKEN, SIDE_SHIFT
from spectrum.engine.plan cimport ADMITTED, LEFT_TO_HANDLER, SessionPlan
from spectrum.engine.progress cimport add_name
from spectrum.engine.record_form cimport RecordForm
from spectrum.engine.sessions cimport *
from spectrum.engine.slab cimport *
from spectrum.engine.sockets cimport clock_ns, map_bytes, set_int
from spectrum.engine.target cimport Target, count_moved
from spectrum.engine.tls cimport ServerContext
from spectrum.engine.tls_end cimport (
    TlsEnd,
    facts,
    name_asked_for,
    reason,
    refusal,
    say_goodbye,
    seal,
    server_end,
    take_unread,
    unseal,
)

cdef enum:
    # Bytes moved for one leg before the others are served.
    READ_BUDGET = 4194304
    # A client's first bytes: how many are read first (the longest PROXY header), and at most.
    PEEK_BYTES = 4112
    MAX_PEEK_BYTES = 65536
    # Protocol and flags in the form of the filter's rules.
    TCP_ACK = 0x10

# Mixed into the keys of rates, by direction.
cdef uint64_t CLIENT_WAY = 0x9ddfea08eb382d69
cdef uint64_t ORIGIN_WAY = 0xc3a5c85c97cb3127
cdef uint64_t NS_PER_S = 1000000000
# A rate limiter may be ahead by this time before reading is paused.
cdef uint64_t BURST_NS = 100000000

cdef enum Reach:
    # How far a leg was read. After a short read, new bytes cause another edge,
    ONE_EDGE
    # but bytes that were there when reading was paused do not;
    TO_END
    # after a FIN was reported by epoll, a short read has certainly reached the end.
    TO_KNOWN_END


cdef class Relay(Dialer):
    """All TCP sessions of one worker; the arguments are those of `Sessions`."""

    # --- the handler's answers ----------------------------------------------------------------------------------------

    def connect(self, uint64_t name, tuple targets, bytes header, uint32_t connect_timeout_ms,
                uint32_t idle_timeout_ms, int tries=1, RecordForm form=None):
        """Try `targets` (`Target`) in order; send `header` before the client's first byte, then relay.

        All attempts together have `connect_timeout_ms`, of which each gets an equal part of the rest. If no target can
        be reached, `handler.exhausted` may name others, up to `tries` times less one. The name of an ended session is
        ignored. `idle_timeout_ms` 0 is never. With a `form` it writes the session's record, and the end of a session
        that had an origin is reported by `handler.summed`.
        """
        cdef Session *session = self._find(name)
        if session != NULL and self._is_undecided(session):
            self._connect(<uint32_t>name, session, targets, header, connect_timeout_ms, idle_timeout_ms, tries, form)

    cdef int _connect(self, uint32_t index, Session *session, tuple targets, bytes header, uint32_t connect_timeout_ms,
                      uint32_t idle_timeout_ms, int tries, RecordForm form) except -1:
        cdef int slot
        cdef Dial *dial = <Dial *>calloc(1, sizeof(Dial))
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
        if form is not None and session.form == NULL:
            Py_INCREF(form)
            session.form = <PyObject *>form
        session.state = DIALING
        session.idle_timeout_ms = idle_timeout_ms
        self._count(session)
        self._unlink_pending(index, session)
        self._dial_next(index, session)
        return 0

    cdef bint _follow(self, uint32_t index, Session *session, object plan) except -1:
        """Follow the plan of a new session; return False to leave it to the handler."""
        cdef SessionPlan followed = <SessionPlan>plan
        cdef int verdict
        try:
            verdict = followed.admit(session, self._census, self._rates)
        except Exception as exc:
            self._handler.broken(exc)
            return False
        if verdict == LEFT_TO_HANDLER:
            return False
        if verdict != ADMITTED:
            self._end(index, session, REFUSED, verdict, True)
            return True
        self._connect(
            index, session, followed.next_targets(), followed.header_of(session), followed.connect_timeout_ms,
            followed.idle_timeout_ms, 1, followed.form)
        return True

    def refuse(self, uint64_t name, int error, bint reset=True):
        """Reset the client, or close its connection; `error` is reported in `ended` with outcome REFUSED."""
        cdef Session *session = self._find(name)
        if session != NULL and self._is_undecided(session):
            self._end(<uint32_t>name, session, REFUSED, error, reset)

    cdef bint _is_undecided(self, Session *session) noexcept nogil:
        return (session.state == ACCEPTED or session.state == HEADER or session.state == HELD
                or session.state == SECURING)

    def hold(self, uint64_t name, uint32_t delay_ms):
        """Delay a session: `handler.turn_came` decides after `delay_ms`, or holds it again."""
        cdef Session *session = self._find(name)
        if session == NULL or not self._is_undecided(session):
            return
        session.state = HELD
        session.deadline_ms = self.loop.now_ms + delay_ms
        if delay_ms == 0:
            self.loop.tick_within(1000)
        self._link_pending(<uint32_t>name, session)
        self._watch_for_end(<uint32_t>name, session)

    def read_header(self, uint64_t name, uint32_t timeout_ms):
        """Read the client's first bytes: `handler.header` is called with them until it decides or the time is over."""
        cdef Session *session = self._find(name)
        if session == NULL or session.state != ACCEPTED:
            return
        session.state = HEADER
        session.deadline_ms = self.loop.now_ms + timeout_ms
        self._link_pending(<uint32_t>name, session)
        self._watch_client(<uint32_t>name, session)

    def secure(self, uint64_t name, ServerContext context, uint32_t timeout_ms):
        """Begin TLS with the client: `handler.secured` decides after the handshake, which has `timeout_ms`."""
        cdef Session *session = self._find(name)
        cdef uint32_t index = <uint32_t>name
        if session == NULL or not self._is_undecided(session) or session.legs[CLIENT].tls != NULL:
            return
        session.legs[CLIENT].tls = server_end(context)
        session.state = SECURING
        session.deadline_ms = self.loop.now_ms + timeout_ms
        # All of the following is optional, and costs time.
        self._count(session)
        self._link_pending(index, session)
        if session.watched == WATCHED:
            self._secure_client(index, session)  # its edge was consumed
        else:
            self._watch_client(index, session)

    cdef void _watch_client(self, uint32_t index, Session *session) noexcept nogil:
        """Watch a client for all events, including bytes already there; end the session if epoll refuses it."""
        cdef Leg *leg = &session.legs[CLIENT]
        cdef int error = 0
        if session.watched == WATCHED_FOR_END:
            self.loop.rewatch(leg.fd, self._leg_token(index, session, CLIENT), self._interest(leg))
        else:
            error = self.loop.watch(leg.fd, self._leg_token(index, session, CLIENT), self._interest(leg))
        session.watched = WATCHED
        if error:
            self._end(index, session, NO_WATCH, error, True)

    def consume(self, uint64_t name, Py_ssize_t size):
        """Consume the client's first `size` bytes, which `handler.header` has seen."""
        cdef Session *session = self._find(name)
        if session == NULL or not 0 <= size <= SCRATCH_BYTES:
            return
        # They are in the kernel's buffer, so one call reads them all.
        recv(session.legs[CLIENT].fd, self._scratch, size, 0)

    def assign(self, uint64_t name, uint32_t listener):
        """Assign an undecided session to another listener and its app."""
        cdef Session *session = self._find(name)
        if (session == NULL or (session.state != ACCEPTED and session.state != HEADER)
                or listener >= self._listener_count):
            return
        session.listener = listener
        session.app = self._listeners[listener].app

    def server_name(self, uint64_t name):
        """Return the server name of a client's handshake with this edge; empty for none."""
        cdef Session *session = self._find(name)
        return name_asked_for(session.legs[CLIENT].tls) if session != NULL and session.legs[CLIENT].tls != NULL else b""

    def set_client(self, uint64_t name, bytes address, uint16_t port):
        """Replace the client's address in reports by the one that the proxy in front named."""
        cdef Session *session = self._find(name)
        if session == NULL or len(address) not in (4, 16):
            return
        session.address_bytes = <uint8_t>len(address)
        memcpy(session.client_address, PyBytes_AS_STRING(address), session.address_bytes)
        session.client_port = port

    # --- deadlines ----------------------------------------------------------------------------------------------------

    cdef bint tick(self) noexcept:
        """Check deadlines: those of the few waiting sessions often, those of all once a second."""
        cdef uint32_t link = self._pending_head, index
        cdef Session *session
        while link:
            index = link - 1
            session = slab_at(&self._slab, index)
            link = session.pending_next
            if session.state == HEADER:
                if self.loop.now_ms >= session.deadline_ms:
                    self._peek(index, session, 0, True)
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
        self._end_rest()
        self._resume()
        cdef bint soon = self._tend_spares() or self._pending_head != 0 or self._stalled
        if self._progress.interval_ms == 0:
            return soon
        try:
            self._tell_progress()
        except Exception as exc:
            self._handler.broken(exc)
        return soon or self._active != 0

    cdef void _turn_came(self, uint32_t index, Session *session) noexcept:
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        try:
            self._handler.turn_came(name)
        except Exception as exc:
            self._handler.broken(exc)
        # It may have been held again.
        if self._find(name) != NULL and session.state == HELD and self.loop.now_ms >= session.deadline_ms:
            self._end(index, session, REFUSED, 0, True)

    cdef void _scan(self) noexcept:
        """End idle and stuck sessions, and enable keepalive for those that are new since the last scan."""
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
        """End a session if one of its peers does not read.

        TCP waits forever for a peer that answers window probes with a window of zero, or of a few bytes.
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

    # --- the client's first bytes -------------------------------------------------------------------------------------

    cdef void _peek(self, uint32_t index, Session *session, uint32_t events, bint late) noexcept:
        """Show the handler a client's first bytes; `late` if its time is over.

        SO_RCVLOWAT makes the kernel wait for as many bytes as the handler needs, so that a client that sends byte by
        byte causes few events. The event is immediate if they are there already (tcp_set_rcvlowat).
        """
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        cdef int fd = session.legs[CLIENT].fd
        # After a FIN the rest will never arrive.
        cdef bint last = late or events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) != 0
        cdef uint32_t needs = max(<uint32_t>PEEK_BYTES, session.wanted), room = 0
        cdef ssize_t size = 0
        while needs > room and size == room:  # there were more bytes
            room = needs
            size = recv(fd, self._scratch, room, MSG_PEEK)
            if size < 0 and (errno == EAGAIN or errno == EINTR):
                if not late:
                    return
                size = 0
            elif size <= 0:
                self._end(index, session, CLIENT_LEFT, 0, True)
                return
            try:
                needs = self._show(name, session, size, last and size < room)
            except Exception as exc:
                self._handler.broken(exc)
                if self._find(name) != NULL:
                    self._end(index, session, REFUSED, 0, True)
                return
            if self._find(name) == NULL:
                return
        if session.state == HEADER and last:
            self._end(index, session, HEADER_TIMEOUT if late else CLIENT_LEFT, 0, True)
        elif needs != session.wanted:
            session.wanted = needs
            set_int(fd, SOL_SOCKET, SO_RCVLOWAT, max(needs, <uint32_t>1))

    cdef uint32_t _show(self, uint64_t name, Session *session, ssize_t size, bint last) except? 0xFFFFFFFF:
        """Show the handler `size` bytes of the scratch buffer; return how many it needs, 0 if it has decided."""
        cdef object needs = self._handler.header(
            name, session.listener, PyBytes_FromStringAndSize(self._scratch, size),
            PyBytes_FromStringAndSize(<char *>session.client_address, session.address_bytes), session.client_port,
            PyBytes_FromStringAndSize(<char *>session.edge_address, session.address_bytes), session.edge_port, last,
        )
        if needs is None or session.state != HEADER:
            return 0
        return min(<uint32_t>needs, <uint32_t>MAX_PEEK_BYTES)

    cdef void _secure_client(self, uint32_t index, Session *session) noexcept:
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        cdef TlsEnd *end = session.legs[CLIENT].tls
        cdef ssize_t done = self._take_flight(index, session, CLIENT)
        if session.state != SECURING or done == 0:
            return
        why = refusal(end) if done == -EPROTO else None
        fault = isinstance(why, Exception)
        try:
            if done == 1:
                self._handler.secured(name, facts(end))
            elif fault:
                self._handler.broken(why)
            else:
                self._handler.insecure(name, CLIENT, why or (reason(end) if done == -EPROTO else "the client left"))
        except Exception as exc:
            self._handler.broken(exc)
        if self._find(name) != NULL and session.state == SECURING:
            self._end(index, session, REFUSED if done == 1 or fault else HANDSHAKE_FAILED, 0, done == 1)

    # --- relaying -----------------------------------------------------------------------------------------------------

    cdef void _relay(self, uint32_t index, Session *session, size_t header_bytes) noexcept:
        """Start to relay; the header, in the scratch buffer, and the client's first bytes are sent together."""
        (<Target>session.target).connected += 1
        self._unlink_pending(index, session)
        self._free_dial(session)
        session.state = RELAYING
        session.paced = session.app < self._apps_room and (
            self._apps[session.app].app_bytes_per_s or self._apps[session.app].client_bytes_per_s
            or self._apps[session.app].prefix_bytes_per_s)
        session.connected_ns = clock_ns()
        session.active_ms = self.loop.now_ms
        if self.tells_connects:
            add_name(&self._new_connects, <uint64_t>session.generation << 32 | index)
        with nogil:
            # Watched since its header was awaited: the edge is consumed, so read to the end.
            if session.legs[ORIGIN].backlog == NULL:
                self._pump(index, session, CLIENT, header_bytes, TO_END if session.watched == WATCHED else ONE_EDGE)
            if session.state == RELAYING and session.watched != WATCHED:
                # After the first read: bytes that arrived in between are reported immediately.
                self._watch_client(index, session)
            if (session.state == RELAYING and session.legs[ORIGIN].tls != NULL
                    and session.legs[CLIENT].backlog == NULL and not session.legs[ORIGIN].eof):
                self._pump(index, session, ORIGIN, 0, TO_END)  # likewise, for the handshake

    cdef void _pump(self, uint32_t index, Session *session, int side, size_t prefix, Reach reach) noexcept nogil:
        """Move the bytes of leg `side` to the other leg.

        The first `prefix` bytes of the scratch buffer are sent before them. If the FIN is known to be in the queue, the
        last bytes are held (MSG_MORE) and leave with the FIN in one segment.
        """
        cdef Leg *source = &session.legs[side]
        cdef Leg *sink = &session.legs[1 - side]
        cdef ssize_t got, plain, room
        cdef size_t filled, moved = 0
        cdef bint paused = False, ends
        if session.paused_until_ms[side]:
            return  # `_read_on` continues
        session.active_ms = self.loop.now_ms
        if self._lookout.on:
            self._show_in_use(session, side)
        while True:
            room = (SMALL_READ_BYTES << source.appetite) - prefix
            if session.paced:
                room = min(room, self._portion(session))
            if reach == TO_KNOWN_END and sink.eof and self._is_read_out(session, side):
                got = 0
            elif source.tls == NULL:
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
                count_moved(session.target, side, plain)
                if session.paced:
                    paused = self._pace(index, session, side, plain)
                if session.waiting == side:  # the client sends and does not wait yet, or is answered
                    self._turn(session)
            if got > 0:
                moved += got
                self.loop.round_bytes += got
            if filled and not self._forward(index, session, 1 - side, filled, reach == TO_KNOWN_END):
                return
            # A FIN without close_notify counts as an end, as with HAProxy: many peers send none.
            if source.tls == NULL:
                ends = got == 0 or (0 < got < room and reach == TO_KNOWN_END)
            else:
                ends = got == 0 or source.tls.closed
            if ends:
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

    cdef void _show_in_use(self, Session *session, int side) noexcept nogil:
        """Sample a session's progress for detection; mark it in use once both ends have sent bytes."""
        cdef uint8_t source[16]
        cdef uint8_t destination[16]
        cdef Packet packet
        cdef bint in_use = session.legs[CLIENT].received_bytes and (
            side == ORIGIN or session.legs[ORIGIN].received_bytes != 0)
        cdef bint is_due
        if self._is_told(session.app):
            return
        is_due = self._lookout.is_due(in_use)
        if not is_due and (session.noted or not in_use):
            return
        map_bytes(session.client_address, session.address_bytes, source)
        if in_use and not session.noted:
            session.noted = True
            self._lookout.note_source(source, self.loop.now_ns)
        if not is_due:
            return
        map_bytes(session.edge_address, session.edge_bytes, destination)
        memset(&packet, 0, sizeof(Packet))
        packet.source, packet.destination = source, destination
        packet.from_port, packet.to_port = session.client_port, session.edge_port
        packet.protocol, packet.tcp_flags = IPPROTO_TCP, TCP_ACK
        packet.flow = FLOW_IN_USE if in_use else FLOW_SHAKEN
        packet.group = self._group(session)
        self._lookout.meets(&packet, self.loop.now_ns, True, False)

    cdef bint _is_read_out(self, Session *session, int side) noexcept nogil:
        """Return whether nothing is left to read of leg `side`, whose FIN was reported by epoll and ends the session.

        TCP_INFO has the number of received bytes. It is read at the end anyway, and saves the read that finds nothing;
        the FIN counts as a byte (net/ipv4/tcp_input.c, tcp_rcv_nxt_update). False if there were bytes that
        `received_bytes` does not count: a consumed header, urgent data.
        """
        cdef Leg *leg = &session.legs[side]
        cdef tcp_info info
        if (not self.recorded or leg.tls != NULL or leg.backlog != NULL or session.legs[1 - side].tls != NULL
                or session.paced):
            return False
        self._tcp_info(leg.fd, &info)
        if info.tcpi_bytes_received != leg.received_bytes + 1:
            return False
        session.rtt_us[side] = info.tcpi_rtt
        leg.measured = True
        return True

    cdef bint _forward(self, uint32_t index, Session *session, int side, size_t size, bint more) noexcept nogil:
        """Send the first `size` bytes of the scratch buffer to leg `side`; return False if that ended the session."""
        cdef Leg *leg = &session.legs[side]
        cdef const char *data = self._scratch
        cdef ssize_t sent
        if leg.tls != NULL:
            self._receive_sealed(0)
            if not seal(leg.tls, &self._wire, data, size):
                self._end(index, session, TLS_ERROR_CLIENT + side, 0, True)
                return False
            data, size = self._wire.outgoing, self._wire.outgoing_bytes
        if side == ORIGIN and session.haste != UNDELAYED:
            self._hasten(session)
        sent = send(leg.fd, data, size, MSG_NOSIGNAL | (MSG_MORE if more else 0))
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self._end(index, session, ERROR_CLIENT + side, errno, True)
                return False
            sent = 0
        return <size_t>sent == size or self._keep(index, session, side, data + sent, size - sent)

    cdef ssize_t _read_sealed(self, Leg *leg, size_t room) noexcept nogil:
        """Read a leg with TLS: first the bytes that its handshake left."""
        if leg.tls.unread != NULL:
            return take_unread(leg.tls, self._sealed, room)
        return recv(leg.fd, self._sealed, room, 0)

    cdef ssize_t _unseal(self, uint32_t index, Session *session, int side, size_t size, size_t prefix) noexcept nogil:
        """Decrypt `size` bytes of leg `side` to behind the prefix in the scratch buffer.

        Returns how many there are, -1 if the session had to end.
        """
        cdef Leg *leg = &session.legs[side]
        cdef ssize_t plain
        self._receive_sealed(size)
        plain = unseal(leg.tls, &self._wire, self._scratch + prefix, SCRATCH_BYTES + RECORD_BYTES - prefix)
        # A reply to a KeyUpdate, or an alert.
        if self._wire.outgoing_bytes and not self._send(
                index, session, side, self._wire.outgoing, self._wire.outgoing_bytes):
            if session.state == RELAYING:
                self._end(index, session, ERROR_CLIENT + side, errno, True)
            return -1
        if plain < 0:
            with gil:
                self._tell_insecure(index, session, side, reason(session.legs[side].tls))
            self._end(index, session, TLS_ERROR_CLIENT + side, 0, True)
        return plain

    cdef void _tell_insecure(self, uint32_t index, Session *session, int side, str why) noexcept:
        try:
            self._handler.insecure(<uint64_t>session.generation << 32 | index, side, why)
        except Exception as exc:
            self._handler.broken(exc)

    cdef bint _say_goodbye(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Send a close_notify to leg `side`; return False if it is queued, or the session ended by it."""
        self._receive_sealed(0)
        if not say_goodbye(session.legs[side].tls, &self._wire):
            return True
        if not self._send(index, session, side, self._wire.outgoing, self._wire.outgoing_bytes):
            if session.state == RELAYING:
                self._end(index, session, ERROR_CLIENT + side, errno, True)
            return False
        return session.legs[side].backlog == NULL

    cdef ssize_t _portion(self, Session *session) noexcept nogil:
        """Return how much a rate-limited session reads at once: a tenth of a second's worth, for an even flow."""
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
        """Charge a rate-limited session for moved bytes; pause reading a side beyond its rate; return True if so."""
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
        """Resume reading the sides of a rate-limited session whose pause is over."""
        cdef int side
        for side in range(2):
            if session.paused_until_ms[side] and self.loop.now_ms >= session.paused_until_ms[side]:
                session.paused_until_ms[side] = 0
                # Otherwise its receiver is slow, too, and `_flush` resumes it.
                if session.legs[1 - side].backlog == NULL and not session.legs[side].eof:
                    self._pump(index, session, side, 0, TO_END)
                if session.state != RELAYING:
                    return
        if not session.paused_until_ms[CLIENT] and not session.paused_until_ms[ORIGIN]:
            self._unlink_pending(index, session)

    cdef void _turn(self, Session *session) noexcept nogil:
        """Record which side sent last: a client that has sent waits until its origin sends."""
        session.waiting = not session.waiting
        if session.waiting:
            self._loads.wait(session.number)
        else:
            self._loads.answer(session.number)

    cdef void _flush(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Handle a writable leg: send its backlog, then resume reading the other leg."""
        if not self._send_held(index, session, side):
            return
        if session.legs[1 - side].eof:
            self._pass_eof(index, session, 1 - side)
        else:
            self._pump(index, session, 1 - side, 0, TO_END)

    cdef void _pass_eof(self, uint32_t index, Session *session, int side) noexcept nogil:
        """Handle a FIN of leg `side`: pass it on after all bytes before it; end the session when both have ended."""
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
            if events & (EPOLLERR | EPOLLPRI):
                self._pump(index, session, side, 0, TO_END)
            else:
                self._pump(index, session, side, 0, TO_KNOWN_END if events & EPOLLRDHUP else ONE_EDGE)
        elif events & EPOLLERR:
            # Paused, or at its end: a reset must be detected nevertheless.
            getsockopt(leg.fd, SOL_SOCKET, SO_ERROR, &error, &length)
            if error:
                self._end(index, session, ERROR_CLIENT + side, error, True)

    # --- events -------------------------------------------------------------------------------------------------------

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
        elif side == 0:
            self._early_client_event(index, session, events)
        elif session.state == DIALING:
            with gil:
                self._attempt_event(index, session, side - 1, events)
        elif session.state == SECURING_ORIGIN and side == session.origin_side:
            if not events & EPOLLOUT or session.legs[ORIGIN].backlog == NULL or self._send_held(index, session, ORIGIN):
                with gil:
                    self._secure_origin(index, session)

    cdef void _early_client_event(self, uint32_t index, Session *session, uint32_t events) noexcept nogil:
        """Handle an event of a client whose session has no origin yet."""
        cdef int error
        if session.state == ENDED:
            return
        if events & (EPOLLERR | EPOLLHUP):
            error = self._client_error(session.legs[CLIENT].fd)
            if error:
                self._lose_client(index, session, error)
                return
        if events & EPOLLOUT and session.legs[CLIENT].backlog != NULL and not self._send_held(index, session, CLIENT):
            return
        if session.state == HEADER:
            with gil:
                self._peek(index, session, events, False)
        elif session.state == SECURING:
            with gil:
                self._secure_client(index, session)

    cdef void _lose_client(self, uint32_t index, Session *session, int error) noexcept nogil:
        """End a session without an origin whose client is gone, and abort what was begun for it."""
        if session.state != SECURING:
            self._end(index, session, ERROR_CLIENT, error, True)
            return
        with gil:
            self._tell_insecure(index, session, CLIENT, "the client left")
        self._end(index, session, HANDSHAKE_FAILED, 0, True)

    # === Public API ===

    def take_bytes(self):
        """Return (app, bytes from clients, bytes from origins) of the apps with traffic since the last call."""
        cdef uint32_t app
        cdef uint64_t *counters
        cdef list taken = []
        for app in range(self._app_count):
            counters = self._app_bytes + 2 * app
            if counters[CLIENT] or counters[ORIGIN]:
                taken.append((app, counters[CLIENT], counters[ORIGIN]))
                counters[CLIENT] = counters[ORIGIN] = 0
        return taken
