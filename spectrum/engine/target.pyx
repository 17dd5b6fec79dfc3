# cython: language_level=3
"""An origin as the engine connects to it."""

from libc.errno cimport EADDRNOTAVAIL, EAGAIN, errno
from libc.stdint cimport uint16_t
from spectrum.engine.linux cimport *
from spectrum.engine.sockets cimport set_int, write_address


cdef class Target:
    """An origin's address, the socket options that a connection to it gets, and a count of them. Shared by sessions."""

    def __init__(self, bytes address, int port, str host, *, bint staggered=False, bytes source=None,
                 tuple keepalive=(0, 0, 0), int user_timeout_ms=0, uint16_t number=0):
        self.address_length = write_address(&self.address, address, port)
        self.source_length = write_address(&self.source, source, 0) if source is not None else 0
        self.keepalive_idle_s, self.keepalive_interval_s, self.keepalive_count = keepalive
        self.user_timeout_ms = user_timeout_ms
        self.staggered = staggered
        self.number = number
        self.host = host
        self.port = port
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def take_connected(self):
        """Return how many sessions were connected to it since the last call."""
        taken = self.connected
        self.connected = 0
        return taken

    cdef int open_socket(self) noexcept:
        """Return a socket with these options, bound to the source if there is one; or a negative errno."""
        cdef int fd = socket(self.address.sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        cdef int error
        if fd < 0:
            return -errno
        set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1)
        if self.source_length:
            # Without it bind takes a port that is then blocked for every destination (ip(7)).
            set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if bind(fd, <sockaddr *>&self.source, self.source_length) < 0:
                error = errno
                close(fd)
                return -error
        return fd

    cdef int open_datagram(self, uint16_t source_port) noexcept:
        """Return a UDP socket connected to it, from `source_port` (network order) if that is free; or a negative errno.

        It never makes fragments: a datagram that would need them is refused with EMSGSIZE (ip(7), IP_MTU_DISCOVER).
        """
        cdef int fd = socket(self.address.sin6_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        cdef sockaddr_in6 source = self.source
        cdef int error
        if fd < 0:
            return -errno
        if self.address.sin6_family == AF_INET:
            set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        else:
            set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
        if source_port or self.source_length:
            source.sin6_family = self.address.sin6_family
            source.sin6_port = source_port
            if bind(fd, <sockaddr *>&source, self.address_length) < 0:
                source.sin6_port = 0
                if bind(fd, <sockaddr *>&source, self.address_length) < 0:
                    error = errno
                    close(fd)
                    return -error
        if connect(fd, <sockaddr *>&self.address, self.address_length) < 0:
            # UDP has one port per socket and source address, whatever the destination; EAGAIN says that none is free.
            error = EADDRNOTAVAIL if errno == EAGAIN else errno
            close(fd)
            return -error
        return fd

    cdef void arm_keepalive(self, int fd) noexcept:
        """Let the kernel find a dead origin (tcp(7)). Five calls, so it is for sessions that last."""
        if self.keepalive_idle_s:
            set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
            set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, self.keepalive_idle_s)
            set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, self.keepalive_interval_s)
            set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, self.keepalive_count)
        if self.user_timeout_ms:
            set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, self.user_timeout_ms)
