# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The life cycle of UDP flows: created, assigned to origins, offloaded to the kernel, evicted, ended, recovered.

Datagrams are forwarded by the engine that extends this (`datagrams.pyx`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EADDRNOTAVAIL, EMFILE, ENFILE, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.census cimport Census, Rates
from spectrum.engine.flows cimport *
from spectrum.engine.headers cimport NO_HEADER, PROXY_HEADER
from spectrum.engine.linux cimport *
from spectrum.engine.lookout cimport Lookout
from spectrum.engine.loop cimport GENERATION_MASK, GENERATION_SHIFT, IDLE_TICK_MS, SIDE_SHIFT, Loop, Part
from spectrum.engine.offload cimport (
    OFFLOAD_KEEPS,
    OFFLOAD_LENIENT,
    OFFLOAD_PUTS,
    OFFLOAD_STRIPS,
    Offload,
    offload_tally,
)
from spectrum.engine.progress cimport Progress
from spectrum.engine.shared cimport Loads
from spectrum.engine.sockets cimport MAPPED, map_address, set_int, unmapped
from spectrum.engine.strangers cimport Strangers
from spectrum.engine.target cimport Target, count_moved

import secrets

cdef enum:
    CHANNEL_QUEUE_BYTES = 4194304
    # A flow moves in the list of least recently used ones at most once per this time.
    PLACE_STEP_MS = 100
    # The sources of open flows are noted that often, so that none becomes a stranger.
    NOTE_STEP_MS = 60000
    # Offloaded flows that are inspected to find the one that is idle the longest.
    MAX_EVICTION_LOOKS = 16

# Places of the table beyond the limit, for ended flows that are not reported yet.
ENDED_FLOWS = 4 * BATCH


cdef class FlowKeeper(Part):
    """The UDP flows of one worker.

    Args:
        loop: The event loop.
        handler: Its `accepted`, `trusts`, `attempt_failed`, `exhausted`, `origin_failed`, `channel_failed`, `too_big`,
            `told`, `ended` and `broken` are called from within the loop's `process`.
        memory: A memory file's descriptor; flows in it can be adopted, see `recovered`.
        max_flows: The limit of flows; beyond it the oldest idle flow is evicted.
        max_sockets: The limit of flows with sockets of their own.
        loads: Counts the flows of each origin.
        census: Counts the flows of each app and client.
        rates: The rate limiters of apps and clients, in all workers.
        lookout: Samples datagrams for detection of attacks, and applies its rules.

    Attributes:
        tells_connects: Whether a flow is reported by `told` when its origin replies for the first time.
    """

    def __init__(self, Loop loop, handler, int memory, *, uint32_t max_flows=1000, uint32_t max_sockets=0x7FFFFFFF,
                 Loads loads=None, Census census=None, Rates rates=None, Lookout lookout=None):
        self.loop = loop
        self._handler = handler
        self._loads = loads if loads is not None else Loads()
        self._census = census if census is not None else Census()
        self._rates = rates if rates is not None else Rates()
        self._lookout = lookout if lookout is not None else Lookout(self._rates)
        self._strangers = Strangers()
        self._inherited = {}
        self._short_channels = set()
        self._max_flows = max(max_flows, 1)
        self._max_sockets = max(max_sockets, 1)
        self._last_scan_ms = loop.now_ms
        self._progress = Progress()
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
        free(self._new_connects.names)
        free(self._table.buckets)
        free(self._table.peer_buckets)
        free(self._channels)
        free(self._listeners)
        free(self._counts)
        free(self._apps)

    cdef void _flush_replies(self) noexcept nogil:
        """Send the queued replies to clients; the UDP engine implements it."""

    cdef void _reached(self, Flow *flow) noexcept:
        """Read the path MTU to an origin; the UDP engine implements it."""

    # --- the table ------------------------------------------------------------------------------------------------

    cdef int _map(self, int memory) except -1:
        """Map the memory file; keep only those of its flows that this worker can continue."""
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
            raise OSError(errno, "the table of flows cannot be mapped")
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
        """Return a new flow for `key`; NULL if no flow can be evicted for it."""
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
        """Evict the least recently used young flow, or else the least recently used flow; return False if none."""
        cdef uint32_t own, shared
        cdef int _
        for _ in range(MAX_EVICTION_LOOKS):
            own, shared = self._table.oldest[<int>YOUNG], self._table.oldest[<int>YOUNG_SHARED]
            if own == 0 and (shared == 0 or with_socket):
                own = self._table.oldest[<int>CONFIRMED]
                shared = self._table.oldest[<int>CONFIRMED_SHARED]
            # An offloaded flow may have been used since its place in the list was set.
            if own == 0 or not self._read_back(own - 1, &self._table.flows[own - 1]):
                break
        return self._evict_older(own, <uint32_t>0 if with_socket else shared)

    cdef bint _evict_older(self, uint32_t link, uint32_t other) noexcept nogil:
        """End the older of two flows (index + 1; 0 for none), unless it is being sent in this batch."""
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
        """Move a flow to the end of its list."""
        flow.active_ms = self.loop.now_ms
        if self.loop.now_ms - flow.placed_ms >= PLACE_STEP_MS:
            unplace(&self._table, index)
            place_newest(&self._table, index, flow.standing, self.loop.now_ms)

    cdef void _confirm(self, uint32_t index, Flow *flow) noexcept nogil:
        """Confirm a flow: its client sent again after a reply. A replacement worker will continue it."""
        unplace(&self._table, index)
        place_newest(&self._table, index, flow.standing | CONFIRMED, self.loop.now_ms)
        self._note_origin(flow)
        self._strangers.note(flow.key.client, self.loop.now_ns)
        if self._lookout.on and flow.app < self._apps_room and not self._apps[APP_WORDS * flow.app + 1] & TOLD:
            self._lookout.note_source(flow.key.client, self.loop.now_ns)
        self._offer(index, flow)

    cdef void _note_origin(self, Flow *flow) noexcept nogil:
        """Write into the memory file the data by which another worker can continue a flow."""
        cdef sockaddr_in6 address
        cdef socklen_t length = sizeof(sockaddr_in6)
        if flow.channel == 0 and getsockname(flow.fd, <sockaddr *>&address, &length) == 0:
            flow.source_port = address.sin6_port
        with gil:
            map_address(&(<Target>flow.target).address, flow.origin)
            flow.origin_port = (<Target>flow.target).address.sin6_port

    # --- offload ------------------------------------------------------------------------------------------------------

    cdef void _offer(self, uint32_t index, Flow *flow) noexcept nogil:
        """Offload a confirmed flow to the kernel, if its program supports the flow."""
        cdef sockaddr_in6 ours
        cdef socklen_t length = sizeof(sockaddr_in6)
        cdef uint8_t to_origin = OFFLOAD_PUTS if flow.mode >= EACH else OFFLOAD_KEEPS
        cdef uint8_t to_client = OFFLOAD_KEEPS
        cdef int side
        if self._offload is None or flow.plane != UNDECIDED:
            return
        if flow.header_due and to_origin == OFFLOAD_KEEPS:
            return  # the one that is evicted first
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
        """Return whether the kernel's program supports a flow."""
        cdef uint64_t *app = self._apps + APP_WORDS * flow.app
        cdef bint ipv4 = memcmp(flow.peer, MAPPED, 12) == 0
        cdef int i
        if flow.channel or flow.dialect != NO_HEADER or (flow.mode >= EACH and flow.header_bytes % 2):
            return False
        if ipv4 != (memcmp(flow.origin, MAPPED, 12) == 0):
            return False
        # Link-local addresses are valid on one interface only.
        if flow.scope or (flow.origin[0] == 0xFE and flow.origin[1] & 0xC0 == 0x80):
            return False
        if flow.app < self._apps_room:
            for i in range(BYTES, APP_WORDS):
                if app[i]:
                    return False  # its rates are charged here
        return True

    cdef bint _read_back(self, uint32_t index, Flow *flow) noexcept nogil:
        """Count what the kernel forwarded since the last call; return whether the flow moved in its list."""
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
            count_moved(flow.target, side, size)
            last_ms = max(last_ms, tally.last_ns // 1000000)
            if side == ORIGIN and flow.waiting:
                flow.waiting = False
                self._loads.answer(flow.number)
        flow.active_ms = max(flow.active_ms, last_ms)
        # To the second: every flow is read once per second.
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
        """End the offload of a flow."""
        if flow.plane == IN_KERNEL and self._offload is not None:
            self._offload.leave(index)
            self._read_back(index, flow)
        flow.plane = UNDECIDED

    cdef void _decide_anew(self, int64_t app) noexcept nogil:
        """Decide again for the flows of one app, or of all (-1), whether the kernel forwards them."""
        cdef uint32_t index
        cdef Flow *flow
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if flow.state == FLOW_LIVE and flow.target != NULL and (app < 0 or flow.app == app):
                self._recall(index, flow)
                if flow.standing & CONFIRMED:
                    self._offer(index, flow)

    # --- the handler's answers ------------------------------------------------------------------------------------

    cdef object _decide(self):
        """Ask the handler about new flows; flows without an answer are refused."""
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
        """Assign a new flow to the first of `targets` (`Target`) for which a socket can be connected.

        If none can, `handler.exhausted` may name others, up to `tries` times less one. With `shared`, one socket serves
        all flows of a target, which needs mode SIMPLE. `idle_timeout_ms` 0 is never. The name of an ended flow is
        ignored.
        """
        cdef Flow *flow = self._find(name, FLOW_NEW)
        if flow == NULL:
            return
        self._speak(flow, mode, header)
        flow.idle_timeout_ms = idle_timeout_ms
        flow.shared = shared
        self._count(flow, True)
        self._pin(<uint32_t>name, flow, targets, 0, tries)

    cdef int _speak(self, Flow *flow, Mode mode, bytes header) except -1:
        if PyBytes_GET_SIZE(header) > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {len(header)} bytes is longer than {MAX_HEADER_BYTES}")
        flow.mode = mode
        flow.header_bytes = <uint8_t>PyBytes_GET_SIZE(header)
        memcpy(flow.header, PyBytes_AS_STRING(header), flow.header_bytes)
        flow.header_due = mode != PLAIN
        return 0

    def adapt(self, uint64_t name, Mode mode, bytes header, uint32_t idle_timeout_ms, bint shared=False):
        """Give a live flow the settings that `open` would give it now; a changed header is sent again.

        Returns True if the flow must be moved, to its present target or another one, because it is to share a socket
        from now on, or to have its own.
        """
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        cdef uint32_t index = <uint32_t>name
        if flow == NULL:
            return False
        flow.idle_timeout_ms = idle_timeout_ms
        if (flow.mode != mode or flow.header_bytes != PyBytes_GET_SIZE(header)
                or memcmp(flow.header, PyBytes_AS_STRING(header), flow.header_bytes) != 0):
            self._recall(index, flow)
            self._speak(flow, mode, header)
            if flow.standing & CONFIRMED:
                self._offer(index, flow)
        if flow.shared == shared:
            return False
        flow.shared = shared
        unplace(&self._table, index)
        place_newest(&self._table, index, flow.standing ^ YOUNG_SHARED, self.loop.now_ms)
        return True

    def refuse(self, uint64_t name, int error):
        """Drop the datagrams of a new flow; `error` is reported in `ended` with outcome FLOW_REFUSED."""
        if self._find(name, FLOW_NEW) != NULL:
            self._end(<uint32_t>name, FLOW_REFUSED, error)

    def move(self, uint64_t name, tuple targets):
        """Assign a flow to the first of other `targets`, and send its header again. Without a target it ends."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow == NULL:
            return
        self._recall(<uint32_t>name, flow)
        self._unpin(flow)
        self._pin(<uint32_t>name, flow, targets, 0)

    def close(self, uint64_t name, int error):
        """End a flow; `error` is reported in `ended`."""
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
                flow.number = target.place
                self._loads.enter(flow.number)
                flow.state = FLOW_LIVE
                flow.header_due = flow.mode != PLAIN
                flow.origin_port = 0
                self._reached(flow)
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
        """Connect a flow to `target`, by its own socket or a channel; return 0 or an errno."""
        cdef int fd, error, source = flow.source
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
        error = self.loop.watch(fd, self._token(FLOW_SIDE, flow.generation, index), EPOLLIN | EPOLLET)
        if error:
            close(fd)
            return error
        flow.fd = fd
        flow.source = <uint8_t>source
        flow.channel = 0
        self._sockets += 1
        return 0

    cdef int _origin_socket(self, Flow *flow, Target target, uint16_t source_port, int *source) noexcept:
        cdef bint mapped = memcmp(flow.key.client, MAPPED, 12) == 0
        if not target.transparent:
            return target.connect_datagram(source_port, source)
        return target.connect_as(
            SOCK_DGRAM, flow.key.client + (12 if mapped else 0), 4 if mapped else 16, flow.key.client_port, False)

    cdef uint64_t _token(self, uint64_t side, uint32_t generation, uint32_t index) noexcept nogil:
        return self.part_token | side << SIDE_SHIFT | <uint64_t>generation << GENERATION_SHIFT | index

    cdef int _join_channel(self, Flow *flow, Target target):
        cdef int wanted = CHANNEL_QUEUE_BYTES
        cdef uint32_t number = target.channel
        cdef Channel *channel
        cdef int fd, error, source
        if number and self._channels[number - 1].listener == flow.key.listener:
            number -= 1
            channel = &self._channels[number]
        else:
            fd = target.connect_datagram(0, &source)
            if fd < 0:
                return -fd
            number = self._free_channel()
            # The replies of all its flows are queued here. The first option is capped at net.core.rmem_max, the second
            # needs CAP_NET_ADMIN.
            set_int(fd, SOL_SOCKET, SO_RCVBUF, CHANNEL_QUEUE_BYTES)
            if setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(int)) < 0:
                self._short_channels.add(number)
            channel = &self._channels[number]
            error = self.loop.watch(fd, self._token(CHANNEL_SIDE, channel.generation, number), EPOLLIN | EPOLLET)
            if error:
                close(fd)
                channel.fd = -1
                return error
            target.channel = number + 1
            channel.fd = fd
            channel.listener = flow.key.listener
            channel.flows = 0
            channel.target = <PyObject *>target
        channel.flows += 1
        flow.channel = number + 1
        flow.fd = channel.fd
        return 0

    cdef uint32_t _free_channel(self) except? 0xFFFFFFFF:
        """Return the index of a closed channel, or of a new one."""
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
        """Close a flow's socket, or release its channel."""
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
        """Close a flow and queue its report, which still names the target."""
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
        cdef uint64_t[4] since
        cdef Flow *flow
        if self._new_connects.count:
            self._tell_connected()
        self._ended_head = self._ended_tail = self._ended_count = 0
        while link:
            index = link - 1
            flow = &self._table.flows[index]
            batch.append(self._item(
                index, flow, flow.outcome, flow.error, since if self._left(index, flow, since) else NULL))
            if flow.target != NULL:
                Py_DECREF(<object>flow.target)
                flow.target = NULL
            link = flow.next
            free_flow(&self._table, index)
        self._handler.ended(batch)

    cdef bint _left(self, uint32_t index, Flow *flow, uint64_t *since) noexcept nogil:
        """Fill in the traffic of an ended flow since the last record of its progress; return False if there is none."""
        cdef uint64_t[4] counts
        memcpy(counts, flow.bytes, 16)
        memcpy(&counts[2], flow.datagrams, 16)
        return self._progress.left_since(index, flow.generation, counts, since)

    cdef tuple _item(self, uint32_t index, Flow *flow, int outcome, int error, const uint64_t *since):
        """Return the report of a flow for the handler; `since` is NULL if its progress was never reported."""
        return (
            flow.key.listener,
            outcome,
            error,
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
            unmapped(flow.key.edge),
            ntohs(flow.key.edge_port),
            (since[0], since[1], since[2], since[3]) if since != NULL else None,
        )

    # --- reports of open flows ----------------------------------------------------------------------------------------

    cdef int _tell_connected(self) except -1:
        """Report the flows whose origin replied for the first time, before the ends of any."""
        cdef list batch = []
        cdef uint32_t place, index, count = self._new_connects.count
        cdef Flow *flow
        self._new_connects.count = 0
        for place in range(count):
            index = <uint32_t>self._new_connects.names[place]
            flow = &self._table.flows[index]
            if flow.state != FLOW_FREE and flow.generation == self._new_connects.names[place] >> 32:
                batch.append(self._item(index, flow, FLOW_CONNECTED, 0, NULL))
        if batch:
            self._handler.told(batch)
        return 0

    cdef int _tell_progress(self) except -1:
        """Report the progress of flows whose turn it is, and that are an interval old."""
        cdef list batch = []
        cdef uint32_t index, places = self._table.file.used
        cdef uint32_t due = self._progress.due(places, self.loop.now_ms) if places else 0
        cdef uint64_t longest_ns = self.loop.now_ns - self._progress.interval_ms * 1000000
        cdef uint64_t[4] counts
        cdef uint64_t[4] since
        cdef Flow *flow
        for _ in range(due):
            index = self._progress.next_place(places)
            flow = &self._table.flows[index]
            if flow.state != FLOW_LIVE or flow.target == NULL or flow.created_ns > longest_ns:
                continue
            self._read_back(index, flow)
            memcpy(counts, flow.bytes, 16)
            memcpy(&counts[2], flow.datagrams, 16)
            flow.ended_ns = self.loop.now_ns  # so far; set again at the end
            if self._progress.take_since(index, flow.generation, counts, since):
                batch.append(self._item(index, flow, FLOW_PROGRESS, 0, since))
        if batch:
            self._handler.told(batch)
        return 0

    # --- time -----------------------------------------------------------------------------------------------------

    cdef bint tick(self) noexcept:
        """End the idle flows; called once a second."""
        cdef uint32_t index
        cdef Flow *flow
        cdef bint notes, soon = self._progress.interval_ms != 0 and self._table.live != 0
        if soon:
            try:
                self._tell_progress()
            except Exception as exc:
                self._handler.broken(exc)
        if self.loop.now_ms - self._last_scan_ms < IDLE_TICK_MS:
            return soon
        self._last_scan_ms = self.loop.now_ms
        self._too_big_reports = 0
        if self._offload is not None:
            self._offload.renew(self.loop.now_ns)
            self._read_back_all()
        notes = self.loop.now_ms - self._last_note_ms >= NOTE_STEP_MS
        if notes:
            self._last_note_ms = self.loop.now_ms
        for index in range(self._table.file.used):
            flow = &self._table.flows[index]
            if notes and flow.state == FLOW_LIVE and flow.standing & CONFIRMED:
                self._strangers.note(flow.key.client, self.loop.now_ns)
            if (flow.state == FLOW_LIVE and flow.target != NULL and flow.idle_timeout_ms
                    and self.loop.now_ms - flow.active_ms >= flow.idle_timeout_ms):
                self._end(index, FLOW_IDLE, 0)
            if self._ended_count >= BATCH:
                try:
                    self._report()
                except Exception as exc:
                    self._handler.broken(exc)
        return soon

    # --- hand-over to another worker ----------------------------------------------------------------------------------

    cdef int _forget_table(self) except -1:
        """Replace the table by an empty one in private memory."""
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

    # === Public API ===

    def set_offload(self, Offload offload):
        """Offload confirmed flows to the kernel from now on, or (None) no longer."""
        cdef uint32_t index
        if self._offload is not None:
            for index in range(self._table.file.used):
                if self._table.flows[index].state == FLOW_LIVE and self._table.flows[index].target != NULL:
                    self._recall(index, &self._table.flows[index])
        self._offload = offload
        if offload is not None:
            offload.renew(self.loop.now_ns)
            self._decide_anew(-1)

    def flows(self, *, listener=None, targets=None):
        """Return the names of live flows: of a listener, or with one of `targets`, or all."""
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

    def look(self, uint32_t first, uint32_t count):
        """Return the live flows in `count` places from `first` on, and the next place; 0 after the last one.

        As `Sessions.look`. The place of a flow does not change. Bytes are counted since this worker has the flow; those
        that the kernel forwarded, once a second.
        """
        cdef uint32_t index, end = self._table.file.used
        cdef uint32_t last = min(<uint64_t>first + count, <uint64_t>end)
        cdef Flow *flow
        cdef list seen = []
        self.loop.read_clock()
        for index in range(first, last):
            flow = &self._table.flows[index]
            if flow.state != FLOW_LIVE or flow.target == NULL:
                continue
            seen.append((
                self._name(index),
                flow.key.listener,
                "confirmed" if flow.standing & CONFIRMED else "young",
                unmapped(flow.key.client),
                ntohs(flow.key.client_port),
                unmapped(flow.key.edge),
                ntohs(flow.key.edge_port),
                <object>flow.target,
                (self.loop.now_ns - flow.created_ns) // 1000000,
                self.loop.now_ms - flow.active_ms,
                flow.bytes[CLIENT],
                flow.bytes[ORIGIN],
            ))
        return seen, last if last < end else 0

    def flow(self, uint64_t name):
        """Return (listener, target, our port) of a live flow; None if it has ended."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow == NULL or flow.target == NULL:
            return None
        return flow.key.listener, <object>flow.target, ntohs(flow.local_port)

    def client_of(self, uint64_t name):
        """Return (address, port) of a flow's client, also of an ended flow while it is being reported.

        Raises:
            KeyError: If there is no such flow.
        """
        cdef uint32_t index = <uint32_t>name
        if index >= self._table.file.used or self._table.flows[index].generation != name >> 32:
            raise KeyError(name)
        return unmapped(self._table.flows[index].key.client), ntohs(self._table.flows[index].key.client_port)

    def ends_of(self, uint64_t name):
        """Return (client, port, edge, port, proxy that named them or None) of a live flow; None if it has ended."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow == NULL:
            return None
        return (
            unmapped(flow.key.client), ntohs(flow.key.client_port), unmapped(flow.key.edge), ntohs(flow.key.edge_port),
            unmapped(flow.peer) if flow.dialect != NO_HEADER else None,
        )

    def peer_port(self, uint64_t name):
        """Return the port of the proxy in front of a new flow, without one the client's; 0 if the flow has ended."""
        cdef Flow *flow = self._find(name, FLOW_NEW)
        return 0 if flow == NULL else ntohs(flow.peer_port)

    @property
    def progress_ms(self):
        """Interval of reports of older flows, in milliseconds; 0 for none."""
        return self._progress.interval_ms

    @progress_ms.setter
    def progress_ms(self, uint64_t value):
        self._progress.interval_ms = value

    def close_flows(self, int error, uint64_t idle_ms=0):
        """End the flows that were idle for at least `idle_ms`; `error` is reported in `ended`."""
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
        """Leave all flows to another worker, which recovers them from the memory file; this engine is then empty.

        Returns (index, descriptor) of each flow with its own socket. The caller owns them, and passes them to `inherit`
        of the other engine. Flows with a shared socket get another one there.
        """
        cdef uint32_t index, number
        cdef Flow *flow
        cdef list handed = []
        self._flush_replies()
        for number in range(self._listener_count):
            if self._listeners[number].in_use:
                self._listeners[number].in_use = False
                self.loop.unwatch(self._listeners[number].fd)
        if self._new_connects.count:
            self._tell_connected()
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

    def take_short_queues(self):
        """Return descriptors of new channels whose receive queue this process could not enlarge.

        They stay the engine's; a process with CAP_NET_ADMIN can enlarge them.
        """
        cdef list descriptors = []
        cdef uint32_t number
        for number in self._short_channels:
            if self._channels[number].fd >= 0:
                descriptors.append(self._channels[number].fd)
        self._short_channels.clear()
        return descriptors

    def inherit(self, dict sockets):
        """Take the sockets of flows that another engine released, by index, for `adopt`."""
        self._inherited = sockets

    def drain(self):
        """Refuse new flows."""
        self._draining = True

    def recovered(self):
        """Return the flows that a former worker left: (name, our address, our port, origin, origin port).

        Each must be adopted or discarded by its name before datagrams of the first listener are read.
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
        """Continue a recovered flow: with the same origin, and from the same source port if that is free."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        cdef uint32_t index = <uint32_t>name
        cdef uint16_t source_port
        cdef bint header_due
        if flow == NULL or flow.target != NULL or listener >= self._listener_count:
            return
        source_port = flow.source_port
        header_due = flow.header_due
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
        # The origin identifies its peer by the port, and has that peer's header already.
        if flow.source_port == source_port:
            flow.header_due = header_due

    def discard(self, uint64_t name):
        """Forget a recovered flow."""
        cdef Flow *flow = self._find(name, FLOW_LIVE)
        if flow != NULL and flow.target == NULL:
            free_flow(&self._table, <uint32_t>name)

    @property
    def active(self):
        """The number of live flows."""
        return self._table.live

    @property
    def offloaded(self):
        """The number of flows that are offloaded to the kernel."""
        return 0 if self._offload is None else self._offload.active

    @property
    def evicted(self):
        """The number of flows that were evicted."""
        return self._evicted

    @property
    def sockets(self):
        """The number of flows with a socket of their own."""
        return self._sockets

    @property
    def max_sockets(self):
        """The limit of flows with a socket of their own."""
        return self._max_sockets

    @max_sockets.setter
    def max_sockets(self, uint32_t value):
        self._max_sockets = max(value, 1)
