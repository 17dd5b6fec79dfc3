# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""A worker's flows in the kernel's offload tables: add, remove, count. The program is kernel/bpf/offload.bpf.c.

A flow has an entry and a tally per direction; tallies are in an array that is mapped here: reading them takes no system
call. Entries are valid while their worker renews its lease; those of a dead worker have no effect.
"""

from libc.errno cimport ENOENT, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from spectrum.engine.flows cimport Flow
from spectrum.engine.linux cimport *
from spectrum.engine.sockets cimport map_address

cdef extern from *:
    """
    #include <linux/bpf.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    static inline long on_element(int command, int map, const void *key, void *value) {
        /* bpf(2) */
        union bpf_attr attributes;
        memset(&attributes, 0, sizeof(attributes));
        attributes.map_fd = map;
        attributes.key = (unsigned long)key;
        attributes.value = (unsigned long)value;
        return syscall(SYS_bpf, command, &attributes, sizeof(attributes));
    }

    static inline long bpf_get(int map, const void *key, void *value) {
        return on_element(BPF_MAP_LOOKUP_ELEM, map, key, value);
    }

    static inline long bpf_set(int map, const void *key, void *value) {
        return on_element(BPF_MAP_UPDATE_ELEM, map, key, value);
    }

    static inline long bpf_remove(int map, const void *key) {
        return on_element(BPF_MAP_DELETE_ELEM, map, key, NULL);
    }

    static inline long bpf_get_many(int map, const void *before, void *after, void *keys, void *values,
                                    unsigned int *count) {
        union bpf_attr attributes;
        long outcome;
        memset(&attributes, 0, sizeof(attributes));
        attributes.batch.map_fd = map;
        attributes.batch.in_batch = (unsigned long)before;
        attributes.batch.out_batch = (unsigned long)after;
        attributes.batch.keys = (unsigned long)keys;
        attributes.batch.values = (unsigned long)values;
        attributes.batch.count = *count;
        outcome = syscall(SYS_bpf, BPF_MAP_LOOKUP_BATCH, &attributes, sizeof(attributes));
        *count = attributes.batch.count;
        return outcome;
    }
    """
    long bpf_get(int map, const void *key, void *value) nogil
    long bpf_set(int map, const void *key, void *value) nogil
    long bpf_remove(int map, const void *key) nogil
    long bpf_get_many(
        int map, const void *before, void *after, void *keys, void *values, unsigned int *count) nogil

cdef enum:
    # The lease is renewed each second; after this number of missed renewals a worker is presumed dead.
    LEASE_S = 5
    # Entries per read when a worker removes those of its predecessor.
    BATCH = 1024
    LEASES_BYTES = OFFLOAD_MAX_WORKERS * 8

cdef uint64_t NS_PER_S = 1000000000

cdef class Offload:
    """One worker's part of the kernel's tables.

    Args:
        flows: The descriptor of the table of entries; the caller owns all descriptors.
        tallies: That of the array of tallies.
        leases: That of the array of leases.
        worker: The worker's number.
        workers: The number of workers that share the tables.
        places: The number of tallies of all workers.

    Attributes:
        room: The limit of indexes of flows that can be offloaded.
        active: The number of offloaded flows.

    Raises:
        OSError: If the arrays cannot be mapped.
    """

    def __cinit__(self):
        self._flows = -1

    def __init__(self, int flows, int tallies, int leases, *, uint32_t worker, uint32_t workers, uint32_t places):
        if not worker < workers <= OFFLOAD_MAX_WORKERS:
            raise ValueError(f"worker {worker} of {workers}")
        self._worker = worker
        self.room = places // 2 // workers
        self._first_place = 2 * self.room * worker
        self._flows = dup(flows)
        self._tallies_bytes = <size_t>places * sizeof(offload_tally)
        self._tallies_memory = mmap(NULL, self._tallies_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, tallies, 0)
        self._leases_memory = mmap(NULL, LEASES_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, leases, 0)
        if self._flows < 0 or self._tallies_memory == MAP_FAILED or self._leases_memory == MAP_FAILED:
            raise OSError(errno, "the kernel's table of flows cannot be mapped")
        self._keys = <offload_tuple *>calloc(2 * self.room + 1, sizeof(offload_tuple))
        if self._keys == NULL:
            raise MemoryError()
        self._tallies = <offload_tally *>self._tallies_memory + self._first_place
        self._lease = <uint64_t *>self._leases_memory + worker

    def __dealloc__(self):
        if self._tallies_memory != NULL and self._tallies_memory != MAP_FAILED:
            munmap(self._tallies_memory, self._tallies_bytes)
        if self._leases_memory != NULL and self._leases_memory != MAP_FAILED:
            munmap(self._leases_memory, LEASES_BYTES)
        if self._flows >= 0:
            close(self._flows)
        free(self._keys)

    cdef bint enter(self, uint32_t index, Flow *flow, const sockaddr_in6 *ours, uint8_t to_origin,
                    uint8_t to_client) noexcept nogil:
        """Offload a flow to the kernel, towards its present origin; return False if that is not possible.

        Args:
            index: The flow's index, constant until `leave`.
            ours: The address of the flow's own socket.
            to_origin: The action on the payload on the way there, of `offload.h`.
            to_client: Likewise.
        """
        cdef offload_tuple *keys = &self._keys[2 * index]
        cdef offload_way ways[2]
        cdef int side
        if index >= self.room:
            return False
        memset(ways, 0, sizeof(ways))
        memcpy(keys[0].from_, flow.peer, 16)
        memcpy(keys[0].to, flow.local, 16)
        keys[0].from_port, keys[0].to_port = flow.peer_port, flow.local_port
        memcpy(keys[1].from_, flow.origin, 16)
        map_address(ours, keys[1].to)
        keys[1].from_port, keys[1].to_port = flow.origin_port, ours.sin6_port
        for side in range(2):
            # Each direction leaves as the other one arrives, with source and destination swapped.
            memcpy(ways[side].becomes.from_, keys[1 - side].to, 16)
            memcpy(ways[side].becomes.to, keys[1 - side].from_, 16)
            ways[side].becomes.from_port = keys[1 - side].to_port
            ways[side].becomes.to_port = keys[1 - side].from_port
            ways[side].place = self._first_place + 2 * index + side
            ways[side].worker = self._worker
            ways[side].what = to_client if side else to_origin
            ways[side].header_bytes = flow.header_bytes
            memcpy(ways[side].header, flow.header, flow.header_bytes)
        # Replies first: until the client's direction has its entry, its datagrams reach user space as before.
        if bpf_set(self._flows, &keys[1], &ways[1]) < 0:
            return False
        if bpf_set(self._flows, &keys[0], &ways[0]) < 0:
            self._remove(&keys[1], ways[1].place)
            return False
        self.active += 1
        return True

    cdef void leave(self, uint32_t index) noexcept nogil:
        """Remove the entries of an offloaded flow."""
        cdef int side
        for side in range(2):
            self._remove(&self._keys[2 * index + side], self._first_place + 2 * index + side)
        self.active -= 1

    cdef void _remove(self, const offload_tuple *key, uint32_t place) noexcept nogil:
        """Remove an entry, unless it belongs to another flow now, as its client's datagrams reached another worker."""
        cdef offload_way way
        if bpf_get(self._flows, key, &way) == 0 and way.place == place:
            bpf_remove(self._flows, key)

    cdef const offload_tally *tally(self, uint32_t index, int side) noexcept nogil:
        """Return the kernel's tally for an index, since the creation of the tables, of all flows that had the index."""
        return &self._tallies[2 * index + side]

    cdef void renew(self, uint64_t now_ns) noexcept nogil:
        """Renew the lease of this worker's entries."""
        self._lease[0] = now_ns + LEASE_S * NS_PER_S

    # === Public API ===

    def sweep(self):
        """Remove the entries that its predecessor added under this worker's number.

        Raises:
            OSError: If the kernel refuses to list them.
        """
        cdef unsigned int count
        cdef uint32_t i
        cdef uint64_t[8] before
        cdef uint64_t[8] after
        cdef bint first = True, last = False
        cdef offload_tuple *keys = <offload_tuple *>calloc(BATCH, sizeof(offload_tuple))
        cdef offload_way *ways = <offload_way *>calloc(BATCH, sizeof(offload_way))
        cdef list gone = []
        try:
            if keys == NULL or ways == NULL:
                raise MemoryError()
            while not last:
                count = BATCH
                if bpf_get_many(self._flows, NULL if first else before, after, keys, ways, &count) < 0:
                    if errno != ENOENT:
                        raise OSError(errno, "the kernel's table of flows cannot be read")
                    last = True
                for i in range(count):
                    if ways[i].worker == self._worker and not self._is_ours(&keys[i], ways[i].place):
                        gone.append((<char *>&keys[i])[:sizeof(offload_tuple)])
                memcpy(before, after, sizeof(before))
                first = False
        finally:
            free(keys)
            free(ways)
        for key in gone:
            bpf_remove(self._flows, <char *>key)

    cdef bint _is_ours(self, const offload_tuple *key, uint32_t place) noexcept:
        cdef uint32_t number = place - self._first_place
        return number < 2 * self.room and memcmp(&self._keys[number], key, sizeof(offload_tuple)) == 0
