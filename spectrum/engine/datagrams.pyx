# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The UDP engine: finds the flow of each datagram and forwards datagrams in batches. It has no policy.

It is a part of a `Loop`. A flow is one client address and port on one listener address. The engine calls its handler
once per new flow, in batches (`accepted`), and once at the flow's end (`ended`); datagrams of known flows are forwarded
without Python. The table of flows and their origins are in `flow_keeper.pyx`, which this extends.

Ownership: listening descriptors and the memory file belong to the caller. A flow's own socket, or the channel that it
shares with others, belongs to the engine. Sockets are edge-triggered and read until a batch comes back short.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.counters cimport grow_counters
from spectrum.engine.flow_keeper cimport *
from spectrum.engine.flows cimport *
from spectrum.engine.fragmentable cimport Fragmentable
from spectrum.engine.held cimport Held, HeldQueue, drop_first, hold
from spectrum.engine.headers cimport MALFORMED_HEADER, NO_HEADER, PROXY_HEADER, SIMPLE_HEADER, read_header
from spectrum.engine.linux cimport *
from spectrum.engine.lookout cimport FLOW_IN_USE, FLOW_OPENING, FLOW_SHAKEN, Packet
from spectrum.engine.loop cimport GENERATION_MASK, GENERATION_SHIFT, LISTENER_TOKEN, SIDE_SHIFT
from spectrum.engine.progress cimport add_name
from spectrum.engine.strangers cimport PASSED_ONE_IN
from spectrum.engine.sockets cimport (
    MAPPED,
    clock_ns,
    fill_address,
    is_ipv4,
    map_address,
    open_door,
    set_discovery,
    set_int,
    unmapped,
)
from spectrum.engine.target cimport Target, count_moved

cdef enum:
    ALONE = BATCH + 1
    # A datagram is at most 65,535 bytes less its headers, so nothing is ever truncated. What stands before it has room
    # for a header. 17 cache lines more keep the slots' first lines in different sets of the cache.
    HEADROOM = MAX_HEADER_BYTES
    SLOT_BYTES = 65536 + 17 * 64
    # Batches read from one socket before the other sockets are served.
    TURNS = 4
    CONTROL_BYTES = 128
    # Shorter GSO packets cost more than they save: docs/decisions/004-datagrams.md.
    MIN_TRAIN = 16
    MAX_TRAIN_BYTES = 65000
    SIMPLE_BYTES = 38
    SIMPLE_MAGIC_0 = 0x56
    SIMPLE_MAGIC_1 = 0xEC
    # Limit of ICMP answers to datagrams that are too big, per second, for all clients together.
    MAX_TOO_BIG_REPORTS = 100
    # IP and UDP headers, and the MTU of every IPv6 link (RFC 8200, section 5).
    IPV4_BYTES = 28
    IPV6_BYTES = 48
    IPV6_MIN_MTU = 1280
    # Ethernet delivers nothing longer unfragmented. Longer datagrams are checked for DF.
    LINK_BYTES = 1500
    # Limit of sockets for replies from intercepted addresses and ports; beyond it they are opened and closed in turn.
    DOORS = 256
    # linux/sock_diag.h: last of SK_MEMINFO_VARS, the drops because the queue was full.
    SK_MEMINFO_DROPS = 8
    # To begin a flow takes ten times as long as to forward a datagram. Those that there are wait for so many in a round
    # at most, and for few while a queue stands, in which their own datagrams wait. Other new clients wait for a later
    # round; known ones, for whom there is more room, as the datagrams of forged addresses are seldom theirs, do not.
    FLOWS_AT_ONCE = 32
    FEW_FLOWS = 2
    # Those that waited for longer came in an overload, not in a burst (CoDel, RFC 8289, tells them apart likewise).
    PATIENCE_MS = 250
    # Then the next round is to begin, if nothing comes before.
    HELD_US = 100
    # From so many waiting datagrams on the kernel lets only some of strangers' datagrams pass to a listener, where more
    # come than `SHARE` times those that may be begun: in an eighth of the time of the worker. It is looked at that
    # often, and all pass again after so many quiet looks.
    MANY_HELD = 2048
    MANY_HELD_BYTES = 2097152
    SHARE = 8
    SHED_LOOK_NS = 20000000
    SHED_HELD_US = 1000
    CALM_LOOKS = 10
    # From so many a second it also drops what rules of detection block; it is read again after so many quiet looks.
    MANY_REFUSED_PER_S = 2000
    STILL_LOOKS = 50
    MIN_BEGUN_PER_S = 500
    MAX_ONE_IN = 65536

cdef uint64_t NS_PER_S = 1000000000
# Mixed into the keys of rates, by unit and direction; odd multiples of one number.
cdef uint64_t[2 * APP_WORDS] WAYS
cdef int _way
for _way in range(2 * APP_WORDS):
    WAYS[_way] = <uint64_t>0x9ddfea08eb382d69 * <uint64_t>(2 * _way + 1)

# Reasons of drops; indexes into the counts of `take_counts`.
cpdef enum Drop:
    BAD_REPLY = 0   # a reply without its flow's Simple Proxy header
    TOO_BIG = 1     # it would need fragments, and may not be fragmented
    TO_ORIGIN = 2   # the kernel refused to send it to the origin
    TO_CLIENT = 3   # the kernel refused to send it to the client
    NO_FLOW = 4     # its flow was refused, or ended before it could be sent
    QUEUE_FULL = 5  # the listener's queue was full: the worker was too slow
    BAD_HEADER = 6  # the header of the proxy in front is missing or malformed
    UNTRUSTED = 7   # its header came from an address that is not trusted
    RATE = 8        # beyond the rate of its app or its client
    FRAGMENTED = 9  # it came in fragments, which its app does not accept
    OVERLOAD = 10   # it would begin a flow while the queue is overloaded
    ATTACK = 11     # a rule against an attack matches it

cdef int64_t _path_bytes(int fd) noexcept nogil:
    """Return the longest payload on the path of a connected socket: its MTU less the IP and UDP headers."""
    cdef int mtu = 0
    cdef socklen_t length = sizeof(int)
    if is_ipv4(fd):
        getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length)
        return mtu - IPV4_BYTES
    getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length)
    return mtu - IPV6_BYTES

cdef bint _look_at_memory(int fd, uint32_t *memory) noexcept nogil:
    """Read SK_MEMINFO_DROPS + 1 numbers about a socket's queue."""
    cdef socklen_t length = (SK_MEMINFO_DROPS + 1) * sizeof(uint32_t)
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) == 0

cdef struct Door:
    # A socket bound to an address and port for which TPROXY intercepts datagrams: replies are sent from it.
    int fd
    uint16_t port
    uint8_t address[16]

