# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Connect an accepted session to its origin: attempts in order and in parallel, then a TLS handshake if configured."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.errno cimport EMFILE, ENFILE, ENOMEM, EPROTO, ETIMEDOUT
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy
from spectrum.engine.linux cimport *
from spectrum.engine.loop cimport TICK_MS
from spectrum.engine.sessions cimport (
    CLIENT,
    CONNECT_FAILED,
    MAX_ATTEMPTS,
    ORIGIN,
    OVER_BUDGET,
    READING,
    Sessions,
)
from spectrum.engine.slab cimport *
from spectrum.engine.spares cimport Spares
from spectrum.engine.target cimport Target
from spectrum.engine.tls cimport TlsPeer
from spectrum.engine.tls_end cimport (
    TlsEnd,
    agreed_protocol,
    client_end,
    free_end,
    is_distrust,
    origin_facts,
    put,
    reason,
    shake_hands,
)

cdef extern from "<errno.h>" nogil:
    int EKEYREJECTED

cdef enum:
    # RFC 8305 section 5 recommends 250 ms between attempts.
    STAGGER_MS = 250
    # Spare connections to one origin that are begun per tick: 320 a second.
    SPARES_AT_ONCE = 16
    # Spare connections may take this share of the limit of sessions.
    SPARE_SHARE = 4


