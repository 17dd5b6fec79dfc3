# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The UDP engine: it tells flows apart, pins each to an origin and moves datagrams in batches. It has no policy.

It is a part of a `Loop`. A flow is one client address and port on one listener address. Per new flow it asks its
handler once, in batches (`accepted`), and tells it once of its end (`ended`); datagrams of known flows move without
Python.

Ownership: listening descriptors and the memory file belong to the caller. A flow's own socket, or the channel that it
shares with others, belongs to the engine. Sockets are edge-triggered and read until a batch comes back short.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EADDRNOTAVAIL, EAGAIN, EINTR, EINVAL, EIO, EMFILE, EMSGSIZE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.counters cimport grow_counters
from spectrum.engine.flows cimport *
from spectrum.engine.headers cimport MALFORMED_HEADER, NO_HEADER, PROXY_HEADER, SIMPLE_HEADER, read_header
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
from spectrum.engine.offload cimport (
    OFFLOAD_KEEPS,
    OFFLOAD_LENIENT,
    OFFLOAD_PUTS,
    OFFLOAD_STRIPS,
    Offload,
    offload_tally,
)
from spectrum.engine.shared cimport Loads
from spectrum.engine.sockets cimport MAPPED, fill_address, map_address, open_door, set_int, unmapped
from spectrum.engine.target cimport Target

import secrets

cdef enum:
    CLIENT = 0
    ORIGIN = 1
    # In an epoll token side 1 is a flow's socket, side 2 a channel.
    FLOW_SIDE = 1
    CHANNEL_SIDE = 2
    # The group of all flows of a node in the census; plane/limits.py knows it too.
    UDP_NODE = 2
    # Datagrams per system call. Slots are numbered in 8 bits, with NO_SLOT for none.
    BATCH = 64
    ALONE = BATCH + 1
    # A datagram is at most 65,535 bytes less its headers, so nothing is ever truncated. What stands before it has room
    # for a header. 17 cache lines more keep the slots' first lines in different sets of the cache.
    HEADROOM = MAX_HEADER_BYTES
    SLOT_BYTES = 65536 + 17 * 64
    # Batches read from one socket before the others get their turn.
    TURNS = 4
    CONTROL_BYTES = 128
    # Shorter trains cost more than they save: docs/decisions/004-datagrams.md.
    MIN_TRAIN = 16
    MAX_TRAIN_BYTES = 65000
    CHANNEL_QUEUE_BYTES = 4194304
    SIMPLE_BYTES = 38
    SIMPLE_MAGIC_0 = 0x56
    SIMPLE_MAGIC_1 = 0xEC
    # A flow's place among the oldest is kept up to date in steps of this.
    PLACE_STEP_MS = 100
    # Answers to datagrams that are too big, per second, for all clients together.
    MAX_TOO_BIG_REPORTS = 100
    DROPS = 9
    # The longest idle flow is looked for so often among those that the kernel moves.
    MAX_EVICTION_LOOKS = 16
    # Answers to more addresses and ports at once open and close sockets in turn.
    DOORS = 256
    # linux/sock_diag.h: the last of SK_MEMINFO_VARS counts what found the queue full.
    SK_MEMINFO_DROPS = 8
    COUNTS = 4 + DROPS
    # Of an app: its group in the census, whether proxies in front tell of its clients, and what it moves per second.
    APP_WORDS = 8
    # Bytes of the app, of a client, of a prefix; then datagrams likewise.
    BYTES = 2
    DATAGRAMS = 5

# Flows that ended and wait to be reported have places beyond the limit.
ENDED_FLOWS = 4 * BATCH

cdef uint64_t NS_PER_S = 1000000000
# In the keys of rates: of what, and which way; odd multiples of one number.
cdef uint64_t[2 * APP_WORDS] WAYS
cdef int _way
for _way in range(2 * APP_WORDS):
    WAYS[_way] = <uint64_t>0x9ddfea08eb382d69 * <uint64_t>(2 * _way + 1)

# How the origin is told who its client is.
cpdef enum Mode:
    PLAIN = 0
    FIRST = 1       # a header before the first datagram
    STANDALONE = 2  # a header as a datagram of its own, before the first
    EACH = 3        # a header before each
    SIMPLE = 4      # Simple Proxy Protocol; replies must carry it too
    LENIENT = 5     # the same, but a reply without it passes as it is

# Outcomes, as `ended` reports them.
cpdef enum FlowOutcome:
    FLOW_IDLE = 1
    FLOW_EVICTED = 2
    FLOW_ORIGIN_ERROR = 3
    FLOW_CONNECT_FAILED = 4
    FLOW_REFUSED = 5
    FLOW_CLOSED = 6

# Why a datagram was dropped; places in the counts of `take_counts`.
cpdef enum Drop:
    BAD_REPLY = 0   # a reply whose Simple Proxy header is not its flow's
    TOO_BIG = 1     # it would have needed fragments
    TO_ORIGIN = 2   # the kernel did not take it for the origin
    TO_CLIENT = 3   # the kernel did not take it for the client
    NO_FLOW = 4     # its flow was refused, or ended before it could be sent
    QUEUE_FULL = 5  # the listener's queue was full: the worker did not keep up
    BAD_HEADER = 6  # it came without the header of a proxy in front, or with one that can not be read
    UNTRUSTED = 7   # its header came from somebody who is not believed
    RATE = 8        # more than its app or its client moves per second

cdef struct Listener:
    int fd
    uint32_t app
    uint8_t in_use
    uint8_t asks_address  # bound to a wildcard: each datagram tells which address its client wrote to
    uint8_t intercepts    # by TPROXY: each datagram tells which port too, and answers leave through doors
    uint8_t was_read      # since the last report
    uint32_t dropped      # by the kernel, as counted at the last report
    sa_family_t family
    uint16_t port         # network order
    uint8_t address[16]   # mapped

cdef struct Door:
    # A socket bound to an address and a port that TPROXY takes datagrams for: their answers leave from there.
    int fd
    uint16_t port
    uint8_t address[16]

cdef struct Channel:
    # One origin-side socket for the flows of one target, which Simple Proxy headers tell apart.
    int fd
    uint32_t listener
    uint32_t flows
    uint32_t generation
    PyObject *target      # borrowed: each of its flows owns a reference