cdef class Datagrams(FlowKeeper):
    """The UDP engine of one worker; its arguments are those of `FlowKeeper`."""

    cdef char *_buffers
    cdef iovec _in[BATCH]
    cdef mmsghdr _from_client[BATCH]
    cdef mmsghdr _from_origin[BATCH]
    cdef sockaddr_in6 _names[BATCH]
    cdef char _controls[BATCH][CONTROL_BYTES]
    # Datagrams queued for the origin: a batch and one more, for a header of its own; then two places for a datagram
    # that is sent alone.
    cdef mmsghdr _to_origin[ALONE + 2]
    cdef iovec _out[ALONE + 2]
    cdef uint32_t _out_flow[ALONE + 2]
    cdef uint8_t _out_slot[ALONE + 2]
    cdef int _out_count, _out_fd
    # Replies queued for clients of one listener, and the number of their slots.
    cdef mmsghdr _to_client[BATCH]
    cdef iovec _replies[BATCH]
    cdef uint32_t _reply_flow[BATCH]
    cdef int _reply_count, _reply_slots
    cdef uint32_t _reply_listener
    cdef uint32_t _slot_next[BATCH]
    # The payloads of datagrams from clients, after the header of the proxy in front.
    cdef char *_payload[BATCH]
    cdef size_t _payload_bytes[BATCH]
    cdef bint _came_in_fragments[BATCH]
    # The flows of the batch at hand.
    cdef uint32_t _touched[BATCH]
    cdef int _touched_count
    # So many may be begun in this round still, and of known clients; whether a queue stands.
    cdef int _room, _known_room
    cdef bint _is_behind
    # Listeners whose strangers are filtered by the kernel; whether it refused to. When, and in which window, they were
    # looked at last; when the next flows may be begun; how long it takes to begin one, and how many were begun.
    cdef uint32_t _shed_count, _window, _begun, _refused_count
    cdef uint64_t _window_ns, _next_ns, _begin_ns
    cdef bint _cannot_shed, _tells_strangers
    # The datagram at hand has to wait, or has waited.
    cdef bint _waits, _has_waited
    cdef HeldQueue _held
    cdef Fragmentable _fragmentable
    cdef Door[DOORS] _doors

    def __cinit__(self):
        cdef int slot
        self._fragmentable = Fragmentable()
        self._buffers = <char *>calloc(BATCH, SLOT_BYTES)
        if self._buffers == NULL:
            raise MemoryError()
        for slot in range(BATCH):
            self._in[slot].iov_base = self._buffers + slot * SLOT_BYTES + HEADROOM
            self._in[slot].iov_len = 65536
            self._from_origin[slot].msg_hdr.msg_iov = &self._in[slot]
            self._from_origin[slot].msg_hdr.msg_iovlen = 1
            self._from_client[slot].msg_hdr.msg_iov = &self._in[slot]
            self._from_client[slot].msg_hdr.msg_iovlen = 1
            self._from_client[slot].msg_hdr.msg_name = &self._names[slot]
            self._to_client[slot].msg_hdr.msg_iov = &self._replies[slot]
            self._to_client[slot].msg_hdr.msg_iovlen = 1
            self._to_client[slot].msg_hdr.msg_name = &self._names[slot]
        for slot in range(ALONE + 2):
            self._to_origin[slot].msg_hdr.msg_iov = &self._out[slot]
            self._to_origin[slot].msg_hdr.msg_iovlen = 1
        self._out_fd = -1
        self._room = self._known_room = FLOWS_AT_ONCE
        self._begin_ns, self._window = 50000, 1
        for slot in range(DOORS):
            self._doors[slot].fd = -1

    def __dealloc__(self):
        cdef int slot
        for slot in range(DOORS):
            if self._doors[slot].fd >= 0:
                close(self._doors[slot].fd)
        while self._held.first != NULL:
            drop_first(&self._held)
        free(self._buffers)

    # --- from clients ---------------------------------------------------------------------------------------------

    cdef void _read_listener(self, uint32_t number) noexcept nogil:
        cdef Listener *listener = &self._listeners[number]
        cdef int count, slot, used = BATCH
        cdef int _
        if not listener.in_use:
            return
        listener.was_read = True
        self._flush_replies()
        for _ in range(TURNS):
            for slot in range(used):
                self._from_client[slot].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
                self._from_client[slot].msg_hdr.msg_control = self._controls[slot]
                self._from_client[slot].msg_hdr.msg_controllen = CONTROL_BYTES
            count = recvmmsg(listener.fd, self._from_client, BATCH, MSG_DONTWAIT, NULL)
            if count < 0:
                if errno == EINTR:
                    used = 0
                    continue
                count = 0
            if count:
                self._sort(number, listener, count)
            if count < BATCH or not listener.in_use:
                if listener.weight != listener.one_in or listener.thins != listener.blocks:
                    # Those from before are out of the queue.
                    listener.weight, listener.thins = listener.one_in, listener.blocks
                    listener.mixed = self._window
                return
            used = count
        self._is_behind = True
        self.loop.rewatch(listener.fd, LISTENER_TOKEN | self.part_token | number, EPOLLIN | EPOLLET)

    cdef void _sort(self, uint32_t number, Listener *listener, int count) noexcept nogil:
        """Assign the datagrams of a batch to flows, ask Python about new flows, then send flow by flow."""
        cdef int slot
        cdef Key key
        cdef uint64_t flags = self._flags(listener.app)
        key.listener = number
        for slot in range(count):
            self._payload[slot] = <char *>self._in[slot].iov_base
            self._payload_bytes[slot] = self._from_client[slot].msg_len
            map_address(&self._names[slot], key.client)
            key.client_port = self._names[slot].sin6_port
            key.edge_port = listener.port
            memcpy(key.edge, listener.address, 16)
            self._came_in_fragments[slot] = False
            if self._from_client[slot].msg_hdr.msg_controllen:
                self._read_controls(slot, &key)
            if self._came_in_fragments[slot] and flags & NO_FRAGMENTS:
                self._drop(listener.app, FRAGMENTED)
            else:
                self._give(slot, &key, listener)
        self._send_batch()

    cdef void _give(self, int slot, Key *key, Listener *listener) noexcept nogil:
        """Assign a datagram to its flow, or let it wait."""
        cdef uint32_t index
        cdef Flow *flow
        self._waits = False
        if self._flags(listener.app) & TOLD:
            flow = self._flow_of_header(slot, listener, key, &index)
        else:
            flow = self._flow_of(key, listener, slot, &index)
        if flow == NULL:
            if self._waits and not hold(&self._held, key, self._names[slot].sin6_scope_id, self.loop.now_ms,
                                        self._payload[slot], self._payload_bytes[slot]):
                self._drop(listener.app, OVERLOAD)
            return
        self._slot_next[slot] = NO_SLOT
        if flow.chain_head == NO_SLOT:
            flow.chain_head = <uint8_t>slot
            self._touched[self._touched_count] = index
            self._touched_count += 1
        else:
            self._slot_next[flow.chain_tail] = slot
        flow.chain_tail = <uint8_t>slot

    cdef void _send_batch(self) noexcept nogil:
        cdef int place
        cdef uint64_t began_ns, took_ns
        if self._accepted_head:
            began_ns = clock_ns()
            with gil:
                self._decide()
            took_ns = clock_ns() - began_ns
            self._begin_ns += (took_ns // (self._begun or 1) >> 3) - (self._begin_ns >> 3)
            self._begun = 0
            self._next_ns = began_ns + SHARE * took_ns
        for place in range(self._touched_count):
            self._send_chain(self._touched[place])
        self._touched_count = 0
        self._flush_to_origin()

    cdef void _begin_held(self) noexcept nogil:
        """Begin flows of datagrams that waited, as many as a round may."""
        cdef Held *held
        cdef Listener *listener
        cdef int slot = 0
        self._has_waited = True
        while self._held.first != NULL and self._room > 0 and slot < BATCH:
            held = self._held.first
            listener = &self._listeners[held.key.listener]
            if not listener.in_use:
                self._drop(listener.app, NO_FLOW)
            elif self.loop.now_ms - held.came_ms > PATIENCE_MS:
                self._drop(listener.app, OVERLOAD)
            else:
                self._names[slot].sin6_scope_id = held.scope
                self._payload[slot] = <char *>self._in[slot].iov_base
                self._payload_bytes[slot] = held.bytes
                memcpy(self._payload[slot], held + 1, held.bytes)
                self._give(slot, &held.key, listener)
                slot += 1
            drop_first(&self._held)
        self._has_waited = False
        self._send_batch()

    cdef bint _must_wait(self, const Key *key) noexcept nogil:
        """Return whether a client's flow is begun later, so that those that there are do not wait for it."""
        if self._room > 0 and (self._has_waited or self._held.first == NULL):
            self._room -= 1
            return False
        if self._known_room > 0 and (
                (self._lookout.on and self._lookout.knows(key.client, self.loop.now_ns))
                or (self._tells_strangers and self._strangers.has(key.client))):
            self._known_room -= 1
            return False
        return True

    # --- too many strangers ---------------------------------------------------------------------------------------

    cdef void _look_at_strangers(self) noexcept nogil:
        """Have the kernel drop some datagrams of strangers while far more come than flows can be begun."""
        cdef uint64_t elapsed_ns = self.loop.now_ns - self._window_ns
        cdef bint are_many = self._held.count >= MANY_HELD or self._held.bytes >= MANY_HELD_BYTES
        cdef bint changed
        cdef uint32_t number
        if elapsed_ns < (SHED_LOOK_NS // 8 if are_many and not self._shed_count else SHED_LOOK_NS):
            return
        if (are_many or self._shed_count or self._refused_count) and not self._cannot_shed:
            self._strangers.expire(self.loop.now_ns)
            changed = self._strangers.changed
            self._tells_strangers = self._strangers.is_selective()
            for number in range(self._listener_count):
                self._shed(&self._listeners[number], elapsed_ns, are_many, changed)
        self._refused_count = 0
        self._window += 1
        self._window_ns = self.loop.now_ns

    cdef void _shed(self, Listener *listener, uint64_t elapsed_ns, bint are_many, bint changed) noexcept nogil:
        """Decide what the kernel drops of what is sent to a listener, by what came in the last window."""
        cdef uint64_t offered_per_s = 0, refused_per_s = 0
        cdef uint64_t most_per_s = max(<uint64_t>MIN_BEGUN_PER_S, NS_PER_S // (SHARE * self._begin_ns))
        cdef uint32_t one_in = listener.one_in, wanted = 2
        cdef bint blocks
        if not listener.in_use or self._flags(listener.app) & TOLD or self._draining:
            self._let_pass(listener, 0, False)
            return
        if listener.window != self._window:
            # None is left in the queue.
            listener.weight, listener.thins = listener.one_in, listener.blocks
        elif listener.weight != listener.one_in or listener.thins != listener.blocks or listener.mixed == self._window:
            return
        else:
            offered_per_s = <uint64_t>listener.strangers * (listener.weight or 1) * NS_PER_S // elapsed_ns
            refused_per_s = <uint64_t>listener.refused * (listener.weight or 1) * (
                PASSED_ONE_IN if listener.thins else 1) * NS_PER_S // elapsed_ns
        listener.calm = 0 if offered_per_s > SHARE * most_per_s else listener.calm + 1
        listener.still = 0 if refused_per_s > MANY_REFUSED_PER_S else listener.still + 1
        if listener.calm == 0 and (are_many or one_in):
            while wanted < MAX_ONE_IN and wanted * most_per_s < offered_per_s:
                wanted *= 2
            if wanted > one_in or 4 * wanted <= one_in:
                one_in = wanted
        elif listener.calm >= CALM_LOOKS:
            one_in = 0
        blocks = self._strangers.has_blocks and (
            listener.still == 0 or (listener.blocks and listener.still < STILL_LOOKS))
        if one_in != listener.one_in or blocks != listener.blocks or changed:
            self._let_pass(listener, one_in, blocks)

    cdef void _let_pass(self, Listener *listener, uint32_t one_in, bint blocks) noexcept nogil:
        """Let one in so many datagrams of strangers pass to a listener, all for 0, and few that rules block."""
        cdef int error = 0
        cdef bint is_on = one_in != 0 or blocks, was_on = listener.one_in != 0 or listener.blocks != 0
        if not is_on and not was_on:
            return
        self._count_kernel_drops(listener)
        self._shed_count -= was_on
        if is_on:
            error = self._strangers.attach(listener.fd, one_in, blocks)
        if error or not is_on:
            self._strangers.detach(listener.fd)
            one_in, blocks, is_on = 0, False, False
        listener.one_in, listener.blocks = one_in, blocks
        self._shed_count += is_on
        if error and not self._cannot_shed:
            self._cannot_shed = True
            with gil:
                self._handler.broken(OSError(error, "the kernel cannot filter the datagrams of strangers"))

    cdef void _note_stranger(self, Listener *listener, bint refused) noexcept nogil:
        """Count a datagram that begins a flow, or would, or that a rule refuses."""
        if listener.window != self._window:
            listener.window, listener.strangers, listener.refused = self._window, 0, 0
        listener.strangers += not refused
        listener.refused += refused
        self._refused_count += refused

    cdef Flow *_flow_of(self, const Key *key, Listener *listener, int slot, uint32_t *index) noexcept nogil:
        """Return the flow for `key`, a new one if there is none; NULL if it has to wait, or is refused and counted."""
        cdef Flow *flow = find_flow(&self._table, key, index)
        if self._lookout.on and self._is_refused(key, flow, listener, slot):
            self._drop(listener.app, ATTACK)
            self._note_stranger(listener, True)
            return NULL
        if flow == NULL:
            if not self._has_waited:
                self._note_stranger(listener, False)
            if self._must_wait(key):
                self._waits = True
                return NULL
            self._begun += 1
            flow = NULL if self._draining else self._create(key, listener, index)
            if flow == NULL:
                self._drop(listener.app, NO_FLOW)
            elif listener.family == AF_INET6:
                flow.scope = self._names[slot].sin6_scope_id
        return flow

    cdef bint _is_refused(self, const Key *key, Flow *flow, Listener *listener, int slot) noexcept nogil:
        """Sample a datagram for detection if it is due; return whether a rule of detection refuses it."""
        cdef Packet packet
        cdef uint32_t app = listener.app
        cdef bint is_due, in_use
        if self._flags(app) & TOLD:  # the header is separated from the payload later
            return False
        in_use = flow != NULL and flow.state == FLOW_LIVE and flow.standing & CONFIRMED
        is_due = not self._has_waited and self._lookout.is_due(in_use)
        if not is_due and (in_use or self._lookout.rule_count == 0):
            return False
        memset(&packet, 0, sizeof(Packet))
        packet.source, packet.destination = <const uint8_t *>key.client, <const uint8_t *>key.edge
        packet.from_port, packet.to_port = ntohs(key.client_port), ntohs(key.edge_port)
        packet.protocol = IPPROTO_UDP
        packet.flow = FLOW_IN_USE if in_use else FLOW_SHAKEN if flow != NULL and flow.replied_ns else FLOW_OPENING
        packet.payload, packet.payload_bytes = self._payload[slot], self._payload_bytes[slot]
        packet.group = self._apps[APP_WORDS * app] if app < self._apps_room else 0
        if (listener.weight or listener.thins) and not self._strangers.has(key.client):
            packet.stands_for = listener.weight
            packet.thinned = listener.thins
        return self._lookout.meets(&packet, self.loop.now_ns, is_due, True)

    cdef uint64_t _flags(self, uint32_t app) noexcept nogil:
        return self._apps[APP_WORDS * app + 1] if app < self._apps_room else 0

    cdef Flow *_flow_of_header(self, int slot, Listener *listener, Key *key, uint32_t *index) noexcept nogil:
        """Remove a datagram's header, and return the flow of the client that it names.

        A datagram without one belongs to the latest header of the same address and port. NULL if the datagram is not
        forwarded: it is dropped and counted, or is a header alone.
        """
        cdef Key peer = key[0]
        cdef uint8_t dialect
        cdef Flow *flow
        cdef int length = read_header(
            <const uint8_t *>self._payload[slot], self._payload_bytes[slot], key, &dialect)
        if length > 0:
            flow = self._flow_of(key, listener, slot, index)
        else:
            flow = find_peer(&self._table, peer.client, peer.client_port, key.listener, index)
            if length == MALFORMED_HEADER or flow == NULL:
                self._drop(listener.app, BAD_HEADER)
                return NULL
            return flow
        if flow == NULL:
            key[0] = peer  # as it came, in case it waits
            return NULL
        if flow.dialect == NO_HEADER or flow.peer_port != peer.client_port or memcmp(flow.peer, peer.client, 16) != 0:
            if flow.state == FLOW_NEW and flow.dialect != NO_HEADER:
                self._drop(listener.app, UNTRUSTED)  # it is not decided yet whether the first one is trusted
                return NULL
            if flow.state != FLOW_NEW and not self._trusts(listener, key.listener, peer.client):
                return NULL
            if flow.dialect == PROXY_HEADER:
                unindex_peer(&self._table, index[0])
            memcpy(flow.peer, peer.client, 16)
            memcpy(flow.local, peer.edge, 16)
            flow.peer_port = peer.client_port
            flow.local_port = peer.edge_port
            flow.dialect = dialect
            if dialect == PROXY_HEADER:
                index_peer(&self._table, index[0])
        elif dialect == PROXY_HEADER and self._table.peer_buckets[
                peer_bucket_of(&self._table, flow.peer, flow.peer_port)] != index[0] + 1:
            # Datagrams without a header belong to the client of the latest header.
            unindex_peer(&self._table, index[0])
            index_peer(&self._table, index[0])
        self._payload[slot] += length
        self._payload_bytes[slot] -= length
        return NULL if dialect == PROXY_HEADER and self._payload_bytes[slot] == 0 else flow

    cdef bint _trusts(self, Listener *listener, uint32_t number, const uint8_t *peer) noexcept nogil:
        """Return whether a peer may name a client that another peer has named before; count a refusal."""
        cdef bint trusted = False
        with gil:
            try:
                trusted = self._handler.trusts(number, unmapped(peer))
            except Exception as exc:
                self._handler.broken(exc)
        if not trusted:
            self._drop(listener.app, UNTRUSTED)
        return trusted

    cdef void _read_controls(self, int slot, Key *key) noexcept nogil:
        """Read control messages: destination address, intercepted port, and fragments (ip(7), ipv6(7))."""
        cdef msghdr *message = &self._from_client[slot].msg_hdr
        cdef cmsghdr *control = CMSG_FIRSTHDR(message)
        while control != NULL:
            if control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == IPV6_PKTINFO:
                memcpy(key.edge, (<in6_pktinfo *>CMSG_DATA(control)).ipi6_addr.s6_addr, 16)
            elif control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_PKTINFO:
                memcpy(key.edge, MAPPED, 12)
                memcpy(key.edge + 12, &(<in_pktinfo *>CMSG_DATA(control)).ipi_addr, 4)
            elif ((control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == IPV6_ORIGDSTADDR)
                    or (control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_ORIGDSTADDR)):
                map_address(<sockaddr_in6 *>CMSG_DATA(control), key.edge)
                key.edge_port = (<sockaddr_in6 *>CMSG_DATA(control)).sin6_port
            elif ((control.cmsg_level == IPPROTO_IPV6 and control.cmsg_type == IPV6_RECVFRAGSIZE)
                    or (control.cmsg_level == IPPROTO_IP and control.cmsg_type == IP_RECVFRAGSIZE)):
                self._came_in_fragments[slot] = True  # the kernel reports it for fragmented datagrams only
            control = CMSG_NXTHDR(message, control)

    cdef void _send_chain(self, uint32_t index) noexcept nogil:
        """Queue the slots of a flow for its origin."""
        cdef Flow *flow = &self._table.flows[index]
        cdef uint32_t slot = flow.chain_head, following
        cdef uint64_t *counts = self._counts + COUNTS * flow.app
        cdef size_t size
        flow.chain_head = NO_SLOT
        if flow.state == FLOW_LIVE:
            if flow.replied_ns and not flow.standing & CONFIRMED:
                self._confirm(index, flow)
            else:
                self._touch(index, flow)
                if flow.plane == UNDECIDED and flow.standing & CONFIRMED:
                    self._offer(index, flow)
            if not flow.waiting:
                flow.waiting = True
                self._loads.wait(flow.number)
        while slot != NO_SLOT:
            following = self._slot_next[slot]
            size = self._payload_bytes[slot]
            counts[CLIENT] += size
            counts[2 + CLIENT] += 1
            self.loop.round_bytes += size
            if flow.state != FLOW_LIVE:
                self._drop(flow.app, NO_FLOW)
            elif not self._keeps_rates(flow, CLIENT, size):
                self._drop(flow.app, RATE)
            else:
                flow.bytes[CLIENT] += size
                flow.datagrams[CLIENT] += 1
                count_moved(flow.target, CLIENT, size)
                if flow.fd != self._out_fd or self._out_count >= BATCH:
                    self._flush_to_origin()
                self._out_fd = flow.fd
                self._queue(index, flow, <uint8_t>slot)
            slot = following

    cdef bint _keeps_rates(self, Flow *flow, int side, size_t size) noexcept nogil:
        """Charge a datagram to the rates of its app and its client; return False if it exceeds one."""
        cdef uint64_t *app = self._apps + APP_WORDS * flow.app
        cdef uint64_t keys[6]
        cdef uint64_t costs[6]
        cdef uint64_t now_ns = self.loop.now_ns
        cdef int count = 0, i
        if flow.app >= self._apps_room:
            return True
        for i in range(BYTES, APP_WORDS if side == CLIENT else DATAGRAMS):
            if app[i] == 0:
                continue
            keys[count] = self._rate_key(flow, (i - BYTES) % 3) ^ WAYS[2 * i + side]
            costs[count] = (NS_PER_S if i >= DATAGRAMS else size * NS_PER_S) // app[i]
            if not self._rates.afford(keys[count], costs[count], now_ns):
                return False
            count += 1
        for i in range(count):
            self._rates.pay(keys[i], costs[i], now_ns)
        return True

    cdef uint64_t _rate_key(self, Flow *flow, int scope) noexcept nogil:
        """Return the key of a rate: of a flow's app, its client, or the client's prefix."""
        cdef uint64_t group = self._group(flow)
        cdef bint mapped = memcmp(flow.key.client, MAPPED, 12) == 0
        cdef const uint8_t *client = flow.key.client + (12 if mapped else 0)
        if scope == 0:
            return group
        if scope == 1:
            return self._census.client_key(group, client, 4 if mapped else 16)
        return self._census.prefix_key(group, client, 4 if mapped else 16)

    cdef void _queue(self, uint32_t index, Flow *flow, uint8_t slot) noexcept nogil:
        """Queue a datagram for the origin, with a header if one is due."""
        cdef char *data = self._payload[slot]
        cdef size_t size = self._payload_bytes[slot]
        if flow.header_due and flow.mode == STANDALONE:
            flow.header_due = False
            self._put(index, NO_SLOT, <char *>flow.header, flow.header_bytes)
        elif flow.header_due:
            # Stays due if every datagram has a header.
            flow.header_due = flow.mode != FIRST
            memcpy(data - flow.header_bytes, flow.header, flow.header_bytes)
            data -= flow.header_bytes
            size += flow.header_bytes
        self._put(index, slot, data, size)

    cdef void _put(self, uint32_t index, uint8_t slot, char *data, size_t size) noexcept nogil:
        cdef int place = self._out_count
        self._out[place].iov_base = data
        self._out[place].iov_len = size
        self._out_flow[place] = index
        self._out_slot[place] = slot
        self._out_count = place + 1

    cdef void _flush_to_origin(self) noexcept nogil:
        """Send the queued datagrams of one socket towards an origin."""
        cdef int done = 0, count = self._out_count, sent
        while done < count:
            sent = self._send_train(self._out_fd, self._to_origin + done, count - done)
            if sent == 0:
                sent = sendmmsg(self._out_fd, self._to_origin + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent > 0:
                done += sent
                continue
            if errno == EINTR:
                continue
            if errno == EAGAIN or errno == ENOBUFS or errno == ENOMEM:
                while done < count:
                    self._drop(self._table.flows[self._out_flow[done]].app, TO_ORIGIN)
                    done += 1
                break
            if not self._send_again(done, errno):
                # The socket was closed: flows send the others on their new sockets.
                done += 1
                while done < count:
                    self._send_alone(done)
                    done += 1
                break
            done += 1
        self._out_count = 0
        self._out_fd = -1

    cdef int _send_train(self, int fd, mmsghdr *messages, int count) noexcept nogil:
        """Send the first datagrams, as long as they have one length and destination, as a GSO packet (UDP_SEGMENT).

        The kernel passes it through its layers once (linux/udp.h; Documentation/networking/segmentation-offloads.rst).
        Returns how many were sent; 0 if the train is too short to pay, or not possible: then they are sent one by one;
        -1 for an error (errno), which an earlier datagram may have caused.
        """
        cdef iovec *parts = messages[0].msg_hdr.msg_iov
        cdef size_t size = parts[0].iov_len, total = size
        cdef char control[2 * CONTROL_BYTES]
        cdef msghdr train
        cdef cmsghdr *header
        cdef int length = 1
        while length < count and parts[length].iov_len == size and total + size <= MAX_TRAIN_BYTES:
            total += size
            length += 1
        if length < MIN_TRAIN or size == 0:
            return 0
        train = messages[0].msg_hdr
        memset(control, 0, sizeof(control))
        if train.msg_controllen:
            memcpy(control, train.msg_control, train.msg_controllen)
        header = <cmsghdr *>(control + train.msg_controllen)
        header.cmsg_level = IPPROTO_UDP
        header.cmsg_type = UDP_SEGMENT
        header.cmsg_len = CMSG_LEN(sizeof(uint16_t))
        (<uint16_t *>CMSG_DATA(header))[0] = <uint16_t>size
        train.msg_iovlen = length
        train.msg_control = control
        train.msg_controllen += CMSG_SPACE(sizeof(uint16_t))
        if sendmsg(fd, &train, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0:
            return length
        # EINVAL: beyond the path MTU; EIO: a device without checksum offload (net/ipv4/udp.c, udp_send_skb).
        return 0 if errno == EINVAL or errno == EIO or errno == EMSGSIZE else -1

    cdef bint _send_again(self, int place, int error) noexcept nogil:
        """Send a refused datagram again: the error may be that of an earlier one (an ICMP message).

        Returns False if the socket was replaced by one to another origin, or the flow ended.
        """
        cdef Flow *flow = &self._table.flows[self._out_flow[place]]
        cdef PyObject *target = flow.target
        if error != EMSGSIZE:
            self._origin_error(self._out_flow[place], error)
            if flow.state != FLOW_LIVE or flow.target != target:
                self._send_alone(place)
                return False
        if sendmmsg(self._out_fd, self._to_origin + place, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1:
            self._refused(place, errno)
        return True

    cdef void _send_alone(self, int place) noexcept nogil:
        """Send one queued datagram on its flow's present socket, rebuilt because a header may be due again."""
        cdef uint32_t index = self._out_flow[place]
        cdef Flow *flow = &self._table.flows[index]
        cdef uint8_t slot = self._out_slot[place]
        cdef int count
        if slot == NO_SLOT:
            return
        if flow.state != FLOW_LIVE:
            self._drop(flow.app, NO_FLOW)
            return
        self._out_count = ALONE
        self._queue(index, flow, slot)
        count = self._out_count - ALONE
        if sendmmsg(flow.fd, self._to_origin + ALONE, count, MSG_DONTWAIT | MSG_NOSIGNAL) != count:
            self._refused(self._out_count - 1, errno)

    cdef void _refused(self, int place, int error) noexcept nogil:
        """Handle a datagram beyond the path MTU to the origin: fragment it, or count it and tell its sender by ICMP."""
        cdef uint32_t index = self._out_flow[place]
        cdef Flow *flow = &self._table.flows[index]
        cdef uint8_t slot = self._out_slot[place]
        if error == EMSGSIZE and slot != NO_SLOT and self._may_fragment(flow, slot):
            error = self._send_fragmented(flow.fd, place)
            if error == 0:
                return
        if slot == NO_SLOT or self._out[place].iov_base != self._payload[slot]:
            flow.header_due = True  # it had the header, or was the header
        if slot == NO_SLOT:
            return
        self._drop(flow.app, TOO_BIG if error == EMSGSIZE else TO_ORIGIN)
        if error == EMSGSIZE and self._too_big_reports < MAX_TOO_BIG_REPORTS:
            self._too_big_reports += 1
            with gil:
                self._tell_too_big(flow, slot)

    cdef bint _may_fragment(self, Flow *flow, uint8_t slot) noexcept nogil:
        """Return whether a router would fragment a datagram: it arrived in fragments, or was sent without DF.

        In IPv6 only the sender fragments; but below the minimum MTU no sender makes datagrams shorter, and a header may
        have made one too long.
        """
        if self._flags(flow.app) & NO_FRAGMENTS:
            return False
        if self._came_in_fragments[slot]:
            return True
        if memcmp(flow.peer, MAPPED, 12) != 0:
            return IPV6_BYTES + self._from_client[slot].msg_len <= IPV6_MIN_MTU
        self._fragmentable.watch(IPV4_BYTES + self._fitting(flow, slot))
        return self._fragmentable.allows(flow.peer, flow.peer_port, flow.local, flow.local_port, self.loop.now_ns)

    cdef int _send_fragmented(self, int fd, int place) noexcept nogil:
        """Send a datagram in fragments; return 0 or an errno."""
        cdef int error = 0
        set_discovery(fd, IP_PMTUDISC_DONT)
        if sendmmsg(fd, self._to_origin + place, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1:
            error = errno
        set_discovery(fd, IP_PMTUDISC_DO)
        return error

    cdef uint32_t _fitting(self, Flow *flow, uint8_t slot) noexcept nogil:
        """Return the longest payload for a datagram's sender: without our header, plus that of the proxy in front."""
        cdef uint32_t taken = <uint32_t>(self._payload[slot] - <char *>self._in[slot].iov_base)
        cdef int64_t room = _path_bytes(flow.fd) - flow.header_bytes + taken
        return <uint32_t>room if room > 0 else 0

    cdef void _reached(self, Flow *flow) noexcept:
        if memcmp(flow.peer, MAPPED, 12) == 0:
            self._expect(flow.fd, flow.header_bytes if flow.mode >= EACH else 0, flow.app)

    cdef void _expect(self, int fd, uint32_t header_bytes, uint32_t app) noexcept nogil:
        """Start to watch for datagrams without DF, if some may be too long for the path of a socket."""
        cdef int64_t longest = _path_bytes(fd) + IPV4_BYTES - header_bytes
        if longest < LINK_BYTES and not self._flags(app) & NO_FRAGMENTS:
            self._fragmentable.watch(<uint32_t>longest if longest > 0 else 0)

    cdef object _tell_too_big(self, Flow *flow, uint8_t slot):
        try:
            self._handler.too_big(
                flow.key.listener, unmapped(flow.peer), ntohs(flow.peer_port), unmapped(flow.local),
                ntohs(flow.local_port), self._fitting(flow, slot),
            )
        except Exception as exc:
            self._handler.broken(exc)

    cdef void _drop(self, uint32_t app, int drop) noexcept nogil:
        self._counts[COUNTS * app + 4 + drop] += 1

    # --- from origins ---------------------------------------------------------------------------------------------

    cdef void _read_origin(self, int fd, uint64_t token, uint32_t number, uint32_t index) noexcept nogil:
        """Queue the replies on a flow's socket, or on that of channel `number` - 1, for their clients."""
        cdef int count, room, slot, first
        cdef int _
        cdef uint32_t listener = (self._channels[number - 1].listener if number
                                  else self._table.flows[index].key.listener)
        if self._reply_count and self._reply_listener != listener:
            self._flush_replies()
        self._reply_listener = listener
        for _ in range(TURNS):
            if self._reply_slots == BATCH:
                self._flush_replies()
            first = self._reply_slots
            room = BATCH - first
            count = recvmmsg(fd, self._from_origin + first, room, MSG_DONTWAIT, NULL)
            if count < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self._socket_error(number, index, errno)
                return
            self._reply_slots += count
            for slot in range(first, first + count):
                self._take_reply(slot, number, index)
            if count < room:
                return
        self.loop.rewatch(fd, token, EPOLLIN | EPOLLET)

    cdef void _take_reply(self, int slot, uint32_t number, uint32_t index) noexcept nogil:
        """Check a reply, strip its header, and queue it."""
        cdef char *data = <char *>self._in[slot].iov_base
        cdef size_t size = self._from_origin[slot].msg_len
        cdef Flow *flow
        cdef uint64_t *counts
        if number:
            flow = self._flow_of_reply(number - 1, data, size, &index)
            if flow == NULL:
                return
        else:
            flow = &self._table.flows[index]
        if flow.mode >= SIMPLE:
            if size >= SIMPLE_BYTES and memcmp(data, flow.header, SIMPLE_BYTES) == 0:
                data += SIMPLE_BYTES
                size -= SIMPLE_BYTES
            elif flow.mode == SIMPLE:
                self._drop(flow.app, BAD_REPLY)
                return
        if not self._keeps_rates(flow, ORIGIN, size):
            self._drop(flow.app, RATE)
            return
        counts = self._counts + COUNTS * flow.app
        counts[ORIGIN] += size
        counts[2 + ORIGIN] += 1
        self.loop.round_bytes += size
        flow.bytes[ORIGIN] += size
        flow.datagrams[ORIGIN] += 1
        count_moved(flow.target, ORIGIN, size)
        if flow.replied_ns == 0:
            flow.replied_ns = self.loop.now_ns
            if self.tells_connects:
                add_name(&self._new_connects, <uint64_t>flow.generation << 32 | index)
        self._touch(index, flow)
        if flow.waiting:
            flow.waiting = False
            self._loads.answer(flow.number)
        self._queue_reply(index, flow, data, size)

    cdef Flow *_flow_of_reply(self, uint32_t channel, char *data, size_t size, uint32_t *index) noexcept nogil:
        """Return the flow that a reply's Simple Proxy header names; NULL, and count it, if this channel has none."""
        cdef Channel *shared = &self._channels[channel]
        cdef Flow *flow = NULL
        cdef Key key
        if size >= SIMPLE_BYTES and <uint8_t>data[0] == SIMPLE_MAGIC_0 and <uint8_t>data[1] == SIMPLE_MAGIC_1:
            memcpy(&key, data + 2, SIMPLE_BYTES - 2)
            key.listener = shared.listener
            flow = find_flow(&self._table, &key, index)
        if flow == NULL or flow.state != FLOW_LIVE or flow.channel != channel + 1:
            self._drop(self._listeners[shared.listener].app, BAD_REPLY)
            return NULL
        return flow

    cdef void _queue_reply(self, uint32_t index, Flow *flow, char *data, size_t size) noexcept nogil:
        cdef Listener *listener = &self._listeners[flow.key.listener]
        cdef int place = self._reply_count
        cdef msghdr *message = &self._to_client[place].msg_hdr
        self._reply_count += 1
        if flow.dialect == SIMPLE_HEADER:
            data -= SIMPLE_BYTES
            size += SIMPLE_BYTES
            data[0] = SIMPLE_MAGIC_0
            data[1] = <char>SIMPLE_MAGIC_1
            memcpy(data + 2, &flow.key, SIMPLE_BYTES - 2)
        self._replies[place].iov_base = data
        self._replies[place].iov_len = size
        self._reply_flow[place] = index
        message.msg_namelen = fill_address(
            &self._names[place], listener.family, flow.peer, flow.peer_port, flow.scope)
        if listener.asks_address and not listener.intercepts:
            message.msg_control = self._controls[place]
            message.msg_controllen = self._write_edge(self._controls[place], listener.family, flow.local)
        else:
            message.msg_control = NULL
            message.msg_controllen = 0

    cdef size_t _write_edge(self, char *control, int family, const uint8_t *edge) noexcept nogil:
        """Set the source address of a reply to the one that the client sent to; return the control message's size."""
        cdef cmsghdr *header = <cmsghdr *>control
        cdef in_pktinfo *ipv4
        cdef in6_pktinfo *ipv6
        memset(control, 0, CONTROL_BYTES)
        if family == AF_INET:
            header.cmsg_level = IPPROTO_IP
            header.cmsg_type = IP_PKTINFO
            header.cmsg_len = CMSG_LEN(sizeof(in_pktinfo))
            ipv4 = <in_pktinfo *>CMSG_DATA(header)
            memcpy(&ipv4.ipi_spec_dst, edge + 12, 4)
            return CMSG_SPACE(sizeof(in_pktinfo))
        header.cmsg_level = IPPROTO_IPV6
        header.cmsg_type = IPV6_PKTINFO
        header.cmsg_len = CMSG_LEN(sizeof(in6_pktinfo))
        ipv6 = <in6_pktinfo *>CMSG_DATA(header)
        memcpy(ipv6.ipi6_addr.s6_addr, edge, 16)
        return CMSG_SPACE(sizeof(in6_pktinfo))

    cdef void _flush_replies(self) noexcept nogil:
        cdef int done = 0, count = self._reply_count, sent, same, end = count
        cdef bint intercepts
        cdef int fd
        self._reply_slots = 0
        if count == 0:
            return
        fd = self._listeners[self._reply_listener].fd
        intercepts = self._listeners[self._reply_listener].intercepts
        while done < count and self._listeners[self._reply_listener].in_use:
            same = 1
            while done + same < count and self._reply_flow[done + same] == self._reply_flow[done]:
                same += 1
            if intercepts:
                fd = self._door(&self._table.flows[self._reply_flow[done]])
                end = done + same
            sent = self._send_train(fd, self._to_client + done, same)
            if sent == 0:
                sent = sendmmsg(fd, self._to_client + done, end - done, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent > 0:
                done += sent
            elif errno != EINTR:
                # An error of this client: unreachable, or its queue is full. Others may not be affected.
                self._drop(self._table.flows[self._reply_flow[done]].app, TOO_BIG if errno == EMSGSIZE else TO_CLIENT)
                done += 1
        self._reply_count = 0

    cdef int _door(self, Flow *flow) noexcept nogil:
        """Return a socket bound to the address that a flow's client sent to, or a negative errno."""
        cdef uint64_t words[2]
        cdef Door *door
        memcpy(words, flow.local, 16)
        door = &self._doors[mix(words[0] ^ words[1] ^ flow.local_port, self._table.secret[0]) % DOORS]
        if door.fd >= 0:
            if door.port == flow.local_port and memcmp(door.address, flow.local, 16) == 0:
                return door.fd
            close(door.fd)
        memcpy(door.address, flow.local, 16)
        door.port = flow.local_port
        door.fd = open_door(flow.local, flow.local_port)
        if self._flags(flow.app) & NO_FRAGMENTS:
            set_discovery(door.fd, IP_PMTUDISC_DO)
        return door.fd

    # --- origins that fail ----------------------------------------------------------------------------------------

    cdef void _socket_error(self, uint32_t number, uint32_t index, int error) noexcept nogil:
        cdef Flow *flow
        if error == EMSGSIZE:
            # An ICMP message announced a smaller MTU; the next datagram that does not fit gets its own error.
            flow = &self._table.flows[index]
            if number:
                self._expect(self._channels[number - 1].fd, SIMPLE_BYTES, self._listeners[
                    self._channels[number - 1].listener].app)
            else:
                self._expect(flow.fd, flow.header_bytes if flow.mode >= EACH else 0, flow.app)
            return
        if number:
            self._channel_error(number - 1, error)
        else:
            self._origin_error(index, error)

    cdef void _origin_error(self, uint32_t index, int error) noexcept nogil:
        """Handle an origin that is unreachable or refuses: the handler chooses another one, or the flow ends."""
        cdef Flow *flow = &self._table.flows[index]
        if flow.state != FLOW_LIVE:
            return
        if flow.channel:
            self._channel_error(flow.channel - 1, error)
            return
        with gil:
            try:
                self._handler.origin_failed(self._name(index), flow.key.listener, <object>flow.target, error,
                                            flow.replied_ns != 0)
            except Exception as exc:
                self._handler.broken(exc)
                self._end(index, FLOW_ORIGIN_ERROR, error)

    cdef void _channel_error(self, uint32_t channel, int error) noexcept nogil:
        with gil:
            try:
                self._handler.channel_failed(self._channels[channel].listener, <object>self._channels[channel].target,
                                             error)
            except Exception as exc:
                self._handler.broken(exc)

    # --- events ---------------------------------------------------------------------------------------------------

    cdef uint32_t listener_count(self) noexcept nogil:
        return self._listener_count

    cdef int watch_listener(self, uint32_t number) noexcept nogil:
        if not self._listeners[number].in_use:
            return -1
        return self.loop.watch(
            self._listeners[number].fd, LISTENER_TOKEN | self.part_token | number, EPOLLIN | EPOLLET)

    cdef void dispatch(self, uint64_t token, uint32_t events) noexcept nogil:
        cdef uint32_t index = <uint32_t>token
        cdef uint32_t generation = token >> GENERATION_SHIFT & GENERATION_MASK
        cdef Flow *flow
        if token & LISTENER_TOKEN:
            self._read_listener(index)
        elif token >> SIDE_SHIFT & 0xF == CHANNEL_SIDE:
            if self._channels[index].generation == generation and self._channels[index].fd >= 0:
                self._read_origin(self._channels[index].fd, token, index + 1, 0)
        else:
            flow = &self._table.flows[index]
            if flow.generation == generation and flow.state == FLOW_LIVE:
                self._read_origin(flow.fd, token, 0, index)

    cdef int settle(self) except -1:
        self._flush_replies()
        self._look_at_strangers()
        if self._is_behind:
            self._room = min(self._room, <int>FEW_FLOWS)
        if self._held.first != NULL:
            self._begin_held()
            self.loop.tick_within(SHED_HELD_US if self._shed_count else HELD_US)
        elif self._shed_count:
            self.loop.tick_within(SHED_LOOK_NS // 1000)
        self._room = FEW_FLOWS if self._is_behind else FLOWS_AT_ONCE
        if self._shed_count:
            self._room = FEW_FLOWS if self.loop.now_ns >= self._next_ns else 0
        self._known_room = FLOWS_AT_ONCE
        self._is_behind = False
        if self._new_connects.count:
            self._tell_connected()
        while self._accepted_head or self._ended_head:
            if self._accepted_head:
                self._decide()
            if self._ended_head:
                self._report()
        return 0

    # === Public API ===

    def add_listener(self, int fd, uint32_t app, bytes address, uint16_t port):
        """Receive datagrams from a bound descriptor, which the caller still owns; return the listener's number.

        Numbers are never reused. An empty `address` is a wildcard: the socket must report each datagram's address
        (IP_PKTINFO, IPV6_PKTINFO). With port 0, TPROXY intercepts datagrams to any port: each datagram reports the port
        too (IP_RECVORIGDSTADDR), and answers are sent from there.
        """
        cdef uint32_t number = self._listener_count
        cdef sockaddr_in6 bound
        cdef socklen_t length = sizeof(sockaddr_in6)
        cdef uint32_t memory[SK_MEMINFO_DROPS + 1]
        cdef Listener *grown
        cdef Listener *listener
        if len(address) not in (0, 4, 16):
            raise ValueError(f"an address is 4 or 16 bytes, not {len(address)}")
        if getsockname(fd, <sockaddr *>&bound, &length) < 0:
            raise OSError(errno, "not a socket that datagrams come from")
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
        listener.intercepts = port == 0
        listener.family = bound.sin6_family
        listener.port = htons(port)
        if len(address) == 4:
            listener.address[10] = listener.address[11] = 0xFF
            memcpy(listener.address + 12, PyBytes_AS_STRING(address), 4)
        else:
            memcpy(listener.address, PyBytes_AS_STRING(address), len(address))
        # What a former worker left: its program, and the kernel's counter of its drops.
        self._strangers.detach(fd)
        if _look_at_memory(fd, memory):
            listener.dropped = memory[SK_MEMINFO_DROPS]
        set_int(fd, IPPROTO_IP, IP_RECVFRAGSIZE, 1)
        set_int(fd, IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 1)
        self._set_whole(listener)
        grow_counters(&self._counts, &self._app_count, app + 1, COUNTS)
        try:
            self.begin_to_listen(number)
        except ValueError:
            listener.in_use = False
            raise
        return number

    cdef void _set_whole(self, Listener *listener) noexcept nogil:
        """Allow or forbid fragmentation of replies; the system's default is kept until it must be changed."""
        cdef bint whole = self._flags(listener.app) & NO_FRAGMENTS
        cdef int slot
        if whole == listener.whole:
            return
        listener.whole = whole
        set_discovery(listener.fd, IP_PMTUDISC_DO if whole else IP_PMTUDISC_WANT)
        for slot in range(DOORS):
            if self._doors[slot].fd >= 0:
                close(self._doors[slot].fd)
            self._doors[slot].fd = -1

    def set_app(self, uint32_t app, uint64_t group, bint told=False, tuple paces=(0, 0, 0, 0, 0, 0),
                bint fragments=True):
        """Set the properties of an app.

        Args:
            app: Its slot.
            group: Its number in the census; it cannot change while there are flows.
            told: Whether its datagrams come from proxies, with headers that name the client.
            paces: Limits per second, of the app, of each client and of each prefix: bytes each way; then datagrams from
                clients likewise. 0 for no limit.
            fragments: Whether fragmented datagrams are accepted, and datagrams are fragmented where permitted.
        """
        cdef bint changed = False
        cdef uint32_t number
        grow_counters(&self._apps, &self._apps_room, app + 1, APP_WORDS)
        self._apps[APP_WORDS * app] = group
        self._apps[APP_WORDS * app + 1] = (TOLD if told else 0) | (0 if fragments else NO_FRAGMENTS)
        for word in range(6):
            changed |= self._apps[APP_WORDS * app + BYTES + word] != <uint64_t>paces[word]
            self._apps[APP_WORDS * app + BYTES + word] = paces[word]
        if changed and self._offload is not None:
            self._decide_anew(app)
        for number in range(self._listener_count):
            if self._listeners[number].in_use and self._listeners[number].app == app:
                self._set_whole(&self._listeners[number])

    def drop_blocked(self, bytes four, bytes six, uint64_t expires_ns):
        """Have the kernel drop datagrams of strangers that rules of detection block, once many are refused.

        The arguments are those of `Strangers.block`. The lookout has these rules, and `Lookout.thin_datagrams` says
        which they are.
        """
        self._strangers.block(four, six, expires_ns)

    def measure(self, uint32_t app, Target target, uint32_t header_bytes):
        """Read the path MTU to a target, before the first datagram that may be too long for it.

        Args:
            app: The slot of the app with this target.
            target: It need not be reachable yet.
            header_bytes: The length of the header before each datagram.
        """
        cdef int source = 0
        cdef int fd = target.connect_datagram(0, &source)
        if fd >= 0:
            self._expect(fd, header_bytes, app)
            close(fd)

    def remove_listener(self, uint32_t number, int error):
        """Close a listener, and end its flows, whose replies have no socket any more."""
        if number >= self._listener_count or not self._listeners[number].in_use:
            return
        self._flush_replies()
        self._let_pass(&self._listeners[number], 0, False)
        self._listeners[number].in_use = False
        self.deaf.pop(number, None)
        self.loop.unwatch(self._listeners[number].fd)
        for name in self.flows(listener=number):
            self.close(name, error)
        if self._ended_head:
            self._report()

    def release(self):
        """Leave all flows to another worker: see `FlowKeeper.release`.

        Listeners keep their programs until that worker has removed them. From here on they are its own: the numbers of
        their descriptors here may soon be those of others.
        """
        cdef uint32_t number
        for number in range(self._listener_count):
            if self._listeners[number].in_use:
                self._count_kernel_drops(&self._listeners[number])
                self._listeners[number].one_in = self._listeners[number].blocks = 0
        self._shed_count = 0
        return FlowKeeper.release(self)

    cdef void _count_kernel_drops(self, Listener *listener) noexcept nogil:
        """Count what did not get into the queue of a listener since the last time."""
        cdef uint32_t memory[SK_MEMINFO_DROPS + 1]
        if _look_at_memory(listener.fd, memory):
            # The kernel's counter has 32 bits, too, and wraps around. It does not tell what a program dropped.
            self._counts[COUNTS * listener.app + 4 + (
                OVERLOAD if listener.one_in else ATTACK if listener.blocks else QUEUE_FULL)] += <uint32_t>(
                memory[SK_MEMINFO_DROPS] - listener.dropped)
            listener.dropped = memory[SK_MEMINFO_DROPS]

    def take_counts(self):
        """Return the counts since the last call, for each app with traffic.

        Each is (app, bytes from clients, bytes from origins, datagrams from clients, datagrams from origins,
        *drops in the order of `Drop`).
        """
        cdef uint32_t app, number
        cdef uint64_t *counts
        cdef int i
        cdef list taken = []
        cdef bint any_counted
        for number in range(self._listener_count):
            if self._listeners[number].in_use and (
                    self._listeners[number].was_read or self._listeners[number].one_in
                    or self._listeners[number].blocks):
                self._listeners[number].was_read = False
                self._count_kernel_drops(&self._listeners[number])
        self._read_back_all()
        self._fragmentable.rest(self.loop.now_ns)
        for app in range(self._app_count):
            counts = self._counts + COUNTS * app
            any_counted = False
            for i in range(COUNTS):
                if counts[i]:
                    any_counted = True
            if any_counted:
                taken.append((app, *[counts[i] for i in range(COUNTS)]))
                memset(counts, 0, COUNTS * sizeof(uint64_t))
        return taken
