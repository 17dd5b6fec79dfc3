"""The C layout of `Fragmentable`, for the UDP engine."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SIGHTS = 1024

cdef struct Sight:
    uint64_t tag
    uint64_t seen_ns


cdef class Fragmentable:
    cdef int _fd
    cdef uint32_t _longest
    cdef uint64_t _since_ns, _asked_ns
    cdef bint _missed
    cdef uint64_t _secret[2]
    cdef Sight _sights[SIGHTS]

    cdef bint watch(self, uint32_t longest) noexcept nogil
    cdef bint allows(self, const uint8_t *client, uint16_t client_port, const uint8_t *edge, uint16_t edge_port,
                     uint64_t read_ns) noexcept nogil
    cdef void read(self) noexcept nogil
    cpdef void rest(self, uint64_t now_ns) noexcept
    cdef bint _open(self) noexcept nogil
    cdef void _see(self, const uint8_t *packet, size_t size, uint64_t now_ns) noexcept nogil
    cdef uint64_t _tag(self, uint32_t client, uint16_t client_port, uint32_t edge,
                       uint16_t edge_port) noexcept nogil