cdef class Datagrams(Part):
    """All UDP flows of one worker.

    Args:
        loop: Brings its events.
        handler: Its `accepted`, `trusts`, `attempt_failed`, `exhausted`, `origin_failed`, `channel_failed`, `too_big`,
            `ended` and `broken` are called from within the loop's `process`.
        memory: A memory file's descriptor; flows that it holds already can be adopted, see `recovered`.
        max_flows: The oldest idle flow makes room for a new one beyond this.
        max_sockets: The same for flows with sockets of their own.
        loads: Counts the flows of each origin.
        census: Counts the flows of each app and client.
        rates: What apps and clients have moved lately, in all workers.
    """

    cdef object _handler
    cdef Loads _loads
    cdef FlowTable _table
    cdef char *_buffers
    cdef iovec _in[BATCH]
    cdef mmsghdr _from_client[BATCH]
    cdef mmsghdr _from_origin[BATCH]
    cdef sockaddr_in6 _names[BATCH]
    cdef char _controls[BATCH][CONTROL_BYTES]
    # What waits to be sent to the origin: one more than a batch, for a header of its own; behind it two places for a
    # datagram that is sent alone.
    cdef mmsghdr _to_origin[ALONE + 2]
    cdef iovec _out[ALONE + 2]
    cdef uint32_t _out_flow[ALONE + 2]
    cdef uint8_t _out_slot[ALONE + 2]
    cdef int _out_count, _out_fd
    # Replies that wait to be sent to clients of one listener, and how many slots they lie in.
    cdef mmsghdr _to_client[BATCH]
    cdef iovec _replies[BATCH]
    cdef uint32_t _reply_flow[BATCH]
    cdef int _reply_count, _reply_slots
    cdef uint32_t _reply_listener
    cdef uint32_t _slot_next[BATCH]
    # Of datagrams from clients, what stands behind the header of a proxy in front.
    cdef char *_payload[BATCH]
    cdef size_t _payload_bytes[BATCH]
    cdef Listener *_listeners
    cdef uint32_t _listener_count, _listener_room
    cdef Channel *_channels
    cdef Door[DOORS] _doors
    cdef uint32_t _channel_count
    cdef uint64_t *_counts
    cdef uint32_t _app_count
    cdef uint64_t *_apps
    cdef uint32_t _apps_room
    cdef Census _census
    cdef Rates _rates
    cdef Offload _offload
    cdef dict _inherited
    cdef uint32_t _accepted_head, _accepted_tail, _ended_head, _ended_tail, _ended_count
    cdef uint32_t _max_flows, _max_sockets, _sockets
    cdef uint32_t _too_big_reports
    cdef uint64_t _last_scan_ms
    cdef uint64_t _evicted
    cdef bint _draining

    def __cinit__(self):
        cdef int slot
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
        for slot in range(DOORS):
            self._doors[slot].fd = -1

    def __init__(self, Loop loop, handler, int memory, *, uint32_t max_flows=1000, uint32_t max_sockets=0x7FFFFFFF,
                 Loads loads=None, Census census=None, Rates rates=None):
        self.loop = loop
        self._handler = handler
        self._loads = loads if loads is not None else Loads()
        self._census = census if census is not None else Census()
        self._rates = rates if rates is not None else Rates()
        self._inherited = {}
        self._max_flows = max(max_flows, 1)
        self._max_sockets = max(max_sockets, 1)
        self._last_scan_ms = loop.now_ms
        self._map(memory)
        self.part_token = loop.add_part(self)

    def __dealloc__(self):
        cdef uint32_t index
        cdef Flow *flow
        if self._table.file != NULL:
            for index in range(self._table.file.used):
                flow = &self._table.flows[index]
                if flow.target != NULL:
                    Py_DECREF(<object>flow.target)
                if flow.state == FLOW_LIVE and flow.channel == 0 and flow.fd >= 0:
                    close(flow.fd)
                flow.target = NULL
            munmap(self._table.file, self._table.file_bytes)
        for index in range(self._channel_count):
            if self._channels[index].fd >= 0:
                close(self._channels[index].fd)
        for index in range(DOORS):
            if self._doors[index].fd >= 0:
                close(self._doors[index].fd)
        free(self._table.buckets)
        free(self._table.peer_buckets)
        free(self._channels)
        free(self._listeners)
        free(self._counts)
        free(self._apps)
        free(self._buffers)

    # --- the table ------------------------------------------------------------------------------------------------

    cdef int _map(self, int memory) except -1:
        """Map the memory file; keep of what it holds the flows that a replacement worker can go on with."""
        cdef FlowTable *table = &self._table
        cdef uint32_t bucket_count = 64
        cdef uint32_t index
        cdef Flow *flow
        table.capacity = self._max_flows + <uint32_t>ENDED_FLOWS
        table.file_bytes = FILE_HEADER_BYTES + table.capacity * sizeof(Flow)
        if ftruncate(memory, table.file_bytes) < 0:
            raise OSError(errno, "the table of flows has no memory")
        table.file = <FileHeader *>mmap(NULL, table.file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)
        if table.file == MAP_FAILED:
            table.file = NULL
            raise OSError(errno, "the table of flows can not be mapped")
        table.flows = <Flow *>(<char *>table.file + FILE_HEADER_BYTES)
        while bucket_count < table.capacity:
            bucket_count *= 2
        table.buckets = <uint32_t *>calloc(bucket_count, sizeof(uint32_t))
        table.peer_buckets = <uint32_t *>calloc(bucket_count, sizeof(uint32_t))
        if table.buckets == NULL or table.peer_buckets == NULL:
            raise MemoryError()
        table.bucket_mask = bucket_count - 1
        table.secret[0] = secrets.randbits(64) | 1
        table.secret[1] = secrets.randbits(64) | 1
        if (table.file.magic != FILE_MAGIC or table.file.version != FILE_VERSION
                or table.file.flow_bytes != sizeof(Flow) or table.file.used > table.capacity):
            table.file.used = 0
        table.file.magic = FILE_MAGIC
        table.file.version = FILE_VERSION
        table.file.flow_bytes = sizeof(Flow)
        for index in range(table.file.used):
            flow = &table.flows[index]
            flow.target = NULL
            flow.fd = -1
            flow.channel = 0
            flow.waiting = False
            flow.generation &= GENERATION_MASK
            if flow.state != FLOW_LIVE or flow.origin_port == 0:
                free_flow(table, index)
        return 0

    cdef Flow *_find(self, uint64_t name, uint8_t state) noexcept:
        cdef uint32_t index = <uint32_t>name
        if index >= self._table.file.used:
            return NULL
        cdef Flow *flow = &self._table.flows[index]
        if flow.generation != name >> 32 or flow.state != state:
            return NULL
        return flow

    cdef uint64_t _name(self, uint32_t index) noexcept:
        return <uint64_t>self._table.flows[index].generation << 32 | index

    cdef Flow *_create(self, const Key *key, Listener *listener, uint32_t *index) noexcept nogil:
        """A new flow for `key`; NULL where none can make room."""
        cdef Flow *flow
        cdef uint32_t generation
        if self._table.live >= self._max_flows and not self._evict(False):
            return NULL
        flow = take_flow(&self._table, index)
        if flow == NULL:
            return NULL
        generation = flow.generation
        memset(flow, 0, sizeof(Flow))
        flow.generation = generation
        flow.key = key[0]
        flow.state = FLOW_NEW
        flow.app = listener.app
        flow.fd = -1
        flow.created_ns = self.loop.now_ns
        memcpy(flow.peer, key.client, 16)
        memcpy(flow.local, key.edge, 16)
        flow.peer_port = key.client_port
        flow.local_port = key.edge_port
        flow.active_ms = self.loop.now_ms
        flow.chain_head = NO_SLOT
        self._table.live += 1
        flow.standing = UNPLACED
        index_flow(&self._table, index[0])
        if self._accepted_head == 0:
            self._accepted_head = index[0] + 1
        else:
            self._table.flows[self._accepted_tail - 1].next = index[0] + 1
        self._accepted_tail = index[0] + 1
        return flow

    cdef bint _evict(self, bint with_socket) noexcept nogil:
        """End the flow that is idle the longest, a confirmed one only where none is young; False where none can go."""
        cdef uint32_t own, shared
        cdef int _
        for _ in range(MAX_EVICTION_LOOKS):
            own, shared = self._table.oldest[<int>YOUNG], self._table.oldest[<int>YOUNG_SHARED]
            if own == 0 and (shared == 0 or with_socket):
                own = self._table.oldest[<int>CONFIRMED]
                shared = self._table.oldest[<int>CONFIRMED_SHARED]
            # One that the kernel moves may have been in use since it came to its place.
            if own == 0 or not self._read_back(own - 1, &self._table.flows[own - 1]):
                break
        return self._evict_older(own, <uint32_t>0 if with_socket else shared)

    cdef bint _evict_older(self, uint32_t link, uint32_t other) noexcept nogil:
        """End the older of two flows (index + 1; 0 for none), unless it is about to send."""
        cdef Flow *flow
        if link == 0 or (other and self._table.flows[other - 1].placed_ms < self._table.flows[link - 1].placed_ms):
            link = other
        if link == 0:
            return False
        flow = &self._table.flows[link - 1]
        if flow.chain_head != NO_SLOT:
            return False
        self._evicted += 1
        self._end(link - 1, FLOW_EVICTED, 0)
        return True

    cdef void _touch(self, uint32_t index, Flow *flow) noexcept nogil:
        """Note that a flow is in use."""
        flow.active_ms = self.loop.now_ms
        if self.loop.now_ms - flow.placed_ms >= PLACE_STEP_MS:
            unplace(&self._table, index)
            place_newest(&self._table, index, flow.standing, self.loop.now_ms)

    cdef void _confirm(self, uint32_t index, Flow *flow) noexcept nogil:
        """The client went on after a reply: it is really there. From now on a replacement worker goes on with it."""
        unplace(&self._table, index)
        place_newest(&self._table, index, flow.standing | CONFIRMED, self.loop.now_ms)
        self._note_origin(flow)
        self._offer(index, flow)

    cdef void _note_origin(self, Flow *flow) noexcept nogil:
        """Write down what another worker needs to go on with a flow."""
        cdef sockaddr_in6 address
        cdef socklen_t length = sizeof(sockaddr_in6)
        if flow.channel == 0 and getsockname(flow.fd, <sockaddr *>&address, &length) == 0:
            flow.source_port = address.sin6_port
        with gil:
            map_address(&(<Target>flow.target).address, flow.origin)
            flow.origin_port = (<Target>flow.target).address.sin6_port

    # --- in the kernel --------------------------------------------------------------------------------------------

    cdef void _offer(self, uint32_t index, Flow *flow) noexcept nogil:
        """Let the kernel move a confirmed flow's datagrams, if it can."""
        cdef sockaddr_in6 ours
        cdef socklen_t length = sizeof(sockaddr_in6)
        cdef uint8_t to_origin = OFFLOAD_PUTS if flow.mode >= EACH else OFFLOAD_KEEPS
        cdef uint8_t to_client = OFFLOAD_KEEPS
        cdef int side
        if self._offload is None or flow.plane != UNDECIDED:
            return
        if flow.header_due and to_origin == OFFLOAD_KEEPS:
            return  # the one that goes first
        flow.plane = IN_ENGINE
        if not self._kernel_can(flow) or getsockname(flow.fd, <sockaddr *>&ours, &length) < 0:
            return
        if flow.mode == SIMPLE:
            to_client = OFFLOAD_STRIPS
        elif flow.mode == LENIENT:
            to_client = OFFLOAD_LENIENT
        if index < self._offload.room:
            for side in range(2):
                flow.seen_bytes[side] = self._offload.tally(index, side).bytes
                flow.seen_datagrams[side] = self._offload.tally(index, side).datagrams
        if self._offload.enter(index, flow, &ours, to_origin, to_client):
            flow.plane = IN_KERNEL

    cdef bint _kernel_can(self, Flow *flow) noexcept nogil:
        """Whether the kernel's program can do all that is to be done with a flow's datagrams."""
        cdef uint64_t *app = self._apps + APP_WORDS * flow.app
        cdef bint ipv4 = memcmp(flow.peer, MAPPED, 12) == 0
        cdef int i
        if flow.channel or flow.dialect != NO_HEADER or (flow.mode >= EACH and flow.header_bytes % 2):
            return False
        if ipv4 != (memcmp(flow.origin, MAPPED, 12) == 0):
            return False
        # Link-local addresses are of one interface.
        if flow.scope or (flow.origin[0] == 0xFE and flow.origin[1] & 0xC0 == 0x80):
            return False
        if flow.app < self._apps_room:
            for i in range(BYTES, APP_WORDS):
                if app[i]:
                    return False  # what it may move per second is counted here
        return True

    cdef bint _read_back(self, uint32_t index, Flow *flow) noexcept nogil:
        """Count what the kernel moved of a flow since the last look; return whether it got a newer place by that."""
        cdef uint64_t *counts = self._counts + COUNTS * flow.app
        cdef const offload_tally *tally
        cdef uint64_t size, datagrams, last_ms = 0
        cdef int side
        if flow.plane != IN_KERNEL or self._offload is None:
            return False
        for side in range(2):
            tally = self._offload.tally(index, side)
            if tally.datagrams <= flow.seen_datagrams[side]:
                continue
            size, datagrams = tally.bytes - flow.seen_bytes[side], tally.datagrams - flow.seen_datagrams[side]
            flow.seen_bytes[side] += size
            flow.seen_datagrams[side] += datagrams
            flow.bytes[side] += size
            flow.datagrams[side] += datagrams
            counts[side] += size
            counts[2 + side] += datagrams
            last_ms = max(last_ms, tally.last_ns // 1000000)
            if side == ORIGIN and flow.waiting:
                flow.waiting = False
                self._loads.answer(flow.number)
        flow.active_ms = max(flow.active_ms, last_ms)
        # To the second: all flows are looked at once in one.
        if last_ms < flow.placed_ms + PLACE_STEP_MS:
            return False
        unplace(&self._table, index)
        place_newest(&self._table, index, flow.standing, last_ms)
        return True

    cdef void _read_back_all(self) noexcept nogil:
        cdef uint32_t index
        if self._offload is None or self._offload.active == 0:
            return
        for index in range(self._table.file.used):
            if self._table.flows[index].state == FLOW_LIVE:
                self._read_back(index, &self._table.flows[index])

    cdef void _recall(self, uint32_t index, Flow *flow) noexcept nogil:
        """Move a flow's datagrams here again."""
        if flow.plane == IN_KERNEL and self._offload is not None:
            self._offload.leave(index)
            self._read_back(index, flow)
        flow.plane = UNDECIDED

    cdef void _decide_anew(self, int64_t app) noexcept nogil:
        """Let flows, of one app or of all (-1), be moved by whoever can now."""
        cdef uint32_t index
        cdef Flow *flow
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if flow.state == FLOW_LIVE and flow.target != NULL and (app < 0 or flow.app == app):
                self._recall(index, flow)
                if flow.standing & CONFIRMED:
                    self._offer(index, flow)

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
                self._from_client[slot].msg_hdr.msg_control = self._controls[slot] if listener.asks_address else NULL
                self._from_client[slot].msg_hdr.msg_controllen = CONTROL_BYTES if listener.asks_address else 0
            count = recvmmsg(listener.fd, self._from_client, BATCH, MSG_DONTWAIT, NULL)
            if count < 0:
                if errno == EINTR:
                    used = 0
                    continue
                return
            self._sort(number, listener, count)
            if count < BATCH or not listener.in_use:
                return
            used = count
        self.loop.rewatch(listener.fd, LISTENER_TOKEN | self.part_token | number, EPOLLIN | EPOLLET)

    cdef void _sort(self, uint32_t number, Listener *listener, int count) noexcept nogil:
        """Give each datagram of a batch to its flow, ask Python about new flows, then send flow by flow."""
        cdef uint32_t touched[BATCH]
        cdef uint32_t index
        cdef int touched_count = 0, slot
        cdef Flow *flow
        cdef Key key
        cdef bint told = self._is_told(listener.app)
        key.listener = number
        for slot in range(count):
            self._payload[slot] = <char *>self._in[slot].iov_base
            self._payload_bytes[slot] = self._from_client[slot].msg_len
            map_address(&self._names[slot], key.client)
            key.client_port = self._names[slot].sin6_port
            key.edge_port = listener.port
            memcpy(key.edge, listener.address, 16)
            if listener.asks_address:
                self._read_edge(slot, &key)
            if told:
                flow = self._flow_of_header(slot, listener, &key, &index)
                if flow == NULL:
                    continue
            else:
                flow = self._flow_of(&key, listener, slot, &index)
                if flow == NULL:
                    continue
            self._slot_next[slot] = NO_SLOT
            if flow.chain_head == NO_SLOT:
                flow.chain_head = <uint8_t>slot
                touched[touched_count] = index
                touched_count += 1
            else:
                self._slot_next[flow.chain_tail] = slot
            flow.chain_tail = <uint8_t>slot
        if self._accepted_head:
            with gil:
                self._decide()
        for slot in range(touched_count):
            self._send_chain(touched[slot])
        self._flush_to_origin()

    cdef Flow *_flow_of(self, const Key *key, Listener *listener, int slot, uint32_t *index) noexcept nogil:
        """The flow for `key`, a new one where there is none; NULL, and counted, where there can be none."""
        cdef Flow *flow = find_flow(&self._table, key, index)
        if flow == NULL:
            flow = NULL if self._draining else self._create(key, listener, index)
            if flow == NULL:
                self._drop(listener.app, NO_FLOW)
            elif listener.family == AF_INET6:
                flow.scope = self._names[slot].sin6_scope_id
        return flow

    cdef bint _is_told(self, uint32_t app) noexcept nogil:
        """Whether proxies in front tell who an app's clients are."""
        return app < self._apps_room and self._apps[APP_WORDS * app + 1] != 0

    cdef Flow *_flow_of_header(self, int slot, Listener *listener, Key *key, uint32_t *index) noexcept nogil:
        """The flow of the client that a datagram's header tells, and the header taken off.

        Without a header it is that of the header before it, from the same address and port. NULL where the datagram
        goes no further: counted; or it was a header alone.
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
            return NULL
        if flow.dialect == NO_HEADER or flow.peer_port != peer.client_port or memcmp(flow.peer, peer.client, 16) != 0:
            if flow.state == FLOW_NEW and flow.dialect != NO_HEADER:
                self._drop(listener.app, UNTRUSTED)  # nobody has said yet whether the first one is believed
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
            # What follows without a header is of the client that was told of last.
            unindex_peer(&self._table, index[0])
            index_peer(&self._table, index[0])
        self._payload[slot] += length
        self._payload_bytes[slot] -= length
        return NULL if dialect == PROXY_HEADER and self._payload_bytes[slot] == 0 else flow

    cdef bint _trusts(self, Listener *listener, uint32_t number, const uint8_t *peer) noexcept nogil:
        """Whether a peer's word about a client that another one told of is taken; counted where it is not."""
        cdef bint trusted = False
        with gil:
            try:
                trusted = self._handler.trusts(number, unmapped(peer))
            except Exception as exc:
                self._handler.broken(exc)
        if not trusted:
            self._drop(listener.app, UNTRUSTED)
        return trusted

    cdef void _read_edge(self, int slot, Key *key) noexcept nogil:
        """Note the address that a client wrote to, and the port where TPROXY brings it (ip(7), ipv6(7))."""
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
                if flow.fd != self._out_fd or self._out_count >= BATCH:
                    self._flush_to_origin()
                self._out_fd = flow.fd
                self._queue(index, flow, <uint8_t>slot)
            slot = following

    cdef bint _keeps_rates(self, Flow *flow, int side, size_t size) noexcept nogil:
        """Whether a datagram is within what its app and its client move per second; counted where it is."""
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
        """The key of a flow's app, of its client, or of the prefix that it is in."""
        cdef uint64_t group = self._group(flow)
        cdef bint mapped = memcmp(flow.key.client, MAPPED, 12) == 0
        cdef const uint8_t *client = flow.key.client + (12 if mapped else 0)
        if scope == 0:
            return group
        if scope == 1:
            return self._census.client_key(group, client, 4 if mapped else 16)
        return self._census.prefix_key(group, client, 4 if mapped else 16)

    cdef void _queue(self, uint32_t index, Flow *flow, uint8_t slot) noexcept nogil:
        """Put a datagram at the end of what goes to the origin, with the header that is due."""
        cdef char *data = self._payload[slot]
        cdef size_t size = self._payload_bytes[slot]
        if flow.header_due and flow.mode == STANDALONE:
            flow.header_due = False
            self._put(index, NO_SLOT, <char *>flow.header, flow.header_bytes)
        elif flow.header_due:
            # Due for ever where each datagram has it.
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
        """Send what is queued for one origin-side socket."""
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
                # The socket is gone: those behind it go by their flows.
                done += 1
                while done < count:
                    self._send_alone(done)
                    done += 1
                break
            done += 1
        self._out_count = 0
        self._out_fd = -1

    cdef int _send_train(self, int fd, mmsghdr *messages, int count) noexcept nogil:
        """Send as many datagrams of one length as come first, to where the first one goes, as one train (UDP_SEGMENT).

        The kernel takes it through its layers once (linux/udp.h; Documentation/networking/segmentation-offloads.rst).
        Returns how many went; 0 where the train is too short to pay, or not possible: then they go one by one; -1 for
        an error (errno), which an earlier datagram may have met.
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
        # EINVAL: longer than the path takes; EIO: a device without checksums (net/ipv4/udp.c, udp_send_skb).
        return 0 if errno == EINVAL or errno == EIO or errno == EMSGSIZE else -1

    cdef bint _send_again(self, int place, int error) noexcept nogil:
        """A datagram was refused. The error may be an earlier one's (an ICMP answer), so it is tried once more.

        Returns False when the socket was given up for another origin, or for good.
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
        """Send one queued datagram on the socket that its flow has now, built anew: the header may be due again."""
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
        """The kernel did not take a datagram for the origin: count it, and tell of those that are too big."""
        cdef uint32_t index = self._out_flow[place]
        cdef Flow *flow = &self._table.flows[index]
        cdef uint8_t slot = self._out_slot[place]
        if slot == NO_SLOT or self._out[place].iov_base != self._payload[slot]:
            flow.header_due = True  # it was, or it had, the header
        if slot == NO_SLOT:
            return
        self._drop(flow.app, TOO_BIG if error == EMSGSIZE else TO_ORIGIN)
        if error == EMSGSIZE and flow.dialect == NO_HEADER and self._too_big_reports < MAX_TOO_BIG_REPORTS:
            self._too_big_reports += 1
            with gil:
                self._tell_too_big(flow)

    cdef object _tell_too_big(self, Flow *flow):
        cdef Target target = <Target>flow.target
        cdef bint ipv4 = target.address.sin6_family == AF_INET
        cdef int mtu = 0
        cdef socklen_t length = sizeof(int)
        if ipv4:
            getsockopt(flow.fd, IPPROTO_IP, IP_MTU, &mtu, &length)
        else:
            getsockopt(flow.fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length)
        # What the client's payload may be: less the IP and UDP headers of that path, and ours.
        try:
            self._handler.too_big(
                flow.key.listener, unmapped(flow.key.client), ntohs(flow.key.client_port), unmapped(flow.key.edge),
                ntohs(flow.key.edge_port), max(0, mtu - (28 if ipv4 else 48) - flow.header_bytes),
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
        if flow.replied_ns == 0:
            flow.replied_ns = self.loop.now_ns
        self._touch(index, flow)
        if flow.waiting:
            flow.waiting = False
            self._loads.answer(flow.number)
        self._queue_reply(index, flow, data, size)

    cdef Flow *_flow_of_reply(self, uint32_t channel, char *data, size_t size, uint32_t *index) noexcept nogil:
        """The flow that a reply's Simple Proxy header names; NULL, and counted, where it names none of this channel."""
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
        """Let a reply leave from the address that the client wrote to; return the control's size."""
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
                # This client's: unreachable, or its queue is full. The next one's may be fine.
                self._drop(self._table.flows[self._reply_flow[done]].app, TOO_BIG if errno == EMSGSIZE else TO_CLIENT)
                done += 1
        self._reply_count = 0

    cdef int _door(self, Flow *flow) noexcept nogil:
        """A socket whose datagrams come from where a flow's client wrote to; negative where there can be none."""
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
        return door.fd

    # --- origins that fail ----------------------------------------------------------------------------------------

    cdef void _socket_error(self, uint32_t number, uint32_t index, int error) noexcept nogil:
        if error == EMSGSIZE:
            return  # An ICMP answer told of a smaller MTU; the next datagram that does not fit is refused itself.
        if number:
            self._channel_error(number - 1, error)
        else:
            self._origin_error(index, error)

    cdef void _origin_error(self, uint32_t index, int error) noexcept nogil:
        """An origin said that nobody listens there, or can not be reached: the handler re-pins the flow, or it ends."""
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

    # --- the handler's answers ------------------------------------------------------------------------------------

    cdef object _decide(self):
        """Ask the handler what becomes of new flows; one that it forgets is refused."""
        cdef list batch = []
        cdef uint32_t link = self._accepted_head
        cdef uint64_t name
        cdef Flow *flow
        while link:
            flow = &self._table.flows[link - 1]
            batch.append((
                self._name(link - 1), flow.key.listener, unmapped(flow.key.client), ntohs(flow.key.client_port),
                unmapped(flow.key.edge), ntohs(flow.key.edge_port),
                unmapped(flow.peer) if flow.dialect != NO_HEADER else None,
            ))
            link = flow.next
        self._accepted_head = self._accepted_tail = 0
        try:
            self._handler.accepted(batch)
        except Exception as exc:
            self._handler.broken(exc)
        for item in batch:
            name = (<tuple>item)[0]
            if self._find(name, FLOW_NEW) != NULL:
                self._end(<uint32_t>name, FLOW_REFUSED, 0)
        if self._ended_count >= BATCH:
            self._report()

    def open(self, uint64_t name, tuple targets, Mode mode, bytes header, uint32_t idle_timeout_ms, bint shared=False,
             int tries=1):
        """Pin a new flow to the first of `targets` (of `Target`) that can be had.

        When none can, `handler.exhausted` may name others, up to `tries` times less one. `shared` uses one socket for
        all flows of a target, which needs mode SIMPLE. `idle_timeout_ms` 0 is never. A name whose flow is over is
        ignored.
        """
        cdef Flow *flow = self._find(name, FLOW_NEW)
        if flow == NULL:
            return
        if PyBytes_GET_SIZE(header) > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {len(header)} bytes is longer than {MAX_HEADER_BYTES}")
        flow.mode = mode
        flow.header_bytes = <uint8_t>PyBytes_GET_SIZE(header)
        memcpy(flow.header, PyBytes_AS_STRING(header), flow.header_bytes)
        flow.idle_timeout_ms = idle_timeout_ms
        flow.shared = shared
        self._count(flow, True)
        self._pin(<uint32_t>name, flow, targets, 0, tries)

    def refuse(self, uint64_t name, int error):
        """Drop what a new flow sent; `error` comes back in `ended` with outcome FLOW_REFUSED."""
        if self._find(name, FLOW_NEW) != NULL:
            self._end(<uint32_t>name, FLOW_REFUSED, error)

    def move(self, uint64_t name, tuple targets):
        """Pin a flow to the first of other `targets`; its header is due again. Without one it ends."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow == NULL:
            return
        self._recall(<uint32_t>name, flow)
        self._unpin(flow)
        self._pin(<uint32_t>name, flow, targets, 0)

    def close(self, uint64_t name, int error):
        """End a flow; `error` comes back in `ended`."""
        if self._find(name, FLOW_LIVE) != NULL:
            self._end(<uint32_t>name, FLOW_CLOSED, error)

    cdef object _pin(self, uint32_t index, Flow *flow, tuple targets, uint16_t source_port, int tries=1):
        cdef Target target = None
        cdef int error = 0
        for item in targets:
            target = <Target>item
            error = self._reach(index, flow, target, source_port)
            if error == 0:
                Py_INCREF(target)
                flow.target = <PyObject *>target
                target.connected += 1
                flow.number = target.number
                self._loads.enter(flow.number)
                flow.state = FLOW_LIVE
                flow.header_due = flow.mode != PLAIN
                flow.origin_port = 0
                if flow.standing == UNPLACED:
                    place_newest(&self._table, index, YOUNG_SHARED if flow.shared else YOUNG, self.loop.now_ms)
                if flow.standing & CONFIRMED:
                    self._confirm(index, flow)
                return
            self._handler.attempt_failed(flow.key.listener, target, error)
        if tries > 1 and target is not None:
            more = self._handler.exhausted(
                self._name(index), flow.key.listener, target, unmapped(flow.key.client), ntohs(flow.key.client_port))
            if more:
                self._pin(index, flow, more, source_port, tries - 1)
                return
        self._end(index, FLOW_CONNECT_FAILED, error)

    cdef int _reach(self, uint32_t index, Flow *flow, Target target, uint16_t source_port):
        """Give a flow a socket towards `target`; return 0 or an errno."""
        cdef int fd, source = flow.source
        if flow.shared:
            return self._join_channel(flow, target)
        if self._sockets >= self._max_sockets:
            self._evict(True)
        fd = self._inherited.pop(index, -1)
        if fd < 0:
            fd = self._origin_socket(flow, target, source_port, &source)
        if (fd == -EMFILE or fd == -ENFILE or fd == -EADDRNOTAVAIL) and self._evict(True):
            fd = self._origin_socket(flow, target, source_port, &source)
        if fd < 0:
            return -fd
        flow.fd = fd
        flow.source = <uint8_t>source
        flow.channel = 0
        self._sockets += 1
        self.loop.watch(fd, self._token(FLOW_SIDE, flow.generation, index), EPOLLIN | EPOLLET)
        return 0

    cdef int _origin_socket(self, Flow *flow, Target target, uint16_t source_port, int *source) noexcept:
        cdef bint mapped = memcmp(flow.key.client, MAPPED, 12) == 0
        if not target.transparent:
            return target.connect_datagram(source_port, source)
        return target.connect_as(
            SOCK_DGRAM, flow.key.client + (12 if mapped else 0), 4 if mapped else 16, flow.key.client_port)

    cdef uint64_t _token(self, uint64_t side, uint32_t generation, uint32_t index) noexcept nogil:
        return self.part_token | side << SIDE_SHIFT | <uint64_t>generation << GENERATION_SHIFT | index

    cdef int _join_channel(self, Flow *flow, Target target):
        cdef uint32_t number = target.channel
        cdef Channel *channel
        cdef int fd, source
        if number and self._channels[number - 1].listener == flow.key.listener:
            number -= 1
            channel = &self._channels[number]
        else:
            fd = target.connect_datagram(0, &source)
            if fd < 0:
                return -fd
            # The replies of all its flows queue up here. The first is cut to net.core.rmem_max, the second needs root.
            set_int(fd, SOL_SOCKET, SO_RCVBUF, CHANNEL_QUEUE_BYTES)
            set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, CHANNEL_QUEUE_BYTES)
            number = self._free_channel()
            target.channel = number + 1
            channel = &self._channels[number]
            channel.fd = fd
            channel.listener = flow.key.listener
            channel.flows = 0
            channel.target = <PyObject *>target
            self.loop.watch(fd, self._token(CHANNEL_SIDE, channel.generation, number), EPOLLIN | EPOLLET)
        channel.flows += 1
        flow.channel = number + 1
        flow.fd = channel.fd
        return 0

    cdef uint32_t _free_channel(self) except? 0xFFFFFFFF:
        """Return the index of a channel that is closed, or of a new one."""
        cdef uint32_t number
        for number in range(self._channel_count):
            if self._channels[number].fd < 0:
                return number
        cdef Channel *grown = <Channel *>realloc(self._channels, (self._channel_count + 1) * sizeof(Channel))
        if grown == NULL:
            raise MemoryError()
        self._channels = grown
        memset(&grown[self._channel_count], 0, sizeof(Channel))
        self._channel_count += 1
        return self._channel_count - 1

    cdef void _unpin(self, Flow *flow) noexcept nogil:
        """Give up a flow's socket, or its share of a channel."""
        cdef Channel *channel
        if flow.target != NULL:
            if flow.waiting:
                self._loads.answer(flow.number)
            self._loads.leave(flow.number)
            flow.waiting = False
        if flow.channel:
            channel = &self._channels[flow.channel - 1]
            channel.flows -= 1
            if channel.flows == 0:
                close(channel.fd)
                with gil:
                    if (<Target>channel.target).channel == flow.channel:
                        (<Target>channel.target).channel = 0
                channel.fd = -1
                channel.generation = (channel.generation + 1) & GENERATION_MASK
        elif flow.fd >= 0:
            close(flow.fd)
            self._sockets -= 1
        flow.channel = 0
        flow.fd = -1
        if flow.target != NULL and flow.state == FLOW_LIVE:
            with gil:
                Py_DECREF(<object>flow.target)
            flow.target = NULL

    # --- ends -----------------------------------------------------------------------------------------------------

    cdef void _end(self, uint32_t index, int outcome, int error) noexcept nogil:
        """Close a flow and queue its report, which names the target still."""
        cdef Flow *flow = &self._table.flows[index]
        self._recall(index, flow)
        flow.state = FLOW_ENDED
        flow.outcome = outcome
        flow.error = error
        flow.ended_ns = self.loop.now_ns
        if flow.counted:
            self._count(flow, False)
        self._unpin(flow)
        unindex_flow(&self._table, index)
        if flow.dialect == PROXY_HEADER:
            unindex_peer(&self._table, index)
        unplace(&self._table, index)
        self._table.live -= 1
        flow.next = 0
        if self._ended_head == 0:
            self._ended_head = index + 1
        else:
            self._table.flows[self._ended_tail - 1].next = index + 1
        self._ended_tail = index + 1
        self._ended_count += 1

    cdef uint64_t _group(self, Flow *flow) noexcept nogil:
        return self._apps[APP_WORDS * flow.app] if flow.app < self._apps_room else 0

    cdef void _count(self, Flow *flow, bint enters) noexcept nogil:
        cdef const uint8_t *client = flow.key.client
        cdef int length = 16
        if memcmp(client, MAPPED, 12) == 0:
            client += 12
            length = 4
        flow.counted = enters
        if enters:
            self._census.enter(UDP_NODE, self._group(flow), client, length)
        else:
            self._census.leave(UDP_NODE, self._group(flow), client, length)

    cdef object _report(self):
        cdef list batch = []
        cdef uint32_t link = self._ended_head, index
        cdef Flow *flow
        self._ended_head = self._ended_tail = self._ended_count = 0
        while link:
            index = link - 1
            flow = &self._table.flows[index]
            batch.append((
                flow.key.listener,
                flow.outcome,
                flow.error,
                unmapped(flow.key.client),
                ntohs(flow.key.client_port),
                <object>flow.target if flow.target != NULL else None,
                flow.created_ns,
                flow.replied_ns,
                flow.ended_ns,
                flow.bytes[CLIENT],
                flow.bytes[ORIGIN],
                flow.datagrams[CLIENT],
                flow.datagrams[ORIGIN],
                self._name(index),
            ))
            if flow.target != NULL:
                Py_DECREF(<object>flow.target)
                flow.target = NULL
            link = flow.next
            free_flow(&self._table, index)
        self._handler.ended(batch)

    # --- events ---------------------------------------------------------------------------------------------------

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
        while self._accepted_head or self._ended_head:
            if self._accepted_head:
                self._decide()
            if self._ended_head:
                self._report()
        return 0

    cdef bint tick(self) noexcept:
        """Once a second: end the flows that are idle."""
        cdef uint32_t index
        cdef Flow *flow
        if self.loop.now_ms - self._last_scan_ms < IDLE_TICK_MS:
            return False
        self._last_scan_ms = self.loop.now_ms
        self._too_big_reports = 0
        if self._offload is not None:
            self._offload.renew(self.loop.now_ns)
            self._read_back_all()
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if (flow.state == FLOW_LIVE and flow.target != NULL and flow.idle_timeout_ms
                    and self.loop.now_ms - flow.active_ms >= flow.idle_timeout_ms):
                self._end(index, FLOW_IDLE, 0)
            if self._ended_count >= BATCH:
                try:
                    self._report()
                except Exception as exc:
                    self._handler.broken(exc)
        return False

    # === Public API ===

    def add_listener(self, int fd, uint32_t app, bytes address, uint16_t port):
        """Take datagrams from a bound descriptor, which stays the caller's; return the listener's number.

        Numbers are never used twice. An empty `address` is a wildcard: the socket must tell each datagram's address
        (IP_PKTINFO, IPV6_PKTINFO). Without a port (0) TPROXY brings what was sent to any: each datagram tells the port
        too (IP_RECVORIGDSTADDR), and answers leave from there.
        """
        cdef uint32_t number = self._listener_count
        cdef sockaddr_in6 bound
        cdef socklen_t length = sizeof(sockaddr_in6)
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
        grow_counters(&self._counts, &self._app_count, app + 1, COUNTS)
        self.loop.watch(fd, LISTENER_TOKEN | self.part_token | number, EPOLLIN | EPOLLET)
        return number

    def set_app(self, uint32_t app, uint64_t group, bint told=False, tuple paces=(0, 0, 0, 0, 0, 0)):
        """Say what there is to know of an app.

        Args:
            app: Its slot.
            group: Its number in the census; it can not change while there are flows.
            told: Its datagrams come from proxies, with headers that tell who the client is.
            paces: Per second, of the app, of each client and of each prefix: bytes each way; then datagrams from
                clients likewise. 0 for any number.
        """
        cdef bint changed = False
        grow_counters(&self._apps, &self._apps_room, app + 1, APP_WORDS)
        self._apps[APP_WORDS * app] = group
        self._apps[APP_WORDS * app + 1] = told
        for word in range(6):
            changed |= self._apps[APP_WORDS * app + BYTES + word] != <uint64_t>paces[word]
            self._apps[APP_WORDS * app + BYTES + word] = paces[word]
        if changed and self._offload is not None:
            self._decide_anew(app)

    def set_offload(self, Offload offload):
        """Let the kernel move the datagrams of confirmed flows from now on, or (None) no longer."""
        cdef uint32_t index
        if self._offload is not None:
            for index in range(self._table.file.used):
                if self._table.flows[index].state == FLOW_LIVE and self._table.flows[index].target != NULL:
                    self._recall(index, &self._table.flows[index])
        self._offload = offload
        if offload is not None:
            offload.renew(self.loop.now_ns)
            self._decide_anew(-1)

    def remove_listener(self, uint32_t number, int error):
        """Take nothing more from a listener, and end its flows: their replies have no socket to leave from."""
        if number >= self._listener_count or not self._listeners[number].in_use:
            return
        self._flush_replies()
        self._listeners[number].in_use = False
        self.loop.unwatch(self._listeners[number].fd)
        for name in self.flows(listener=number):
            self.close(name, error)
        if self._ended_head:
            self._report()

    def flows(self, *, listener=None, targets=None):
        """Return the names of live flows: those of a listener, or those pinned to any of `targets`, or all."""
        cdef uint32_t index
        cdef Flow *flow
        cdef list names = []
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if (flow.state == FLOW_LIVE and flow.target != NULL
                    and (listener is None or flow.key.listener == listener)
                    and (targets is None or <object>flow.target in targets)):
                names.append(self._name(index))
        return names

    def flow(self, uint64_t name):
        """Return (listener, target, our port) of a live flow; None when it is over."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow == NULL or flow.target == NULL:
            return None
        return flow.key.listener, <object>flow.target, ntohs(flow.local_port)

    def client_of(self, uint64_t name):
        """Return (address, port) of a flow's client, of an ended flow too while it is being reported.

        Raises:
            KeyError: If there is no such flow.
        """
        cdef uint32_t index = <uint32_t>name
        if index >= self._table.file.used or self._table.flows[index].generation != name >> 32:
            raise KeyError(name)
        return unmapped(self._table.flows[index].key.client), ntohs(self._table.flows[index].key.client_port)

    def close_flows(self, int error, uint64_t idle_ms=0):
        """End the flows that were idle for at least `idle_ms`; `error` comes back in `ended`."""
        cdef uint32_t index
        cdef Flow *flow
        self.loop.read_clock()
        self._read_back_all()
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if (flow.state == FLOW_LIVE and flow.target != NULL
                    and self.loop.now_ms - flow.active_ms >= idle_ms):
                self._end(index, FLOW_CLOSED, error)
        if self._ended_head:
            self._report()

    def release(self):
        """Leave all flows to another worker, which recovers them from the memory file; this engine is empty afterwards.

        Returns (index, descriptor) of each flow that has a socket of its own. They are the caller's, and the other
        engine's to `inherit`. Flows that share a socket get another one there.
        """
        cdef uint32_t index, number
        cdef Flow *flow
        cdef list handed = []
        self._flush_replies()
        for number in range(self._listener_count):
            if self._listeners[number].in_use:
                self._listeners[number].in_use = False
                self.loop.unwatch(self._listeners[number].fd)
        if self._ended_head:
            self._report()
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if flow.state != FLOW_LIVE or flow.target == NULL:
                continue
            self._note_origin(flow)
            self._read_back(index, flow)
            if flow.channel == 0:
                self.loop.unwatch(flow.fd)
                handed.append((index, flow.fd))
                flow.fd = -1
                self._sockets -= 1
            self._unpin(flow)
        self._offload = None
        self._forget_table()
        return handed

    cdef int _forget_table(self) except -1:
        """Have a table without flows, of memory that nobody shares."""
        cdef FlowTable *table = &self._table
        cdef void *empty = mmap(
            NULL, table.file_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if empty == MAP_FAILED:
            raise MemoryError()
        munmap(table.file, table.file_bytes)
        table.file = <FileHeader *>empty
        table.flows = <Flow *>(<char *>empty + FILE_HEADER_BYTES)
        table.live = table.free_head = 0
        memset(table.buckets, 0, (<size_t>table.bucket_mask + 1) * sizeof(uint32_t))
        memset(table.peer_buckets, 0, (<size_t>table.bucket_mask + 1) * sizeof(uint32_t))
        memset(table.oldest, 0, sizeof(table.oldest))
        memset(table.newest, 0, sizeof(table.newest))
        return 0

    def inherit(self, dict sockets):
        """Take the sockets of flows that another engine released, by index: `adopt` goes on with them."""
        self._inherited = sockets

    def drain(self):
        """Take no new flows."""
        self._draining = True

    def recovered(self):
        """Return what a worker before this one left: (name, our address, our port, origin, origin port).

        Each is adopted or discarded by its name before the first listener's datagrams are read.
        """
        cdef uint32_t index
        cdef Flow *flow
        cdef list found = []
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if flow.state == FLOW_LIVE and flow.target == NULL:
                found.append((
                    self._name(index), unmapped(flow.local), ntohs(flow.local_port), unmapped(flow.origin),
                    ntohs(flow.origin_port),
                ))
        return found

    def adopt(self, uint64_t name, uint32_t listener, Target target):
        """Go on with a recovered flow: same origin, and the same source port towards it where that is free."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        cdef uint32_t index = <uint32_t>name
        cdef uint16_t source_port
        if flow == NULL or flow.target != NULL or listener >= self._listener_count:
            return
        source_port = flow.source_port
        flow.key.listener = listener
        flow.app = self._listeners[listener].app
        flow.chain_head = NO_SLOT
        flow.bytes[CLIENT] = flow.bytes[ORIGIN] = flow.datagrams[CLIENT] = flow.datagrams[ORIGIN] = 0
        self._table.live += 1
        self._count(flow, True)
        index_flow(&self._table, index)
        if flow.dialect == PROXY_HEADER:
            index_peer(&self._table, index)
        place_newest(&self._table, index, flow.standing & (STANDINGS - 1), self.loop.now_ms)
        self._read_back(index, flow)
        flow.plane = UNDECIDED
        flow.active_ms = self.loop.now_ms
        self._pin(index, flow, (target,), source_port)
        if flow.mode == FIRST or flow.mode == STANDALONE:
            flow.header_due = False

    def discard(self, uint64_t name):
        """Forget a recovered flow."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow != NULL and flow.target == NULL:
            free_flow(&self._table, <uint32_t>name)

    cdef void _count_kernel_drops(self) noexcept:
        cdef uint32_t memory[SK_MEMINFO_DROPS + 1]
        cdef socklen_t length
        cdef uint32_t number
        cdef Listener *listener
        for number in range(self._listener_count):
            listener = &self._listeners[number]
            if not listener.in_use or not listener.was_read:
                continue
            listener.was_read = False
            length = sizeof(memory)
            if getsockopt(listener.fd, SOL_SOCKET, SO_MEMINFO, memory, &length) == 0:
                # The kernel's counter has 32 bits too, and wraps.
                self._counts[COUNTS * listener.app + 4 + QUEUE_FULL] += <uint32_t>(
                    memory[SK_MEMINFO_DROPS] - listener.dropped)
                listener.dropped = memory[SK_MEMINFO_DROPS]

    def take_counts(self):
        """Return what was counted since the last call, per app that saw anything.

        Each is (app, bytes from clients, bytes from origins, datagrams from clients, datagrams from origins,
        *drops in the order of `Drop`).
        """
        cdef uint32_t app
        cdef uint64_t *counts
        cdef int i
        cdef list taken = []
        cdef bint any_counted
        self._count_kernel_drops()
        self._read_back_all()
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

    @property
    def active(self):
        """Flows that are not over."""
        return self._table.live

    @property
    def offloaded(self):
        """Flows whose datagrams the kernel moves."""
        return 0 if self._offload is None else self._offload.active

    @property
    def evicted(self):
        """Flows that ended early to make room."""
        return self._evicted

    @property
    def sockets(self):
        """Flows that have sockets of their own."""
        return self._sockets

    @property
    def max_sockets(self):
        """As many flows may have sockets of their own."""
        return self._max_sockets

    @max_sockets.setter
    def max_sockets(self, uint32_t value):
        self._max_sockets = max(value, 1)
