# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Detection of attacks in the engines, where the kernel does not see the packets: samples, and rules.

One in so many new sessions and datagrams is passed to the detector in the form of the filter's samples, in a memory
file that both map. Rules are those of the filter, matched by its own code (kernel/bpf/matching.h): they refuse sessions
before these are admitted, and datagrams of flows that are not confirmed. They are few, and matched one by one.

Properties of a packet that an engine does not know are 0, and the detector makes no rules with them.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.census cimport Rates
from spectrum.engine.linux cimport *
from spectrum.engine.shared cimport Affinities
from spectrum.engine.sockets cimport MAPPED, clock_ns

cdef extern from *:
    """
    #define load_read(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
    #define store_written(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
    """
    uint64_t load_read(uint64_t *place) nogil
    void store_written(uint64_t *place, uint64_t value) nogil

cdef enum:
    # Words of the Bloom filters of `retry`, 2 MB; see slots.h.
    MET_WORDS = 1 << 18
    # Values of `reason` of a look: passed; then the numbers of rules.
    PASSED = 0
    TCP = 6
    UDP = 17
    SYN = 0x02
    ACK = 0x10
    ETHERNET_BYTES = 14

cdef uint64_t NS_PER_S = 1000000000
# Lifetime of a known source.
cdef uint64_t KNOWN_S = 86400

KNOWN_SOURCES = 131072


