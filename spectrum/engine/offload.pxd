"""The C layout of `Offload`, for the UDP engine."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from spectrum.engine.flows cimport Flow
from spectrum.engine.linux cimport sockaddr_in6

cdef extern from "../kernel/bpf/offload.h" nogil:
    enum:
        OFFLOAD_HEADER_BYTES, OFFLOAD_MAX_WORKERS
        OFFLOAD_KEEPS, OFFLOAD_PUTS, OFFLOAD_STRIPS, OFFLOAD_LENIENT

    struct offload_tuple:
        uint8_t from_ "from"[16]
        uint8_t to[16]
        uint16_t from_port
        uint16_t to_port

    struct offload_way:
        offload_tuple becomes
        uint32_t place
        uint32_t worker
        uint8_t what
        uint8_t header_bytes
        uint8_t header[64]

    struct offload_tally:
        uint64_t datagrams
        uint64_t bytes
        uint64_t last_ns


cdef class Offload:
    cdef int _flows
    cdef void *_tallies_memory
    cdef void *_leases_memory
    cdef size_t _tallies_bytes
    cdef offload_tally *_tallies  # this worker's: of flow n at 2n from its client, at 2n + 1 from its origin
    cdef offload_tuple *_keys     # likewise: of their entries
    cdef uint64_t *_lease
    cdef uint32_t _worker, _first_place
    cdef readonly uint32_t room
    cdef readonly uint32_t active
    cdef bint enter(self, uint32_t index, Flow *flow, const sockaddr_in6 *ours, uint8_t to_origin,
                    uint8_t to_client) noexcept nogil
    cdef void leave(self, uint32_t index) noexcept nogil
    cdef const offload_tally *tally(self, uint32_t index, int side) noexcept nogil
    cdef void renew(self, uint64_t now_ns) noexcept nogil
    cdef void _remove(self, const offload_tuple *key, uint32_t place) noexcept nogil
    cdef bint _is_ours(self, const offload_tuple *key, uint32_t place) noexcept
