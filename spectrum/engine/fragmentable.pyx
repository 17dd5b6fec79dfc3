# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Learn which long datagrams may be forwarded in fragments: IPv4, received unfragmented, without DF.

recvmsg reports fragments (IP_RECVFRAGSIZE), but not that bit (RFC 791, section 3.1, DF), so a packet socket reads the
headers (packet(7)). The kernel filters for it: only datagrams longer than the shortest path to an origin reach it. It
is opened when there is such a path, paused while it is not needed, and requires CAP_NET_RAW. See
docs/decisions/011-fragments.md.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from spectrum.engine.flows cimport mix
from spectrum.engine.linux cimport *
from spectrum.engine.sockets cimport clock_ns, set_int

import secrets

cdef extern from *:
    """
    #include <linux/filter.h>
    #include <linux/if_ether.h>
    #include <linux/if_packet.h>
    #include <netinet/in.h>
    #include <sys/socket.h>

    /* The longest IPv4 header, and UDP's. */
    #define HEADER_BYTES 68

    /* Leave out what is short enough, most of it by that; what is a fragment, or has DF; what is no UDP. */
    static inline int filter_packets(int fd, unsigned int longest) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2), /* the total length */
            BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, longest, 0, 5),
            BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6), /* DF, MF, the offset */
            BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x7fff, 3, 0),
            BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, HEADER_BYTES),
            BPF_STMT(BPF_RET | BPF_K, 0),
        };
        struct sock_fprog program = {sizeof code / sizeof *code, code};
        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    }

    static inline int bind_packets(int fd) {
        struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
        return bind(fd, (struct sockaddr *)&address, sizeof address);
    }

    /* Whether packets were lost, without room, since the last call. */
    static inline int lost_packets(int fd) {
        struct tpacket_stats seen;
        socklen_t length = sizeof seen;
        return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &seen, &length) == 0 && seen.tp_drops;
    }
    """
    int filter_packets(int fd, unsigned int longest) nogil
    int bind_packets(int fd) nogil
    bint lost_packets(int fd) nogil
    enum:
        AF_PACKET, HEADER_BYTES

cdef enum:
    PACKETS = 64
    QUEUE_BYTES = 2097152
    NOT_WATCHED = 0x7FFFFFFF

# Datagrams that wait longer are not looked up: listeners' queues hold less.
cdef uint64_t VALID_NS = 5000000000
# Every IPv4 packet of the machine passes the filter of every worker's socket: 0.1 us each.
cdef uint64_t REST_NS = 60000000000


