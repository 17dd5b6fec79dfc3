"""UDP flows in C: their layout, and the table that holds them.

The table is in a memory file that outlives the worker, so that a replacement finds the flows; all links are indices,
and what only this process knows (descriptors, references, links) is rebuilt. A flow is found by its key, and named by
index and generation together. It is in one of four lists, which determine the order of eviction.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    static inline uint64_t mix(uint64_t a, uint64_t b) {
        /* The folded product that wyhash and its kin mix with. */
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t mix(uint64_t a, uint64_t b) nogil

cdef enum FlowState:
    FLOW_FREE = 0
    FLOW_NEW    # waits for the decision
    FLOW_LIVE
    FLOW_ENDED  # closed, waits to be reported

cdef enum Standing:
    # A flow is young until its client sends again after a reply, which a sender with a forged address does not see
    # (precedent: conntrack's ASSURED). Young flows are evicted first. Shared ones have no descriptor of their own.
    YOUNG = 0
    CONFIRMED = 1
    YOUNG_SHARED = 2
    CONFIRMED_SHARED = 3
    STANDINGS = 4
    UNPLACED = 255  # in no list: not LIVE yet

cdef enum Plane:
    # Who forwards the datagrams of a confirmed flow.
    UNDECIDED = 0
    IN_KERNEL = 1
    IN_ENGINE = 2

cdef enum:
    NO_SLOT = 255
    MAX_HEADER_BYTES = 64
    # "SPEC" and the version of the layout below.
    FILE_MAGIC = 0x53504543
    FILE_VERSION = 5
    FILE_HEADER_BYTES = 64

cdef struct Key:
    # Addresses as 16 bytes, IPv4 mapped; ports in network order. From the first byte to `edge_port` the layout is that
    # of a Simple Proxy Protocol header without its magic number.
    uint8_t client[16]
    uint8_t edge[16]
    uint16_t client_port
    uint16_t edge_port
    uint32_t listener

cdef struct Flow:
    Key key
    uint64_t active_ms
    uint64_t placed_ms    # when it was put at its place in its list
    uint64_t bytes[2]
    uint64_t datagrams[2]
    uint64_t seen_bytes[2]      # how much of what the kernel forwarded is counted
    uint64_t seen_datagrams[2]
    uint64_t created_ns
    uint64_t replied_ns
    uint64_t ended_ns
    PyObject *target      # the engine Target that it is pinned to, owned; only while LIVE or ENDED
    int fd                # its own, or its channel's
    int error
    uint32_t generation
    uint32_t app
    uint32_t channel      # index + 1; 0: a socket of its own
    uint32_t hash_next    # all links are index + 1; 0: none
    uint32_t peer_next    # the same among those that are found by their peer
    uint32_t older
    uint32_t newer
    uint32_t next         # free list, accepted list, ended list
    uint32_t idle_timeout_ms
    uint32_t scope        # the interface of a link-local client
    uint16_t origin_port  # these two and `source` are for a replacement worker; 0 until the flow is confirmed
    uint16_t source_port
    uint16_t number       # of the origin, for `Loads`
    uint8_t source        # the index of its source address among the target's
    uint8_t waiting       # its client has no answer yet
    uint8_t origin[16]
    # Source and destination of its datagrams: client and edge, unless the proxy in front named those.
    uint8_t peer[16]
    uint8_t local[16]
    uint16_t peer_port
    uint16_t local_port
    uint8_t dialect       # how the proxy in front names the client; NO_HEADER without one
    uint8_t state
    uint8_t standing
    uint8_t shared        # it uses a channel, no socket of its own
    uint8_t mode
    uint8_t counted       # in the census
    uint8_t plane
    uint8_t outcome
    uint8_t header_due
    uint8_t header_bytes
    uint8_t chain_head    # slots of the batch at hand that are this flow's
    uint8_t chain_tail
    uint8_t header[64]

cdef struct FileHeader:
    uint32_t magic
    uint32_t version
    uint32_t flow_bytes
    uint32_t used         # flows below it were used since the creation of the file

cdef struct FlowTable:
    FileHeader *file
    size_t file_bytes
    Flow *flows
    uint32_t capacity
    uint32_t live
    uint32_t free_head
    uint32_t *buckets
    uint32_t *peer_buckets
    uint32_t bucket_mask
    uint64_t secret[2]    # so that clients cannot choose colliding keys
    uint32_t oldest[4]
    uint32_t newest[4]

cdef inline uint32_t bucket_of(FlowTable *table, const Key *key) noexcept nogil:
    cdef uint64_t words[5]
    memcpy(words, key, sizeof(Key))
    cdef uint64_t hashed = mix(words[0] ^ table.secret[0], words[1] ^ table.secret[1])
    hashed = mix(hashed ^ words[2], words[3] ^ table.secret[1])
    return <uint32_t>mix(hashed ^ words[4], table.secret[0]) & table.bucket_mask

cdef inline Flow *find_flow(FlowTable *table, const Key *key, uint32_t *index) noexcept nogil:
    cdef uint32_t link = table.buckets[bucket_of(table, key)]
    cdef Flow *flow
    while link:
        flow = &table.flows[link - 1]
        if memcmp(&flow.key, key, sizeof(Key)) == 0:
            index[0] = link - 1
            return flow
        link = flow.hash_next
    return NULL

cdef inline void index_flow(FlowTable *table, uint32_t index) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    cdef uint32_t bucket = bucket_of(table, &flow.key)
    flow.hash_next = table.buckets[bucket]
    table.buckets[bucket] = index + 1

cdef inline void unindex_flow(FlowTable *table, uint32_t index) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    cdef uint32_t *link = &table.buckets[bucket_of(table, &flow.key)]
    while link[0] != index + 1:
        link = &table.flows[link[0] - 1].hash_next
    link[0] = flow.hash_next

cdef inline uint32_t peer_bucket_of(FlowTable *table, const uint8_t *peer, uint16_t port) noexcept nogil:
    cdef uint64_t words[2]
    memcpy(words, peer, 16)
    cdef uint64_t hashed = mix(words[0] ^ table.secret[0], words[1] ^ table.secret[1])
    return <uint32_t>mix(hashed ^ port, table.secret[0]) & table.bucket_mask

cdef inline Flow *find_peer(FlowTable *table, const uint8_t *peer, uint16_t port, uint32_t listener,
                            uint32_t *index) noexcept nogil:
    """Return the flow whose header this peer sent last."""
    cdef uint32_t link = table.peer_buckets[peer_bucket_of(table, peer, port)]
    cdef Flow *flow
    while link:
        flow = &table.flows[link - 1]
        if flow.peer_port == port and flow.key.listener == listener and memcmp(flow.peer, peer, 16) == 0:
            index[0] = link - 1
            return flow
        link = flow.peer_next
    return NULL

cdef inline void index_peer(FlowTable *table, uint32_t index) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    cdef uint32_t bucket = peer_bucket_of(table, flow.peer, flow.peer_port)
    flow.peer_next = table.peer_buckets[bucket]
    table.peer_buckets[bucket] = index + 1

cdef inline void unindex_peer(FlowTable *table, uint32_t index) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    cdef uint32_t *link = &table.peer_buckets[peer_bucket_of(table, flow.peer, flow.peer_port)]
    while link[0] and link[0] != index + 1:
        link = &table.flows[link[0] - 1].peer_next
    if link[0]:
        link[0] = flow.peer_next

cdef inline void place_newest(FlowTable *table, uint32_t index, uint8_t standing, uint64_t now_ms) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    flow.standing = standing
    flow.placed_ms = now_ms
    flow.newer = 0
    flow.older = table.newest[standing]
    if flow.older:
        table.flows[flow.older - 1].newer = index + 1
    else:
        table.oldest[standing] = index + 1
    table.newest[standing] = index + 1

cdef inline void unplace(FlowTable *table, uint32_t index) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    if flow.standing == UNPLACED:
        return
    if flow.older:
        table.flows[flow.older - 1].newer = flow.newer
    else:
        table.oldest[flow.standing] = flow.newer
    if flow.newer:
        table.flows[flow.newer - 1].older = flow.older
    else:
        table.newest[flow.standing] = flow.older

cdef inline Flow *take_flow(FlowTable *table, uint32_t *index) noexcept nogil:
    """Return a free flow with its generation; NULL if there is none."""
    cdef Flow *flow
    if table.free_head:
        index[0] = table.free_head - 1
        flow = &table.flows[index[0]]
        table.free_head = flow.next
    elif table.file.used < table.capacity:
        index[0] = table.file.used
        flow = &table.flows[table.file.used]
        table.file.used += 1
    else:
        return NULL
    return flow

cdef inline void free_flow(FlowTable *table, uint32_t index) noexcept nogil:
    cdef Flow *flow = &table.flows[index]
    flow.state = FLOW_FREE
    flow.generation = (flow.generation + 1) & 0xFFFFFF
    flow.next = table.free_head
    table.free_head = index + 1
