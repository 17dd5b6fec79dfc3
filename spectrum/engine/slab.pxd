"""Sessions in C: their layout, and a slab that allocates them by index.

A session is found by its index, and named by index and generation together: a name that outlived its session (in an
event of the same epoll batch, in Python) has another generation and is ignored.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, realloc
from spectrum.engine.tls_end cimport TlsEnd


cdef enum State:
    FREE = 0
    ACCEPTED  # waits for the decision
    HEADER    # waits for the client's first bytes, a PROXY header or a ClientHello
    HELD      # waits for its turn
    SECURING  # in the TLS handshake with the client
    DIALING   # waits for an origin
    SECURING_ORIGIN  # in the TLS handshake with an origin, others being left to try
    RELAYING
    ENDED     # descriptors closed, waits to be reported

cdef enum Watch:
    # How a client's descriptor is watched by epoll: not, for its end only, or for all events.
    UNWATCHED = 0
    WATCHED_FOR_END
    WATCHED

cdef enum Haste:
    # What was sent to a session's origin: nothing, its first bytes, or more, with TCP_NODELAY.
    NOTHING_SENT = 0
    SENT_ONCE
    UNDELAYED

cdef struct Leg:
    # One TCP connection of a session. `backlog` holds bytes read from the other leg that this socket did not take yet;
    # while it exists the other leg is not read, which bounds it.
    int fd
    uint8_t eof         # its FIN was read
    uint8_t appetite     # the size of its next read, see relay.pyx
    uint8_t watches_out  # EPOLLOUT is in its interest set
    uint8_t measured     # its RTT was read
    uint32_t backlog_start
    uint32_t backlog_end
    char *backlog
    TlsEnd *tls         # NULL: plain TCP
    uint64_t received_bytes

cdef struct Dial:
    # State of a session without an origin; freed as soon as one is connected. Owns the references.
    PyObject *targets
    PyObject *header
    PyObject *tried      # the engine Target that was dialled, or failed, last; NULL before the first one
    int fds[4]
    int target_of[4]
    uint64_t deadline_ms[4]
    uint64_t stagger_at_ms
    uint64_t ends_at_ms  # for all attempts together
    int tries            # how many origins may be tried, this one included; more are asked for one by one
    int next_target
    int last_error
    uint8_t over_budget  # the retry budget does not allow the remaining targets

cdef struct Session:
    Leg legs[2]
    Dial *dial
    PyObject *form       # its RecordForm, owned; NULL: it is reported by `ended`
    PyObject *target     # the connected engine Target, owned; after an end without one, the last one tried
    uint64_t accepted_ns
    uint64_t connected_ns
    uint64_t ended_ns
    uint64_t active_ms
    uint64_t deadline_ms  # of the header, its turn, or a handshake
    uint64_t paused_until_ms[2]  # of a rate-limited one: which side is not read, and until when
    uint32_t idle_timeout_ms
    uint32_t generation
    uint32_t listener
    uint32_t app
    uint32_t next        # free list, accepted list, ended list
    uint32_t pending_next
    uint32_t pending_prev
    uint32_t rtt_us[2]
    # Sent bytes of legs at the last time without unsent ones (low bits); and for the leg with unsent ones since when,
    # and how much its peer had acknowledged then.
    uint32_t settled[2]
    uint32_t slow_since_ms
    uint32_t slow_acked
    int error
    uint16_t client_port
    uint16_t edge_port
    uint16_t number      # of the origin, for `Loads`
    uint8_t waiting      # its client has no answer yet
    uint8_t client_address[16]
    uint8_t edge_address[16]
    uint8_t address_bytes  # 4 or 16
    uint8_t edge_bytes     # the same, unless a proxy in front named a client of the other family
    uint8_t state
    uint8_t outcome
    uint8_t first_eof    # 1: client, 2: origin
    uint8_t origin_side  # the side number in the epoll tokens of the connected origin
    uint8_t pending      # on the pending list
    uint8_t watched      # a Watch
    uint8_t armed        # keepalive is enabled on the origin's socket
    uint8_t haste        # a Haste
    uint8_t counted      # in the census
    uint8_t paced        # its app has a limit on bytes per second
    uint8_t noted        # its client is a known source: both ends have sent
    uint8_t slow         # the leg whose pace is watched, 1: client, 2: origin; 0: both read
    uint32_t wanted      # bytes that must be there before the client's first bytes are inspected again

cdef struct Slab:
    Session **chunks
    uint32_t chunk_count
    uint32_t free_head   # index + 1; 0: none

cdef enum:
    CHUNK_BITS = 8
    CHUNK_SIZE = 256

cdef extern from *:
    """
    #ifndef LIVE_SESSIONS  /* of a debug build, tests/engine/live.h */
    #define LIVE_SESSIONS(count) ((void)0)
    #endif
    """
    void LIVE_SESSIONS(long count) nogil

cdef inline Session *slab_at(Slab *slab, uint32_t index) noexcept nogil:
    return &slab.chunks[index >> CHUNK_BITS][index & (CHUNK_SIZE - 1)]

cdef inline bint slab_grow(Slab *slab) noexcept nogil:
    cdef Session **chunks = <Session **>realloc(slab.chunks, (slab.chunk_count + 1) * sizeof(Session *))
    if chunks == NULL:
        return False
    slab.chunks = chunks
    cdef Session *chunk = <Session *>calloc(CHUNK_SIZE, sizeof(Session))
    if chunk == NULL:
        return False
    chunks[slab.chunk_count] = chunk
    cdef uint32_t base = slab.chunk_count << CHUNK_BITS
    slab.chunk_count += 1
    cdef int i
    for i in range(CHUNK_SIZE - 1, -1, -1):
        chunk[i].next = slab.free_head
        slab.free_head = base + i + 1
    return True

cdef inline Session *slab_take(Slab *slab, uint32_t *index) noexcept nogil:
    if slab.free_head == 0 and not slab_grow(slab):
        return NULL
    index[0] = slab.free_head - 1
    cdef Session *session = slab_at(slab, index[0])
    slab.free_head = session.next
    LIVE_SESSIONS(1)
    return session

cdef inline void slab_return(Slab *slab, uint32_t index) noexcept nogil:
    cdef Session *session = slab_at(slab, index)
    LIVE_SESSIONS(-1)
    session.state = FREE
    session.generation = (session.generation + 1) & 0xFFFFFF
    session.next = slab.free_head
    slab.free_head = index + 1