cdef class Dialer(Sessions):
    """Connects sessions to origins."""

    def __cinit__(self):
        self._preconnected = []

    cdef void _free_dial(self, Session *session) noexcept:
        """Close the attempts that are still open, and free the dial state."""
        cdef int slot
        for slot in range(MAX_ATTEMPTS):
            if session.dial.fds[slot] >= 0:
                self._end_attempt(session.dial, slot)
        Py_DECREF(<object>session.dial.targets)
        Py_DECREF(<object>session.dial.header)
        Py_XDECREF(session.dial.tried)
        free(session.dial)
        session.dial = NULL

    cdef void _dial_next(self, uint32_t index, Session *session) noexcept:
        """Begin attempts until one is in progress; end the session when no target is left."""
        cdef Dial *dial = session.dial
        cdef int slot, number
        cdef Target target
        dial.over_budget = False
        while self._has_target(index, session):
            slot = 0
            while slot < MAX_ATTEMPTS and dial.fds[slot] >= 0:
                slot += 1
            if slot == MAX_ATTEMPTS:
                return
            number = dial.next_target
            target = <Target>PyTuple_GET_ITEM(<object>dial.targets, number)
            if target.retries is not None and not self._is_within_budget(dial, target):
                break
            dial.next_target += 1
            dial.target_of[slot] = number
            if self._open(index, session, slot, target):
                return
            self._failed(index, session, target)
        if not self._is_dialing(dial):
            self._end(index, session, OVER_BUDGET if dial.over_budget else CONNECT_FAILED,
                      dial.last_error or ETIMEDOUT, True)

    cdef bint _is_within_budget(self, Dial *dial, Target target) noexcept:
        """Count a session's first connect, or a further one; return False if the retry budget is exhausted."""
        if dial.tried == NULL:
            target.retries.begin(self.loop.now_ms)
            return True
        dial.over_budget = not target.retries.spend(self.loop.now_ms)
        return not dial.over_budget

    cdef bint _is_dialing(self, Dial *dial) noexcept:
        cdef int slot
        for slot in range(MAX_ATTEMPTS):
            if dial.fds[slot] >= 0:
                return True
        return False

    cdef bint _has_target(self, uint32_t index, Session *session) noexcept:
        """Return whether there is another target, and time to try it; after the last one the handler may add some."""
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
            dial.over_budget = more is None
            return False
        Py_INCREF(more)
        Py_DECREF(<object>dial.targets)
        dial.targets = <PyObject *>more
        dial.next_target = 0
        return True

    cdef uint64_t _attempt_deadline(self, Dial *dial, int number) noexcept:
        """Return the deadline of target `number`: the remaining time is shared with the targets after it."""
        cdef uint64_t left_ms = dial.ends_at_ms - self.loop.now_ms
        cdef int later, after = dial.tries - 1
        for later in range(number + 1, <int>PyTuple_GET_SIZE(<object>dial.targets)):
            if not (<Target>PyTuple_GET_ITEM(<object>dial.targets, later)).staggered:
                after += 1
        return self.loop.now_ms + max(left_ms // (after + 1), <uint64_t>1)

    cdef bint _open(self, uint32_t index, Session *session, int slot, Target target) noexcept:
        """Begin one attempt; return False if it failed immediately."""
        cdef Dial *dial = session.dial
        cdef pollfd ready
        cdef int fd
        self._note_tried(dial, target)
        fd = self._take_spare(target)
        if fd < 0:
            fd = self._origin_socket(session, target)
        if fd < 0:
            dial.last_error = -fd
            return False
        dial.fds[slot] = fd
        dial.deadline_ms[slot] = self._attempt_deadline(dial, dial.target_of[slot])
        self._loads.enter(target.place)
        self._loads.wait(target.place)
        dial.stagger_at_ms = self.loop.now_ms + STAGGER_MS
        # On loopback the TCP handshake is complete now; elsewhere this costs one cheap call.
        ready.fd = fd
        ready.events = POLLOUT
        ready.revents = 0
        if poll(&ready, 1, 0) > 0:
            if ready.revents & (POLLERR | POLLHUP):
                self._close_attempt(dial, slot)
                return False
            if not self._watch_attempt(index, session, slot, READING):
                return False
            self._connected(index, session, slot)
            return True
        if not self._watch_attempt(index, session, slot, READING | EPOLLOUT):
            return False
        self._link_pending(index, session)
        self._watch_for_end(index, session)
        return True

    cdef bint _watch_attempt(self, uint32_t index, Session *session, int slot, uint32_t events) noexcept:
        """Watch an attempt; if epoll refuses the socket, end the attempt and return False."""
        cdef Dial *dial = session.dial
        cdef int error = self.loop.watch(dial.fds[slot], self._token(index, session, 1 + slot), events)
        if error:
            dial.last_error = error
            self._end_attempt(dial, slot)
        return error == 0

    cdef int _origin_socket(self, Session *session, Target target) noexcept:
        """Return a socket that is connecting to the target, or a negative errno."""
        # A PROXY header or a ClientHello follows the handshake.
        cdef bint speaks = target.tls is not None or PyBytes_GET_SIZE(<object>session.dial.header) != 0
        cdef int fd = target.connect_stream(session.client_address, session.address_bytes, session.client_port, speaks)
        if (fd == -EMFILE or fd == -ENFILE) and self._spend_reserve():
            # This session gets a descriptor of the reserve; accepting stops until the reserve is complete again.
            self._stall()
            fd = target.connect_stream(session.client_address, session.address_bytes, session.client_port, speaks)
        return fd

    # --- spare connections --------------------------------------------------------------------------------------------

    cdef int _take_spare(self, Target target) noexcept:
        """Return a spare connection to the target; -1 if there is none."""
        cdef int fd
        if target.spares is None:
            return -1
        fd = target.spares.take(self.loop.now_ms)
        if fd >= 0:
            self.loop.tick_within(TICK_MS * 1000)  # to replace it
        return fd

    cdef bint _tend_spares(self) noexcept:
        """Open, check and close spare connections; return whether to continue soon."""
        cdef uint64_t room = self._max_sessions // SPARE_SHARE
        cdef uint64_t count = 0, now_ms = self.loop.now_ms
        cdef int missing, fd
        cdef bint busy = False
        cdef Target target
        for item in self._preconnected:
            target = <Target>item
            if self._stalled:
                target.spares.close_all()
                continue
            missing = target.spares.look(self._loads._open(target.place), self._loads._workers, now_ms)
            count += target.spares.count()
            missing = <int>min(<uint64_t>min(missing, SPARES_AT_ONCE), room - min(count, room))
            while missing > 0:
                missing -= 1
                fd = target.connect_stream(NULL, 0, 0, False)
                if fd < 0:
                    target.spares.fail(now_ms)
                    break
                target.arm_keepalive(fd)  # a dead one must be detected before it is used
                target.spares.add(fd, now_ms)
                count += 1
            busy = busy or target.spares.is_busy(now_ms)
        return busy

    # --- attempts -----------------------------------------------------------------------------------------------------

    cdef void _close_attempt(self, Dial *dial, int slot) noexcept:
        """Close a failed attempt and keep its errno."""
        cdef int error = 0
        cdef socklen_t length = sizeof(int)
        getsockopt(dial.fds[slot], SOL_SOCKET, SO_ERROR, &error, &length)
        dial.last_error = error or ETIMEDOUT
        self._end_attempt(dial, slot)

    cdef void _end_attempt(self, Dial *dial, int slot) noexcept:
        cdef Target target = <Target>PyTuple_GET_ITEM(<object>dial.targets, dial.target_of[slot])
        if self._loads is not None:  # None while the engine is being collected
            self._loads.leave(target.place)
            self._loads.answer(target.place)
        close(dial.fds[slot])
        dial.fds[slot] = -1

    cdef void _note_tried(self, Dial *dial, Target target) noexcept:
        """Store the origin that the record of a session without a connection names."""
        Py_INCREF(target)
        Py_XDECREF(dial.tried)
        dial.tried = <PyObject *>target

    cdef void _failed(self, uint32_t index, Session *session, Target target) noexcept:
        self._note_tried(session.dial, target)
        try:
            self._handler.attempt_failed(
                <uint64_t>session.generation << 32 | index, session.listener, target, session.dial.last_error)
        except Exception as exc:
            self._handler.broken(exc)

    cdef void _check_dial(self, uint32_t index, Session *session) noexcept:
        """Abort attempts that timed out; begin a staggered attempt beside slow ones."""
        cdef Dial *dial = session.dial
        cdef int slot, expired = 0
        cdef Target target
        for slot in range(MAX_ATTEMPTS):
            if dial.fds[slot] >= 0 and self.loop.now_ms >= dial.deadline_ms[slot]:
                target = <Target>PyTuple_GET_ITEM(<object>dial.targets, dial.target_of[slot])
                self._close_attempt(dial, slot)
                self._failed(index, session, target)
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
            self._failed(index, session, target)
            self._dial_next(index, session)
        elif events & EPOLLOUT:
            self._connected(index, session, slot)

    cdef void _connected(self, uint32_t index, Session *session, int slot) noexcept:
        """Use the attempt that connected: close the others, then begin TLS or relay."""
        cdef Dial *dial = session.dial
        cdef Target target = <Target>PyTuple_GET_ITEM(<object>dial.targets, dial.target_of[slot])
        cdef Py_ssize_t header_bytes = PyBytes_GET_SIZE(<object>dial.header)
        cdef bint polled_out = session.pending
        Py_INCREF(target)
        session.target = <PyObject *>target
        session.number = target.place
        self._loads.answer(target.place)
        session.legs[ORIGIN].fd = dial.fds[slot]
        session.origin_side = 1 + slot
        session.legs[ORIGIN].watches_out = polled_out
        session.haste = NOTHING_SENT
        dial.fds[slot] = -1
        if target.tls is not None:
            self._greet_origin(index, session, dial.deadline_ms[slot])
            return
        memcpy(self._scratch, PyBytes_AS_STRING(<object>dial.header), header_bytes)
        self._relay(index, session, header_bytes)

    # --- TLS with an origin -------------------------------------------------------------------------------------------

    cdef void _greet_origin(self, uint32_t index, Session *session, uint64_t deadline_ms) noexcept:
        """Begin the TLS handshake with the connected origin; PROXY header and ClientHello leave together."""
        cdef Dial *dial = session.dial
        cdef Leg *leg = &session.legs[ORIGIN]
        cdef TlsPeer tls = (<Target>session.target).tls
        cdef bytes header = <object>dial.header
        cdef int slot
        for slot in range(MAX_ATTEMPTS):
            if dial.fds[slot] >= 0:
                self._end_attempt(dial, slot)
        session.state = SECURING_ORIGIN
        session.deadline_ms = deadline_ms
        self._undelay(session)
        self._link_pending(index, session)
        self._watch_for_end(index, session)
        try:
            # The origin must speak the protocol (ALPN) that the client negotiated.
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
        """Close an origin whose TLS handshake failed, and try the next one."""
        cdef uint64_t name = <uint64_t>session.generation << 32 | index
        cdef TlsEnd *end = session.legs[ORIGIN].tls
        cdef Target target = <Target>session.target
        why = None
        if error == EPROTO:
            if is_distrust():
                error = EKEYREJECTED
            why = reason(end)
        elif error == ETIMEDOUT:
            why = "no answer in time"
        elif error != ENOMEM:
            error = EPROTO
            why = "the origin left"
        if why is not None:
            try:
                self._handler.insecure(name, ORIGIN, why)
            except Exception as exc:
                self._handler.broken(exc)
        session.dial.last_error = error
        self._leave_origin(session)
        session.state = DIALING
        self._failed(index, session, target)
        self._dial_next(index, session)

    cdef void _leave_origin(self, Session *session) noexcept:
        """Drop the origin of a session."""
        cdef Leg *leg = &session.legs[ORIGIN]
        cdef Target target = <Target>session.target
        close(leg.fd)
        leg.fd = -1
        self._free_backlog(leg)
        if leg.tls != NULL:
            free_end(leg.tls)
            leg.tls = NULL
        self._loads.leave(target.place)
        session.target = NULL
        Py_DECREF(target)

    # --- for other parts ----------------------------------------------------------------------------------------------

    cdef void _relay(self, uint32_t index, Session *session, size_t header_bytes) noexcept:
        pass

    # === Public API ===

    def preconnect(self, list wanted):
        """Keep spare connections to exactly these targets.

        Args:
            wanted: Per target, without duplicates: the target, the number of spare connections, the limit of sessions
                and connections together (0 for no limit), the timeout of a connect (ms). Existing connections are kept
                as far as they are wanted.
        """
        cdef Target target
        kept = {item[0] for item in wanted}
        for item in self._preconnected:
            if item not in kept:
                (<Target>item).close_spares()
        for item, count, most, timeout_ms in wanted:
            target = item
            if target.transparent:
                raise ValueError(
                    f"{target.name} is connected to from the client's address, which is not known in advance"
                )
            if target.spares is None:
                target.spares = Spares(count, most, timeout_ms)
            else:
                target.spares.want(count, most, timeout_ms)
        self._preconnected = [item[0] for item in wanted]
        self.loop.tick_within(1000)
