# cython: language_level=3
"""An origin as the engine connects to it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EINPROGRESS, EOPNOTSUPP, errno
from libc.stdint cimport uint8_t, uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from spectrum.engine.linux cimport *
from spectrum.engine.retry_budget cimport RetryBudget
from spectrum.engine.sockets cimport set_discovery, set_int, write_address
from spectrum.engine.spares cimport COUNTS
from spectrum.engine.tls cimport TlsPeer

cdef extern from "<linux/tcp.h>" nogil:
    int TCP_QUICKACK


cdef int _failed(int fd) noexcept:
    """Close a socket that could not be bound or connected; return its errno, negative."""
    cdef int error = errno
    close(fd)
    # UDP has one port per socket and source address, for all destinations; bind and connect return different errors if
    # none is free.
    return -EADDRNOTAVAIL if error == EAGAIN or error == EADDRINUSE else -error


cdef class Target:
    """An origin's address, the socket options of connections to it, and their count. Shared by sessions.

    Several `sources` are used in turn; one without a free port towards the origin is skipped. Connections to a
    `transparent` one have the client's address (ip(7), IP_TRANSPARENT; needs CAP_NET_RAW). `place` is where its
    sessions are counted, if it is not an origin of a pool, which has a number. Further connects of sessions, after a
    failed one, are limited by the budget `retries`, if there is one.
    """

    def __init__(self, bytes address, int port, str host, *, bint staggered=False, tuple sources=(),
                 tuple keepalive=(0, 0, 0), int user_timeout_ms=0, uint16_t number=0, bint transparent=False,
                 TlsPeer tls=None, str pool="", str origin="",
                 bytes congestion_control=b"", int notsent_lowat=0, uint16_t place=0,
                 RetryBudget retries=None):
        cdef int i
        assert <void *>&(<TargetHead *><void *>self).moved == <void *>&self.moved, "a target begins as its head says"
        self.address_length = write_address(&self.address, address, port)
        if sources:
            self.sources = <sockaddr_in6 *>calloc(len(sources), sizeof(sockaddr_in6))
            if self.sources == NULL:
                raise MemoryError()
            self.source_count = len(sources)
        for i in range(self.source_count):
            if write_address(&self.sources[i], sources[i], 0) != self.address_length:
                raise ValueError(f"a source address of another family than {host}")
        self.keepalive_idle_s, self.keepalive_interval_s, self.keepalive_count = keepalive
        self.user_timeout_ms = user_timeout_ms
        self.congestion_control = congestion_control
        self.notsent_lowat = notsent_lowat
        self.staggered = staggered
        self.number = number
        self.place = number or place
        self.retries = retries
        self.transparent = transparent
        self.tls = tls
        self.host = host
        self.port = port
        self.pool, self.origin = pool, origin
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __dealloc__(self):
        free(self.sources)

    def take_connected(self):
        """Return the number of sessions that were connected to it since the last call."""
        taken = self.connected
        self.connected = 0
        return taken

    def may_retry(self, uint64_t now_ms):
        """Return whether its budget allows one more connect; `now_ms` is of the monotonic clock."""
        return self.retries is None or self.retries.allows(now_ms)

    @property
    def has_spares(self):
        """Whether it has, or had, spare connections."""
        return self.spares is not None

    def take_spares(self):
        """Return counts of its spare connections since the last call.

        The numbers of opened, used, lost, closed ones that were no longer wanted, and of failed connects.
        """
        cdef int kind
        if self.spares is None:
            return (0, 0, 0, 0, 0)
        taken = tuple([self.spares.counts[kind] for kind in range(COUNTS)])
        for kind in range(COUNTS):
            self.spares.counts[kind] = 0
        return taken

    def close_spares(self):
        """Close its spare connections: the target is no longer used. Counts can still be taken."""
        if self.spares is not None:
            self.spares.want(0, 0, 0)
            self.spares.close_all()

    def take_moved(self):
        """Return the bytes that clients sent to it, and that it sent to clients, since the last call."""
        taken = self.moved[0], self.moved[1]
        self.moved[0] = self.moved[1] = 0
        return taken

    cdef int connect_stream(self, const uint8_t *client, int length, uint16_t port, bint speaks) noexcept:
        """Return a TCP socket that is connecting to the origin; or a negative errno, EADDRNOTAVAIL if no port is free.

        The client's address, of 4 or 16 bytes, and port are for transparent targets. With `speaks` bytes are sent as
        soon as it is connected.
        """
        cdef int fd, _
        if self.transparent:
            return self.connect_as(SOCK_STREAM, client, length, htons(port), speaks)
        if self.source_count == 0:
            return self._connect(SOCK_STREAM, NULL, 0, speaks)
        for _ in range(self.source_count):
            fd = self._connect(SOCK_STREAM, &self.sources[self.next_source], 0, speaks)
            self.next_source = (self.next_source + 1) % self.source_count
            if fd != -EADDRNOTAVAIL:
                break
        return fd

    cdef int connect_datagram(self, uint16_t source_port, int *source) noexcept:
        """Return a UDP socket connected to it, from `source_port` (network order) if that is free; or a negative errno.

        It does not fragment: a datagram that would need it is refused with EMSGSIZE (ip(7), IP_MTU_DISCOVER). With a
        source port, `source` is the index of its address among the sources; it is set to the index of the address in
        use.
        """
        cdef sockaddr_in6 any_address
        cdef int fd, _
        if self.source_count == 0:
            source[0] = 0
            memset(&any_address, 0, sizeof(sockaddr_in6))
            any_address.sin6_family = self.address.sin6_family
            return self._connect(SOCK_DGRAM, &any_address if source_port else NULL, source_port, False)
        if not source_port:
            source[0] = self.next_source
            self.next_source = (self.next_source + 1) % self.source_count
        for _ in range(self.source_count):
            source[0] %= self.source_count
            fd = self._connect(SOCK_DGRAM, &self.sources[source[0]], source_port, False)
            if fd != -EADDRNOTAVAIL:
                break
            source[0] += 1
        return fd

    cdef int _connect(self, int kind, sockaddr_in6 *source, uint16_t source_port, bint speaks) noexcept:
        cdef int fd = self._open(kind, source, speaks)
        cdef int error
        if fd < 0:
            return fd
        if source != NULL and kind == SOCK_DGRAM:
            source.sin6_port = source_port
            error = bind(fd, <sockaddr *>source, self.address_length)
            source.sin6_port = 0
            if error < 0 and (source_port == 0 or bind(fd, <sockaddr *>source, self.address_length) < 0):
                return _failed(fd)
        if connect(fd, <sockaddr *>&self.address, self.address_length) < 0 and errno != EINPROGRESS:
            return _failed(fd)
        return fd

    cdef int connect_as(self, int kind, const uint8_t *client, int length, uint16_t port, bint speaks) noexcept:
        """Return a socket that connects from the client's address, and from its port (network order) if that is free.

        Or a negative errno: EAFNOSUPPORT if client and origin are of different families, EOPNOTSUPP without the
        privilege (CAP_NET_RAW).
        """
        cdef sockaddr_in6 source
        cdef int fd
        memset(&source, 0, sizeof(sockaddr_in6))
        source.sin6_family = self.address.sin6_family
        if (length == 4) != (source.sin6_family == AF_INET):
            return -EAFNOSUPPORT
        if length == 4:
            memcpy(&(<sockaddr_in *>&source).sin_addr, client, 4)
        else:
            memcpy(source.sin6_addr.s6_addr, client, 16)
        source.sin6_port = port
        fd = self._connect_transparent(kind, &source, speaks)
        if fd == -EADDRNOTAVAIL and port:
            source.sin6_port = 0
            fd = self._connect_transparent(kind, &source, speaks)
        return fd

    cdef int _connect_transparent(self, int kind, sockaddr_in6 *source, bint speaks) noexcept:
        cdef int fd = self._open(kind, NULL, speaks)
        cdef int yes = 1, outcome
        if fd < 0:
            return fd
        if source.sin6_family == AF_INET:
            outcome = setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &yes, sizeof(int))
        else:
            outcome = setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &yes, sizeof(int))
        if outcome < 0:
            close(fd)
            return -EOPNOTSUPP
        if source.sin6_port:
            set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1)  # a client may use the same port towards several origins
        else:
            set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if bind(fd, <sockaddr *>source, self.address_length) < 0:
            return _failed(fd)
        if connect(fd, <sockaddr *>&self.address, self.address_length) < 0 and errno != EINPROGRESS:
            return _failed(fd)
        return fd

    cdef int _open(self, int kind, sockaddr_in6 *source, bint speaks) noexcept:
        """Return a socket with these options, a TCP one bound to `source` where that is not NULL.

        TCP_NODELAY is left to the sender: the first bytes need none, and many sessions send no others.
        """
        cdef int fd = socket(self.address.sin6_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            return -errno
        if kind == SOCK_DGRAM:
            set_discovery(fd, IP_PMTUDISC_DO)
            return fd
        if speaks:
            # The first bytes acknowledge the SYN-ACK, so that no segment does only that (net/ipv4/tcp_input.c,
            # tcp_rcv_synsent_state_process). Without bytes within 200 ms the kernel sends it.
            set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 0)
        if PyBytes_GET_SIZE(self.congestion_control):  # its existence was checked before it was configured
            setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, PyBytes_AS_STRING(self.congestion_control),
                       <socklen_t>PyBytes_GET_SIZE(self.congestion_control))
        if self.notsent_lowat:
            set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, self.notsent_lowat)
        if source != NULL:
            # Without it bind takes a port that is then blocked for every destination (ip(7)).
            set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if bind(fd, <sockaddr *>source, self.address_length) < 0:
                return _failed(fd)
        return fd

    cdef void arm_keepalive(self, int fd) noexcept:
        """Enable keepalive to find a dead origin (tcp(7)). It costs five calls, so only long sessions get it."""
        if self.keepalive_idle_s:
            set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
            set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, self.keepalive_idle_s)
            set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, self.keepalive_interval_s)
            set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, self.keepalive_count)
        if self.user_timeout_ms:
            set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, self.user_timeout_ms)
