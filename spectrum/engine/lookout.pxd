"""The C layout of `Lookout`, for the engines, and the rules of the filter as its program has them."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from spectrum.engine.census cimport Rates
from spectrum.engine.shared cimport Affinities

cdef extern from "../kernel/bpf/matching.h" nogil:
    enum:
        BLOCK, LOG, LIMIT, SOURCE_LIMIT, COOKIE, RETRY
        SOURCE, KEYS, MET_BITS

    struct prefix:
        uint8_t address[16]

    struct facts:
        prefix from_ "from"
        prefix to
        uint64_t payload
        uint16_t from_port
        uint16_t to_port
        uint16_t length
        uint8_t version
        uint8_t protocol
        uint8_t tcp_flags
        uint8_t payload_bytes
        uint8_t has_ports
        uint8_t tracked
        uint8_t flow
        uint8_t known
        uint8_t served
        uint8_t kind
        uint32_t bytes

    struct slot:
        uint64_t set[2]
        uint64_t expires_ns
        uint64_t packet_ns
        uint8_t set_field[2]
        uint8_t set_negated[2]
        uint8_t action
        uint32_t number

    struct keys:
        uint64_t of[8]

    uint8_t kind_of(const facts *packet)
    bint is_of(const slot *rule, const facts *packet)
    void note_keys(keys *noted, const facts *packet)
    uint64_t mixed(uint64_t hash, uint64_t more)
    uint64_t hash_of(const facts *packet)
    uint32_t met_in(unsigned long long *word, uint32_t hash, uint64_t second)

cdef enum:
    # The same in kernel/worker_looks.py.
    RING_RECORDS = 8192
    RULE_NUMBERS = 128
    HEADER_BYTES = 88
    MAX_RULES = 64
    MAX_GUARD = 64
    # Sampling of packets that belong to no flow in use, and of others.
    IDLE_KIND = 0
    USED_KIND = 1
    # Values of `flow` in struct facts.
    FLOW_OPENING = 0
    FLOW_SHAKEN = 1
    FLOW_IN_USE = 2

cdef struct Tally:
    uint64_t packets
    uint64_t bytes

cdef struct Look:
    # struct look of kernel/bpf/flows.h after the header of a record of its ring buffer.
    uint64_t ring
    uint64_t at_ns
    uint64_t payload
    uint8_t source[16]
    uint8_t destination[16]
    uint32_t bytes
    uint32_t reason
    uint32_t one_in
    uint32_t options
    int32_t app
    uint16_t from_port
    uint16_t to_port
    uint16_t length
    uint16_t window
    uint16_t ident
    uint8_t version
    uint8_t protocol
    uint8_t lifetime
    uint8_t tcp_flags
    uint8_t fragment
    uint8_t payload_bytes
    uint8_t flow
    uint8_t known
    uint8_t served
    uint8_t unused
    uint8_t header[HEADER_BYTES]
    uint64_t group  # of the app in the census: its number, the same in all workers

cdef struct Ring:
    uint64_t written  # in records; by the worker
    uint64_t read     # by the detector, and not trusted
    uint64_t lost
    uint64_t unused[5]
    Tally rules[RULE_NUMBERS]
    uint8_t rest[4096 - 64 - 16 * RULE_NUMBERS]
    Look records[RING_RECORDS]

cdef struct Rule:
    slot slot
    uint64_t *values[2]
    uint32_t counts[2]
    # So many packets stand for each that comes here, as the others were dropped before: SYNs, and thinned datagrams.
    uint32_t weight
    uint32_t datagram_weight

cdef struct Packet:
    # The properties of a packet that an engine knows.
    const uint8_t *source        # mapped
    const uint8_t *destination   # mapped
    const char *payload          # NULL where it is not inspected
    size_t payload_bytes
    uint64_t group
    uint16_t from_port
    uint16_t to_port
    uint8_t protocol
    uint8_t flow
    uint8_t tcp_flags
    uint32_t stands_for          # so many that were dropped before, and itself; 0 for itself
    bint thinned                 # most of those that rules block were dropped before


cdef class Lookout:
    cdef Ring *_ring
    cdef uint64_t _written
    cdef Affinities _known
    cdef Rates _rates
    cdef Rule[MAX_RULES] _rules
    cdef facts[MAX_GUARD] _guard  # of each the prefix as `from`, its mask as `to`
    cdef int _guard_count
    cdef unsigned long long *_met  # __u64
    cdef uint32_t[2] _left
    cdef uint32_t[2] _one_in
    cdef uint64_t _chance
    cdef uint32_t _weight  # of the packet at hand
    cdef bint _is_thinned
    cdef bint _only_blocks  # rules with other actions are left out
    cdef readonly bint on
    cdef readonly int rule_count

    cdef inline bint is_due(self, bint used) noexcept nogil:
        """Count a packet; return whether it is sampled."""
        self._left[used] -= 1
        return self._left[used] == 0

    cdef bint meets(self, const Packet *packet, uint64_t now_ns, bint is_due, bint is_judged) noexcept nogil
    cdef bint blocks(self, const Packet *packet, uint64_t now_ns) noexcept nogil
    cdef void note_source(self, const uint8_t *source, uint64_t now_ns) noexcept nogil
    cdef bint knows(self, const uint8_t *source, uint64_t now_ns) noexcept nogil
    cdef bint _is_known(self, const facts *packet, uint64_t now_ns) noexcept nogil
    cdef bint _is_guarded(self, const facts *packet) noexcept nogil
    cdef uint32_t _judge(self, facts *packet, uint64_t now_ns) noexcept nogil
    cdef bint _acts(self, const slot *rule, const facts *packet, const keys *noted, uint64_t now_ns) noexcept nogil
    cdef bint _comes_again(self, const facts *packet, uint64_t now_ns) noexcept nogil
    cdef void _show(self, const Packet *packet, const facts *found, uint32_t reason, uint64_t now_ns) noexcept nogil
    cdef void _write(self, const Packet *packet, const facts *found, uint32_t reason, uint64_t now_ns) noexcept nogil
    cdef void _draw(self, bint used) noexcept nogil
    cdef void _drop_rules(self) noexcept
