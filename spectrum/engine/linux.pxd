"""C declarations of Linux that the engine uses."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64

    struct epoll_event:
        uint32_t events
        epoll_data_t data

    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout_ms)
    enum:
        EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
        EPOLLIN, EPOLLPRI, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP, EPOLLEXCLUSIVE
    # Above INT_MAX, so it cannot be an enum.
    const uint32_t EPOLLET

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *value, itimerspec *old)
    enum:
        TFD_NONBLOCK, TFD_CLOEXEC

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

    int poll(pollfd *fds, unsigned long count, int timeout_ms)
    enum:
        POLLOUT, POLLRDHUP, POLLERR, POLLHUP

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec

    struct itimerspec:
        timespec it_interval
        timespec it_value

    int clock_gettime(int clock, timespec *now)
    enum:
        CLOCK_MONOTONIC, CLOCK_REALTIME

cdef extern from "<netinet/in.h>" nogil:
    ctypedef unsigned short sa_family_t
    ctypedef unsigned int socklen_t

    struct in_addr:
        uint32_t s_addr

    struct in6_addr:
        uint8_t s6_addr[16]

    struct sockaddr:
        sa_family_t sa_family

    struct sockaddr_in:
        sa_family_t sin_family
        uint16_t sin_port
        in_addr sin_addr

    struct sockaddr_in6:
        sa_family_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id

    uint16_t htons(uint16_t value)
    uint16_t ntohs(uint16_t value)
    enum:
        IPPROTO_IP, IPPROTO_TCP, IP_BIND_ADDRESS_NO_PORT, IP_TRANSPARENT

cdef extern from "<sys/socket.h>" nogil:
    struct linger_t "linger":
        int l_onoff
        int l_linger

    int socket(int family, int kind, int protocol)
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)
    int bind(int fd, const sockaddr *address, socklen_t length)
    int connect(int fd, const sockaddr *address, socklen_t length)
    int getsockname(int fd, sockaddr *address, socklen_t *length)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
    int getsockopt(int fd, int level, int option, void *value, socklen_t *length)
    int shutdown(int fd, int how)
    ssize_t recv(int fd, void *data, size_t size, int flags)
    ssize_t send(int fd, const void *data, size_t size, int flags)
    enum:
        AF_INET, AF_INET6, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SHUT_WR
        SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SO_REUSEADDR, MSG_MORE, MSG_NOSIGNAL, MSG_PEEK

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags

    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type

    # The C library declares them under _GNU_SOURCE only, which Python's headers define.
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *timeout)
    ssize_t sendmsg(int fd, msghdr *message, int flags)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *control)
    unsigned char *CMSG_DATA(cmsghdr *control)
    size_t CMSG_LEN(size_t size)
    size_t CMSG_SPACE(size_t size)
    enum:
        SO_DOMAIN, SO_MEMINFO, SO_RCVBUF, SO_RCVBUFFORCE, SO_RCVLOWAT
        SOCK_DGRAM, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_CTRUNC

cdef extern from "<netinet/in.h>" nogil:
    struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_spec_dst
        in_addr ipi_addr

    struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex

    enum:
        IPPROTO_IPV6, IPPROTO_UDP, IP_PKTINFO, IPV6_PKTINFO, IPV6_TRANSPARENT
        IP_ORIGDSTADDR, IPV6_ORIGDSTADDR
        IP_MTU, IPV6_MTU, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_RECVFRAGSIZE, IPV6_RECVFRAGSIZE
        # IPv6 has the same options with other names, and the same numbers.
        IP_PMTUDISC_DONT, IP_PMTUDISC_WANT, IP_PMTUDISC_DO

cdef extern from "<linux/udp.h>" nogil:
    enum:
        UDP_SEGMENT

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t size)
    enum:
        PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS
    void *MAP_FAILED

cdef extern from "<linux/tcp.h>" nogil:
    struct tcp_info:
        uint32_t tcpi_unacked
        uint32_t tcpi_rtt
        uint32_t tcpi_rttvar
        uint64_t tcpi_bytes_acked
        uint64_t tcpi_bytes_received
        uint32_t tcpi_notsent_bytes
        uint32_t tcpi_snd_wnd

    enum:
        TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT, TCP_INFO, TCP_CONGESTION
        TCP_NOTSENT_LOWAT

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    int dup(int fd)
    int ftruncate(int fd, long size)
    ssize_t read(int fd, void *data, size_t size)
