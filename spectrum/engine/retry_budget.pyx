# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""How many connects may follow failed ones: a share of the sessions, as in Finagle's and Linkerd's budgets.

Envoy's counts what is under way at a moment. A refused connect takes less than a millisecond, so of those none would be
under way together, however many there are.
"""

from libc.math cimport exp
from libc.stdint cimport uint64_t

cdef enum:
    # What was counted has a weight of 1/e after so long.
    WINDOW_MS = 10000


cdef class RetryBudget:
    """Bounds the further connects of one pool's sessions, or of one app's.

    Sessions and further connects are counted over about ten seconds: both counts decay. Every worker has a budget of
    its own, as a share is the same in each.

    Args:
        percent: Of the sessions, so many may take a further connect.
        min_per_second: So many may in any case.
    """

    def __init__(self, double percent, double min_per_second):
        self._share = percent / 100
        self._least = min_per_second * WINDOW_MS / 1000

    cdef void _decay(self, uint64_t now_ms) noexcept:
        cdef double left
        if now_ms <= self._counted_ms:
            return
        left = exp(-<double>(now_ms - self._counted_ms) / WINDOW_MS)
        self._sessions *= left
        self._retries *= left
        self._counted_ms = now_ms

    cpdef void begin(self, uint64_t now_ms) noexcept:
        """Count the first connect of a session; `now_ms` is of the monotonic clock."""
        self._decay(now_ms)
        self._sessions += 1

    cpdef bint allows(self, uint64_t now_ms) noexcept:
        """Return whether there may be one more connect."""
        self._decay(now_ms)
        return self._retries + 1 <= self._share * self._sessions + self._least

    cpdef bint spend(self, uint64_t now_ms) noexcept:
        """Count one more connect; return False where there may be none."""
        if not self.allows(now_ms):
            return False
        self._retries += 1
        return True
