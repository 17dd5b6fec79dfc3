"""Inline helpers for clocks, sockets and addresses."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.linux cimport *

cdef extern from *:
    """
    #define MAPPED "\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\xff\\xff"
    """
    const char *MAPPED

cdef inline uint64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec

cdef inline void set_int(int fd, int level, int option, int value) noexcept nogil:
    setsockopt(fd, level, option, &value, sizeof(int))

cdef inline void set_discovery(int fd, int mode) noexcept nogil:
    """Allow or forbid fragmentation (ip(7), IP_MTU_DISCOVER) on a socket of either family."""
    set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, mode)
    set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, mode)

cdef inline bint is_ipv4(int fd) noexcept nogil:
    cdef int family = AF_INET
    cdef socklen_t length = sizeof(int)
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length)
    return family == AF_INET

cdef inline uint8_t read_address(const sockaddr_in6 *source, uint8_t *address, uint16_t *port) noexcept nogil:
    """Copy address and port, unmapped; return the address's length in bytes."""
    cdef const sockaddr_in *ipv4 = <const sockaddr_in *>source
    if source.sin6_family == AF_INET:
        memcpy(address, &ipv4.sin_addr, 4)
        port[0] = ntohs(ipv4.sin_port)
        return 4
    port[0] = ntohs(source.sin6_port)
    if memcmp(source.sin6_addr.s6_addr, MAPPED, 12) == 0:
        memcpy(address, &source.sin6_addr.s6_addr[12], 4)
        return 4
    memcpy(address, source.sin6_addr.s6_addr, 16)
    return 16

cdef inline void map_address(const sockaddr_in6 *source, uint8_t *address) noexcept nogil:
    """Copy the address as 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4291, section 2.5.5.2)."""
    if source.sin6_family == AF_INET:
        memcpy(address, MAPPED, 12)
        memcpy(address + 12, &(<const sockaddr_in *>source).sin_addr, 4)
    else:
        memcpy(address, source.sin6_addr.s6_addr, 16)

cdef inline void map_bytes(const uint8_t *address, uint8_t count, uint8_t *mapped) noexcept nogil:
    """Copy an address of 4 or 16 bytes likewise."""
    if count == 4:
        memcpy(mapped, MAPPED, 12)
        memcpy(mapped + 12, address, 4)
    else:
        memcpy(mapped, address, 16)

cdef inline socklen_t fill_address(sockaddr_in6 *target, int family, const uint8_t *address, uint16_t port,
                                   uint32_t scope) noexcept nogil:
    """Fill `target` for a socket of `family` from a mapped address and a port in network order; return its length."""
    cdef sockaddr_in *ipv4 = <sockaddr_in *>target
    target.sin6_family = <sa_family_t>family
    if family == AF_INET:
        ipv4.sin_port = port
        memcpy(&ipv4.sin_addr, address + 12, 4)
        return sizeof(sockaddr_in)
    target.sin6_port = port
    memcpy(target.sin6_addr.s6_addr, address, 16)
    target.sin6_scope_id = scope
    return sizeof(sockaddr_in6)

cdef inline bytes unmapped(const uint8_t *address):
    """Return a mapped address as 4 bytes, any other one as 16."""
    if memcmp(address, MAPPED, 12) == 0:
        return PyBytes_FromStringAndSize(<const char *>address + 12, 4)
    return PyBytes_FromStringAndSize(<const char *>address, 16)

cdef inline socklen_t write_address(sockaddr_in6 *target, bytes address, int port) except 0:
    """Fill `target` from an address of 4 or 16 bytes; return its length."""
    cdef sockaddr_in *ipv4 = <sockaddr_in *>target
    memset(target, 0, sizeof(sockaddr_in6))
    if len(address) == 4:
        ipv4.sin_family = AF_INET
        ipv4.sin_port = htons(<uint16_t>port)
        memcpy(&ipv4.sin_addr, PyBytes_AS_STRING(address), 4)
        return sizeof(sockaddr_in)
    if len(address) != 16:
        raise ValueError(f"an address is 4 or 16 bytes, not {len(address)}")
    target.sin6_family = AF_INET6
    target.sin6_port = htons(<uint16_t>port)
    memcpy(target.sin6_addr.s6_addr, PyBytes_AS_STRING(address), 16)
    return sizeof(sockaddr_in6)

cdef inline int open_door(const uint8_t *address, uint16_t port) noexcept nogil:
    """Return a UDP socket bound to a mapped address, which need not be local, and a port in network order; or -1.

    Other workers have their own (SO_REUSEADDR). It receives nothing: TPROXY prefers the listener to an unconnected
    socket.
    """
    cdef sockaddr_in6 bound
    cdef int family = AF_INET if memcmp(address, MAPPED, 12) == 0 else AF_INET6
    cdef int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    cdef socklen_t length
    if fd < 0:
        return -1
    memset(&bound, 0, sizeof(sockaddr_in6))
    length = fill_address(&bound, family, address, port, 0)
    if family == AF_INET:
        set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
    else:
        set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1)
    if bind(fd, <sockaddr *>&bound, length) < 0:
        close(fd)
        return -1
    return fd
