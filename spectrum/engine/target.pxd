"""The C layout of `Target`, for the relay."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from spectrum.engine.linux cimport sockaddr_in6, socklen_t
from spectrum.engine.retry_budget cimport RetryBudget
from spectrum.engine.spares cimport Spares
from spectrum.engine.tls cimport TlsPeer


cdef extern from *:
    """
    /* The head of a `Target`: counters for code that holds neither a reference nor the GIL. */
    typedef struct {
        PyObject_HEAD
        void *methods;
        uint64_t moved[2];
    } TargetHead;
    """
    ctypedef struct TargetHead:
        uint64_t moved[2]


cdef class Target:
    cdef uint64_t moved[2]  # bytes by their sender, clients or the origin: the first field, see `TargetHead`
    cdef sockaddr_in6 address
    cdef socklen_t address_length
    cdef sockaddr_in6 *sources  # addresses to connect from; the kernel chooses if there are none
    cdef int source_count
    cdef int next_source
    cdef bint transparent  # connect from the client's own address
    cdef int keepalive_idle_s, keepalive_interval_s, keepalive_count, user_timeout_ms
    cdef bytes congestion_control  # empty for the machine's
    cdef int notsent_lowat  # bytes; 0 for the machine's
    cdef bint staggered
    cdef readonly uint16_t number  # of an origin in a pool
    cdef readonly uint16_t place   # its index in `Loads`
    cdef public RetryBudget retries  # None: no limit
    cdef Spares spares  # None: there never were any
    cdef readonly TlsPeer tls  # its TLS settings; None for plain TCP
    cdef readonly str host
    cdef readonly int port
    cdef readonly str name
    cdef readonly str pool, origin  # the names in a load balancer, or that of the resolved origin; ""
    cdef uint64_t connected
    cdef uint32_t channel  # of the UDP engine: the shared socket towards it, index + 1; 0 for none
    cdef int connect_stream(self, const uint8_t *client, int length, uint16_t port, bint speaks) noexcept
    cdef int connect_datagram(self, uint16_t source_port, int *source) noexcept
    cdef int connect_as(self, int kind, const uint8_t *client, int length, uint16_t port, bint speaks) noexcept
    cdef int _open(self, int kind, sockaddr_in6 *source, bint speaks) noexcept
    cdef int _connect(self, int kind, sockaddr_in6 *source, uint16_t source_port, bint speaks) noexcept
    cdef int _connect_transparent(self, int kind, sockaddr_in6 *source, bint speaks) noexcept
    cdef void arm_keepalive(self, int fd) noexcept


cdef inline void count_moved(PyObject *target, int side, uint64_t size) noexcept nogil:
    """Count bytes by their sender; not for a flow of the previous worker that is not served as its app is now."""
    if target != NULL:
        (<TargetHead *>target).moved[side] += size
