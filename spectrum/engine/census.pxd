"""The C layout of the counts for limits, for the engines."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef class Census:
    cdef void *_memory
    cdef size_t _memory_bytes
    cdef int _workers
    cdef uint32_t *_own    # this worker's cells
    cdef uint64_t _secret
    cdef int _ipv4_bits, _ipv6_bits, _ipv4_wide_bits, _ipv6_wide_bits
    cdef uint64_t client_key(self, uint64_t group, const uint8_t *client, int length) noexcept nogil
    cdef uint64_t prefix_key(self, uint64_t group, const uint8_t *client, int length) noexcept nogil
    cdef uint64_t _key(self, uint64_t group, const uint8_t *client, int length, int bits) noexcept nogil
    cdef void enter(self, uint64_t node, uint64_t app, const uint8_t *client, int length) noexcept nogil
    cdef void leave(self, uint64_t node, uint64_t app, const uint8_t *client, int length) noexcept nogil
    cdef void _add(self, uint64_t node, uint64_t app, const uint8_t *client, int length, int amount) noexcept nogil
    cdef void _add_key(self, uint64_t key, int amount) noexcept nogil
    cdef uint32_t _count_key(self, uint64_t key) noexcept nogil


cdef class Rates:
    cdef uint64_t *_cells
    cdef size_t _memory_bytes
    cdef uint64_t _paid_until(self, uint64_t key) noexcept nogil
    cdef uint64_t pay(self, uint64_t key, uint64_t cost_ns, uint64_t now_ns) noexcept nogil
    cdef bint afford(self, uint64_t key, uint64_t cost_ns, uint64_t now_ns) noexcept nogil