cdef class Fragmentable:
    """Remembers clients' long datagrams without DF. It is closed at first, and then knows none."""

    def __cinit__(self):
        self._fd = -1
        self._longest = NOT_WATCHED

    def __init__(self):
        self._secret[0] = secrets.randbits(64) | 1
        self._secret[1] = secrets.randbits(64) | 1

    def __dealloc__(self):
        if self._fd >= 0:
            close(self._fd)

    cdef bint watch(self, uint32_t longest) noexcept nogil:
        """Watch for datagrams longer than this (with IP header) from now on; return False if the kernel forbids it."""
        if longest >= self._longest:
            return True
        self._longest = longest
        if self._fd < 0:
            return self._open()
        # Shorter ones than before were not watched until now.
        self._since_ns = clock_ns()
        return filter_packets(self._fd, longest) == 0

    cdef bint _open(self) noexcept nogil:
        # Protocol 0: nothing is received before the filter is attached.
        self._fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if self._fd < 0:
            return False
        set_int(self._fd, SOL_SOCKET, SO_RCVBUF, QUEUE_BYTES)
        set_int(self._fd, SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES)
        if filter_packets(self._fd, self._longest) < 0 or bind_packets(self._fd) < 0:
            close(self._fd)
            self._fd = -1
            return False
        self._since_ns = clock_ns()
        return True

    cdef bint allows(self, const uint8_t *client, uint16_t client_port, const uint8_t *edge, uint16_t edge_port,
                     uint64_t read_ns) noexcept nogil:
        """Return whether an unfragmented datagram may be fragmented: yes if unknown, no if it was not watched for yet.

        Args:
            client: Its source: a mapped IPv4 address, and a port in network order.
            client_port: Likewise.
            edge: Its destination, likewise.
            edge_port: Likewise.
            read_ns: When it was read.
        """
        cdef uint32_t addresses[2]
        cdef uint64_t tag
        cdef Sight *sight
        if self._fd < 0:
            return self._longest == NOT_WATCHED or not self._open()
        self._asked_ns = read_ns
        if read_ns <= self._since_ns:
            return True
        self.read()
        memcpy(&addresses[0], client + 12, 4)
        memcpy(&addresses[1], edge + 12, 4)
        tag = self._tag(addresses[0], client_port, addresses[1], edge_port)
        sight = &self._sights[tag % SIGHTS]
        if sight.tag == tag and read_ns < sight.seen_ns + VALID_NS:
            return True
        return self._missed

    cdef void read(self) noexcept nogil:
        """Read the headers that were received."""
        cdef uint8_t packets[PACKETS][HEADER_BYTES]
        cdef mmsghdr messages[PACKETS]
        cdef iovec parts[PACKETS]
        cdef int count = PACKETS, i
        cdef uint64_t now_ns
        if self._fd < 0:
            return
        now_ns = clock_ns()
        memset(messages, 0, sizeof(messages))
        for i in range(PACKETS):
            parts[i].iov_base = packets[i]
            parts[i].iov_len = HEADER_BYTES
            messages[i].msg_hdr.msg_iov = &parts[i]
            messages[i].msg_hdr.msg_iovlen = 1
        while count == PACKETS:
            count = recvmmsg(self._fd, messages, PACKETS, MSG_DONTWAIT, NULL)
            for i in range(count):
                self._see(packets[i], messages[i].msg_len, now_ns)
        self._missed = lost_packets(self._fd)

    cdef void _see(self, const uint8_t *packet, size_t size, uint64_t now_ns) noexcept nogil:
        cdef size_t header_bytes = 4 * (packet[0] & 0xF)
        cdef uint32_t addresses[2]
        cdef uint16_t ports[2]
        cdef uint64_t tag
        cdef Sight *sight
        if size < header_bytes + 4:
            return
        memcpy(addresses, packet + 12, 8)
        memcpy(ports, packet + header_bytes, 4)
        tag = self._tag(addresses[0], ports[0], addresses[1], ports[1])
        sight = &self._sights[tag % SIGHTS]
        sight.tag = tag
        sight.seen_ns = now_ns

    cdef uint64_t _tag(self, uint32_t client, uint16_t client_port, uint32_t edge,
                       uint16_t edge_port) noexcept nogil:
        cdef uint64_t hashed = mix(<uint64_t>client << 32 | edge, self._secret[0])
        return mix(hashed ^ (<uint64_t>client_port << 16 | edge_port), self._secret[1])

    # === Public API ===

    cpdef void rest(self, uint64_t now_ns) noexcept:
        """Stop watching if nothing was asked for a minute, until something is; to be called periodically."""
        if self._fd >= 0 and now_ns > max(self._asked_ns, self._since_ns) + REST_NS:
            close(self._fd)
            self._fd = -1

    def watch_from(self, uint32_t longest):
        """Watch for datagrams longer than this (with IP header); return False if the kernel forbids it."""
        return self.watch(longest)

    def allows_now(self, bytes client, uint16_t client_port, bytes edge, uint16_t edge_port):
        """Return whether an unfragmented IPv4 datagram that was received by now may be forwarded in fragments."""
        cdef bytes mapped_client = b"\0" * 10 + b"\xff\xff" + client, mapped_edge = b"\0" * 10 + b"\xff\xff" + edge
        return self.allows(mapped_client, htons(client_port), mapped_edge, htons(edge_port), clock_ns())

    @property
    def longest(self):
        """The length above which datagrams are watched for; 0 while none are."""
        return self._longest if self._fd >= 0 else 0
