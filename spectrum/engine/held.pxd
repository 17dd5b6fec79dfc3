"""Datagrams of clients without a flow that wait until there is time to begin one: a queue in the order of arrival."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from spectrum.engine.flows cimport Key

cdef enum:
    # Of all listeners of a worker.
    HELD_DATAGRAMS = 4096
    HELD_BYTES = 4 << 20

cdef struct Held:
    Held *next
    Key key
    uint64_t came_ms
    uint32_t scope        # the interface of a link-local client
    uint32_t bytes        # of the datagram, which follows

cdef struct HeldQueue:
    Held *first
    Held *last
    uint32_t count
    size_t bytes

cdef inline bint hold(HeldQueue *queue, const Key *key, uint32_t scope, uint64_t now_ms, const char *data,
                      size_t size) noexcept nogil:
    """Copy a datagram to the end of the queue; return False where that is full."""
    cdef Held *held
    if queue.count >= HELD_DATAGRAMS or queue.bytes + size > HELD_BYTES:
        return False
    held = <Held *>malloc(sizeof(Held) + size)
    if held == NULL:
        return False
    held.next = NULL
    held.key = key[0]
    held.came_ms = now_ms
    held.scope = scope
    held.bytes = <uint32_t>size
    memcpy(held + 1, data, size)
    if queue.first == NULL:
        queue.first = held
    else:
        queue.last.next = held
    queue.last = held
    queue.count += 1
    queue.bytes += size
    return True

cdef inline void drop_first(HeldQueue *queue) noexcept nogil:
    """Free the first datagram of a queue that has one."""
    cdef Held *held = queue.first
    queue.first = held.next
    queue.count -= 1
    queue.bytes -= held.bytes
    free(held)
