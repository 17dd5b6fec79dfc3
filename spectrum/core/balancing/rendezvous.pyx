# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Consistent hashing: which of several members a key belongs to, such that a member's loss moves only its own keys.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005): each member has a score for
each bucket of keys, and the highest one wins. A share deviates from its weight by 0.2 % of all keys where a ring with
256 points for each member deviates by 3 %. Scores depend on a member's name alone, so they are the same in every
worker, on every node and after every restart. Winners are stored, so that a look-up for a thousand members is as fast
as for three.
"""

from libc.math cimport log
from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport free, malloc

from hashlib import blake2b

cdef enum:
    # The top bits of a key.
    BUCKET_BITS = 16
    BUCKETS = 1 << BUCKET_BITS
    MAX_MEMBERS = 65534
    NOT_KNOWN = 0xFFFF


cdef extern from *:
    """
    static inline uint64_t finalise(uint64_t value) {
        /* The output function of splitmix64 (Steele, Lea and Flood 2014). */
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
        return value ^ (value >> 31);
    }
    #define INCREMENT 0x9E3779B97F4A7C15u
    """
    uint64_t finalise(uint64_t value) nogil
    uint64_t INCREMENT


cdef class Rendezvous:
    """Members that share the keys of 64 bits.

    Args:
        members: Name and weight of each, at most 65,534; those with weight 0 have no keys.
    """

    cdef uint64_t *_seeds
    cdef double *_weights
    cdef uint16_t *_winners
    cdef int _count

    def __init__(self, members):
        cdef int i
        self._count = len(members)
        if self._count > MAX_MEMBERS:
            raise ValueError(f"{self._count} members are more than {MAX_MEMBERS}")
        self._seeds = <uint64_t *>malloc((self._count + 1) * sizeof(uint64_t))
        self._weights = <double *>malloc((self._count + 1) * sizeof(double))
        self._winners = <uint16_t *>malloc(BUCKETS * sizeof(uint16_t))
        if self._seeds == NULL or self._weights == NULL or self._winners == NULL:
            raise MemoryError()
        for i in range(BUCKETS):
            self._winners[i] = NOT_KNOWN
        for i in range(self._count):
            name, self._weights[i] = members[i]
            self._seeds[i] = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")

    def __dealloc__(self):
        free(self._seeds)
        free(self._weights)
        free(self._winners)

    cdef int _win(self, uint64_t bucket, const unsigned char *usable) noexcept nogil:
        """The member with the highest score among the usable ones (NULL: all); -1 without any."""
        cdef double score, best = 0
        cdef int i, winner = -1
        cdef uint64_t salt = finalise(bucket + INCREMENT)
        for i in range(self._count):
            if self._weights[i] <= 0 or (usable != NULL and not usable[i]):
                continue
            # A hash as a fraction between 0 and 1, neither included.
            score = ((finalise(self._seeds[i] ^ salt) >> 11) + 0.5) / 9007199254740992.0
            score = self._weights[i] / -log(score)
            if score > best:
                best = score
                winner = i
        return winner

    def find(self, uint64_t key):
        """Return the number of the member that `key` belongs to; -1 if no member has a weight."""
        cdef uint64_t bucket = key >> (64 - BUCKET_BITS)
        cdef int winner = self._winners[bucket]
        if winner == NOT_KNOWN:
            winner = self._win(bucket, NULL)
            if winner >= 0:
                self._winners[bucket] = <uint16_t>winner
        return winner

    def find_among(self, uint64_t key, bytes usable):
        """Return the same among the members whose byte in `usable`, one for each, is not 0."""
        if len(usable) != self._count:
            raise ValueError(f"{len(usable)} bytes for {self._count} members")
        return self._win(key >> (64 - BUCKET_BITS), usable)


def bucket_of(uint64_t key):
    """Return the bucket of a key: all keys of one belong to the same member."""
    return key >> (64 - BUCKET_BITS)
