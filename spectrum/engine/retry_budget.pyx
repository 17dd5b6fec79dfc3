# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The limit of connects after failed ones: a share of the sessions, as in Finagle's and Linkerd's retry budgets.

Envoy's budget counts concurrent retries. A refused connect takes less than a millisecond, so those would hardly ever be
concurrent, however many there are.
"""

from libc.math cimport exp
from libc.stdint cimport uint64_t

cdef enum:
    # Counts decay to 1/e in this time.
    WINDOW_MS = 10000


cdef class RetryBudget:
    """Limits the further connects of one pool's sessions, or of one app's.

    Sessions and further connects are counted over about ten seconds: both counts decay. Every worker has its own
    budget, as a share is the same in each.

    Args:
        percent: Further connects in percent of the sessions.
        min_per_second: Further connects per second that are allowed in any case.
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
        """Return whether one more connect is allowed."""
        self._decay(now_ms)
        return self._retries + 1 <= self._share * self._sessions + self._least

    cpdef bint spend(self, uint64_t now_ms) noexcept:
        """Count one more connect; return False if it is not allowed."""
        if not self.allows(now_ms):
            return False
        self._retries += 1
        return True