cdef class Lookout:
    """Samples packets for the detector, and applies its rules. Inactive at first.

    Args:
        rates: The rate limiters that all workers share.

    Attributes:
        on: Whether it is active.
        rule_count: The number of rules.
    """

    def __init__(self, Rates rates=None):
        self._rates = rates if rates is not None else Rates()
        self._chance = clock_ns() | 1

    def __dealloc__(self):
        if self._ring != NULL:
            munmap(self._ring, sizeof(Ring))
        self._drop_rules()
        free(self._met)

    @staticmethod
    def bytes_size():
        """Return the size of the memory file of a worker."""
        return sizeof(Ring)

    def attach(self, int memory, Affinities known):
        """Write samples into a memory file from now on.

        Args:
            memory: The file of this worker, sealed against changes of its size (memfd_create(2), F_SEAL_SHRINK).
            known: The sources with a recent session in use, of all workers.

        Raises:
            OSError: If it cannot be mapped.
        """
        cdef void *mapped = mmap(NULL, sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)
        if mapped == MAP_FAILED:
            raise OSError(errno, "the memory of looks cannot be mapped")
        if self._ring != NULL:
            munmap(self._ring, sizeof(Ring))
        self._ring = <Ring *>mapped
        self._written = self._ring.written
        self._known = known

    def watch(self, uint32_t idle_one_in, uint32_t used_one_in):
        """Sample one in so many packets of flows that are not in use, and of others; 0 and 0 for none."""
        self._one_in[IDLE_KIND], self._one_in[USED_KIND] = idle_one_in, used_one_in
        self.on = self._ring != NULL and idle_one_in != 0 and used_one_in != 0
        self._draw(IDLE_KIND)
        self._draw(USED_KIND)

    def set_rules(self, rules, guard=()):
        """Replace all rules.

        Args:
            rules: For each its struct slot, with the number of its counter, and the values of its sets.
            guard: Prefixes that no rule matches, as addresses and masks of 16 bytes.

        Raises:
            ValueError: If there are more than `MAX_RULES`, or one is invalid.
        """
        cdef bytes packed, values
        cdef Rule *rule
        cdef int place
        if len(rules) > MAX_RULES or len(guard) > MAX_GUARD:
            raise ValueError(f"{MAX_RULES} rules at most, and {MAX_GUARD} prefixes that they are not about")
        if any(len(packed) != sizeof(slot) or len(sets) > 2 for packed, sets in rules):
            raise ValueError(f"a rule has {sizeof(slot)} bytes, and two sets at most")
        self._drop_rules()
        for packed, sets in rules:
            rule = &self._rules[self.rule_count]
            memset(rule, 0, sizeof(Rule))
            memcpy(&rule.slot, PyBytes_AS_STRING(packed), sizeof(slot))
            rule.weight = rule.datagram_weight = 1
            self.rule_count += 1
            for place, values in enumerate(sets):
                rule.values[place] = <uint64_t *>malloc(len(values) + 8)
                if rule.values[place] == NULL:
                    self._drop_rules()
                    raise MemoryError()
                memcpy(rule.values[place], PyBytes_AS_STRING(values), len(values))
                rule.counts[place] = <uint32_t>(len(values) // 8)
            if rule.slot.action == RETRY and self._met == NULL:
                self._met = <unsigned long long *>calloc(MET_WORDS, sizeof(uint64_t))
                if self._met == NULL:
                    raise MemoryError()
        self._guard_count = 0
        for address, mask in guard:
            memcpy(self._guard[self._guard_count].from_.address, PyBytes_AS_STRING(address), 16)
            memcpy(self._guard[self._guard_count].to.address, PyBytes_AS_STRING(mask), 16)
            self._guard_count += 1

    def thin(self, places, uint32_t one_in):
        """Count each packet that some rules refuse as so many: the others are dropped before they come here.

        Args:
            places: Of the rules, as they were set; that of others, and of all once rules are set, is one.
            one_in: So many.
        """
        cdef int place
        for place in range(self.rule_count):
            self._rules[place].weight = one_in if place in places else 1

    def thin_datagrams(self, places, uint32_t one_in):
        """The same as `thin` for datagrams, where the engine says that they were filtered."""
        cdef int place
        for place in range(self.rule_count):
            self._rules[place].datagram_weight = one_in if place in places else 1

    cdef void _drop_rules(self) noexcept:
        cdef int number, place
        for number in range(self.rule_count):
            for place in range(2):
                free(self._rules[number].values[place])
        self.rule_count = 0

    cdef void _draw(self, bint used) noexcept nogil:
        """Draw the next packet to sample: one in `one_in` on average, independent of regular traffic (xorshift64)."""
        cdef uint64_t one_in = self._one_in[used] or 1
        self._chance ^= self._chance << 13
        self._chance ^= self._chance >> 7
        self._chance ^= self._chance << 17
        self._left[used] = <uint32_t>(1 + self._chance % (2 * one_in - 1))

    # --- packets ------------------------------------------------------------------------------------------------------

    cdef bint meets(self, const Packet *packet, uint64_t now_ns, bint is_due, bint is_judged) noexcept nogil:
        """Sample a packet if it is due, and return whether a rule refuses it."""
        cdef facts found
        cdef uint32_t reason = PASSED
        cdef int place
        self._weight, self._is_thinned = packet.stands_for or 1, packet.thinned
        memset(&found, 0, sizeof(facts))
        memcpy(found.from_.address, packet.source, 16)
        memcpy(found.to.address, packet.destination, 16)
        found.version = 4 if memcmp(packet.source, MAPPED, 12) == 0 else 6
        found.protocol = packet.protocol
        found.from_port, found.to_port = packet.from_port, packet.to_port
        found.has_ports = found.tracked = found.served = True
        found.flow = packet.flow
        found.tcp_flags = packet.tcp_flags
        if packet.payload != NULL:
            found.length = <uint16_t>(packet.payload_bytes + (28 if found.version == 4 else 48))
            found.bytes = ETHERNET_BYTES + found.length
            found.payload_bytes = <uint8_t>min(packet.payload_bytes, <size_t>8)
            for place in range(found.payload_bytes):
                found.payload |= <uint64_t><uint8_t>packet.payload[place] << (56 - 8 * place)
        found.known = self._is_known(&found, now_ns)
        if is_judged and self.rule_count and packet.flow < FLOW_IN_USE and not self._is_guarded(&found):
            reason = self._judge(&found, now_ns)
        if is_due:
            self._show(packet, &found, reason, now_ns)
        return reason != PASSED

    cdef bint blocks(self, const Packet *packet, uint64_t now_ns) noexcept nogil:
        """Return whether a rule that blocks refuses what was admitted before there was that rule."""
        cdef bint blocked
        self._only_blocks = True
        blocked = self.meets(packet, now_ns, False, True)
        self._only_blocks = False
        return blocked

    def refuses(self, bytes source, uint16_t from_port, bytes destination, uint16_t to_port, uint8_t protocol,
                bytes payload=b"", uint8_t flow=0, uint64_t now_ns=0, bint is_due=False):
        """Return whether a rule refuses a packet, as the engines call it; addresses have 16 bytes."""
        cdef Packet packet
        memset(&packet, 0, sizeof(Packet))
        packet.source = <const uint8_t *>PyBytes_AS_STRING(source)
        packet.destination = <const uint8_t *>PyBytes_AS_STRING(destination)
        packet.from_port, packet.to_port, packet.protocol, packet.flow = from_port, to_port, protocol, flow
        if protocol == TCP:
            packet.tcp_flags = SYN
        else:
            packet.payload, packet.payload_bytes = PyBytes_AS_STRING(payload), len(payload)
        return self.meets(&packet, now_ns or clock_ns(), is_due, True)

    cdef bint _is_guarded(self, const facts *packet) noexcept nogil:
        cdef uint64_t[4] ends
        cdef uint64_t[4] guard
        cdef int number
        memcpy(ends, packet.from_.address, 16)
        memcpy(&ends[2], packet.to.address, 16)
        for number in range(self._guard_count):
            memcpy(guard, self._guard[number].from_.address, 16)
            memcpy(&guard[2], self._guard[number].to.address, 16)
            if (((ends[0] ^ guard[0]) & guard[2]) | ((ends[1] ^ guard[1]) & guard[3])) == 0:
                return True
            if (((ends[2] ^ guard[0]) & guard[2]) | ((ends[3] ^ guard[1]) & guard[3])) == 0:
                return True
        return False

    cdef uint32_t _judge(self, facts *packet, uint64_t now_ns) noexcept nogil:
        """Return the number of the first rule that refuses a packet, plus 1; PASSED if none does."""
        cdef keys noted
        cdef const slot *rule
        cdef int number
        cdef uint32_t weight = self._weight
        packet.kind = kind_of(packet)
        note_keys(&noted, packet)
        for number in range(self.rule_count):
            rule = &self._rules[number].slot
            if not is_of(rule, packet) or (rule.expires_ns and rule.expires_ns <= now_ns):
                continue
            if self._only_blocks and rule.action != BLOCK:
                continue
            self._weight = weight * (
                1 if self._only_blocks else self._rules[number].weight if packet.protocol == TCP
                else self._rules[number].datagram_weight if self._is_thinned else 1)
            if is_in_sets(&self._rules[number], &noted) and self._acts(rule, packet, &noted, now_ns):
                return 1 + (rule.number & (RULE_NUMBERS - 1))
        self._weight = weight
        return PASSED

    cdef bint _acts(self, const slot *rule, const facts *packet, const keys *noted, uint64_t now_ns) noexcept nogil:
        """Return whether a matching rule refuses a packet; count it."""
        cdef Tally *tally = &self._ring.rules[rule.number & (RULE_NUMBERS - 1)]
        cdef uint64_t key = mixed(rule.number + 1, 0)
        if rule.action == LIMIT or rule.action == SOURCE_LIMIT:
            if rule.action == SOURCE_LIMIT:
                key = mixed(key, noted.of[<int>SOURCE])
            if self._rates.afford(key, rule.packet_ns, now_ns):
                self._rates.pay(key, rule.packet_ns, now_ns)
                return False
        elif rule.action == RETRY:
            # A session's handshake is complete: its address is not forged, and it is not retransmitted.
            if packet.protocol != UDP or self._comes_again(packet, now_ns):
                return False
        elif rule.action == COOKIE:  # the kernel's (net.ipv4.tcp_syncookies): sessions have answered one
            return False
        tally.packets += self._weight
        tally.bytes += <uint64_t>self._weight * packet.bytes
        return rule.action != LOG

    cdef bint _comes_again(self, const facts *packet, uint64_t now_ns) noexcept nogil:
        """Return whether a packet is retransmitted, 1 to 4 s later; as comes_again of kernel/bpf/slots.h."""
        cdef uint64_t hash = hash_of(packet), second = now_ns // NS_PER_S
        cdef uint32_t one = <uint32_t>hash, other = <uint32_t>(hash >> 32)
        return (met_in(&self._met[one & (MET_WORDS - 1)], one, second)
                & met_in(&self._met[other & (MET_WORDS - 1)], other, second)) != 0

    # --- known sources ------------------------------------------------------------------------------------------------

    cdef bint _is_known(self, const facts *packet, uint64_t now_ns) noexcept nogil:
        if self._known is None:
            return False
        return self._known.tag_of(source_key(packet), now_ns // NS_PER_S, KNOWN_S, False) != 0

    cdef bint knows(self, const uint8_t *source, uint64_t now_ns) noexcept nogil:
        """Return whether a source had a session or a flow in use recently; its address is mapped."""
        cdef facts found
        read_source(source, &found)
        return self._is_known(&found, now_ns)

    cdef void note_source(self, const uint8_t *source, uint64_t now_ns) noexcept nogil:
        """Record the source of a session or a flow in use; its address is mapped."""
        cdef facts found
        if self._known is None:
            return
        read_source(source, &found)
        self._known.set_tag(source_key(&found), 1, now_ns // NS_PER_S)

    # --- samples ------------------------------------------------------------------------------------------------------

    cdef void _show(self, const Packet *packet, const facts *found, uint32_t reason, uint64_t now_ns) noexcept nogil:
        """Write a sample. A new session makes two: its SYN, and the end of the handshake, as the kernel sees them."""
        cdef facts shaken
        self._write(packet, found, reason, now_ns)
        if packet.protocol == TCP and packet.tcp_flags == SYN:
            shaken = found[0]
            shaken.flow, shaken.tcp_flags = FLOW_SHAKEN, ACK
            self._write(packet, &shaken, reason, now_ns)
        self._draw(packet.flow == FLOW_IN_USE)

    cdef void _write(self, const Packet *packet, const facts *found, uint32_t reason, uint64_t now_ns) noexcept nogil:
        cdef Look *look
        if self._written - load_read(&self._ring.read) >= RING_RECORDS:
            self._ring.lost += 1
            return
        look = &self._ring.records[self._written & (RING_RECORDS - 1)]
        memset(look, 0, sizeof(Look))
        look.at_ns = now_ns
        look.payload = found.payload
        memcpy(look.source, found.from_.address, 16)
        memcpy(look.destination, found.to.address, 16)
        look.bytes = found.bytes
        look.reason = reason
        look.one_in = self._weight * self._one_in[packet.flow == FLOW_IN_USE]
        look.app = -1
        look.from_port, look.to_port = found.from_port, found.to_port
        look.length = found.length
        look.version, look.protocol = found.version, found.protocol
        look.tcp_flags = found.tcp_flags
        look.payload_bytes = found.payload_bytes
        look.flow, look.known, look.served = found.flow, found.known, found.served
        look.group = packet.group
        write_frame(look, packet)
        self._written += 1
        store_written(&self._ring.written, self._written)


cdef inline void read_source(const uint8_t *source, facts *found) noexcept nogil:
    memset(found, 0, sizeof(facts))
    memcpy(found.from_.address, source, 16)
    found.version = 4 if memcmp(source, MAPPED, 12) == 0 else 6


cdef inline uint64_t source_key(const facts *packet) noexcept nogil:
    """Return the key of a source, an IPv4 address or the /64 of an IPv6 one, in the table of known ones."""
    cdef keys noted
    note_keys(&noted, packet)
    return mixed(noted.of[<int>SOURCE], 1)


cdef bint is_in_sets(const Rule *rule, const keys *noted) noexcept nogil:
    cdef const uint64_t *values
    cdef uint64_t value
    cdef uint32_t low, high, middle
    cdef int place
    for place in range(2):
        if rule.slot.set[place] == 0:
            continue
        values, value = rule.values[place], noted.of[rule.slot.set_field[place] & (KEYS - 1)]
        low, high = 0, rule.counts[place]
        while low < high:
            middle = (low + high) // 2
            if values[middle] < value:
                low = middle + 1
            else:
                high = middle
        if (low < rule.counts[place] and values[low] == value) == (rule.slot.set_negated[place] != 0):
            return False
    return True


cdef void write_frame(Look *look, const Packet *packet) noexcept nogil:
    """Write the begin of a frame with the known properties, for readers of samples; unknown fields are 0."""
    cdef uint8_t *at = look.header
    cdef bint four = look.version == 4
    cdef uint16_t ip_bytes = look.length if look.length else (40 if four else 60)
    cdef size_t room
    at[12], at[13] = (0x08, 0x00) if four else (0x86, 0xDD)
    at += ETHERNET_BYTES
    if four:
        at[0] = 0x45
        put16(at + 2, ip_bytes)
        at[9] = look.protocol
        memcpy(at + 12, look.source + 12, 4)
        memcpy(at + 16, look.destination + 12, 4)
        at += 20
    else:
        at[0] = 0x60
        put16(at + 4, ip_bytes - 40)
        at[6] = look.protocol
        memcpy(at + 8, look.source, 16)
        memcpy(at + 24, look.destination, 16)
        at += 40
    put16(at, look.from_port)
    put16(at + 2, look.to_port)
    if look.protocol == TCP:
        at[12], at[13] = 0x50, look.tcp_flags
        look.bytes = ETHERNET_BYTES + ip_bytes
        return
    put16(at + 4, <uint16_t>(packet.payload_bytes + 8))
    at += 8
    room = look.header + HEADER_BYTES - at
    memcpy(at, packet.payload, min(packet.payload_bytes, room))


cdef inline void put16(uint8_t *at, uint16_t number) noexcept nogil:
    at[0], at[1] = number >> 8, number & 0xFF
