# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Spare connections to an origin, opened before there is a session for them. Each is used once.

They are not read: what an origin sends first (SSH, SMTP) stays in the kernel for the session. Epoll does not watch them
either: they are few, and are checked together, and again when they are used.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove
from spectrum.engine.linux cimport *

cdef enum:
    # Pause after an origin refuses or closes spare connections. It doubles.
    FIRST_PAUSE_MS = 1000
    LAST_PAUSE_MS = 30000
    # Interval of checks of open ones.
    LOOK_MS = 1000

MAX_WANTED = MAX_SPARES


cdef bint _is_gone(int fd) noexcept nogil:
    """Return whether the origin has closed a connection; unread bytes do not matter."""
    cdef pollfd asked
    asked.fd = fd
    asked.events = POLLRDHUP
    asked.revents = 0
    return poll(&asked, 1, 0) != 0


cdef class Spares:
    """The spare connections to one origin.

    Args:
        wanted: The number of spare connections, up to `MAX_WANTED`.
        most: The limit of sessions and spare connections of the origin together; 0 for no limit.
        timeout_ms: The timeout of a connect.
    """

    def __init__(self, int wanted, uint64_t most=0, uint64_t timeout_ms=5000):
        self.want(wanted, most, timeout_ms)

    def __dealloc__(self):
        self._close(self._count)

    cdef void want(self, int wanted, uint64_t most, uint64_t timeout_ms) noexcept:
        """Go by other settings from now on."""
        self._wanted = min(wanted, <int>MAX_SPARES)
        self._most = most
        self._timeout_ms = timeout_ms
        self._look_at_ms = 0

    cdef int take(self, uint64_t now_ms) noexcept nogil:
        """Return the connection that was opened last, of those that are open; -1 if there is none."""
        cdef int fd
        while self._ready:
            self._ready -= 1
            fd = self._fds[self._ready]
            self._remove(self._ready)
            if _is_gone(fd):
                close(fd)
                self._lose(now_ms)
                continue
            self.counts[USED] += 1
            self._pause_ms = 0
            self._look_at_ms = 0
            return fd
        return -1

    cdef int look(self, uint64_t sessions, int workers, uint64_t now_ms) noexcept nogil:
        """Close what is over or too much; return how many more should be opened now.

        Args:
            sessions: That the origin has, in all workers.
            workers: How many of them keep connections to it: what is left of `most` they share evenly.
            now_ms: Of the monotonic clock.
        """
        cdef int allowed = self._wanted, missing
        if not self.is_busy(now_ms):
            return 0
        self._look_at_ms = now_ms + LOOK_MS
        self._look_over(now_ms)
        if self._most:
            allowed = <int>min(<uint64_t>allowed, (self._most - min(sessions, self._most)) // <uint64_t>workers)
        missing = allowed - self._count
        if missing < 0:
            self._close(-missing)
        if missing <= 0 or now_ms < self._not_before_ms:
            return 0
        self._look_at_ms = now_ms
        return missing

    cdef bint is_busy(self, uint64_t now_ms) noexcept nogil:
        """Return whether there is something to do by now: it is more than a look once a second."""
        return self._count > self._ready or now_ms >= self._look_at_ms

    cdef void _look_over(self, uint64_t now_ms) noexcept nogil:
        """Ask the kernel about all of them at once, and sort them."""
        cdef pollfd[MAX_SPARES] asked
        cdef int[MAX_SPARES] waiting
        cdef uint64_t[MAX_SPARES] deadline_ms
        cdef int place, fd, ready = 0, waits = 0
        if self._count == 0:
            return
        for place in range(self._count):
            asked[place].fd = self._fds[place]
            asked[place].events = POLLRDHUP if place < self._ready else POLLOUT
            asked[place].revents = 0
        poll(asked, self._count, 0)
        for place in range(self._count):
            fd = self._fds[place]
            if place < self._ready and asked[place].revents:
                close(fd)
                self._lose(now_ms)
            elif place < self._ready or asked[place].revents == POLLOUT:
                self.counts[OPENED] += place >= self._ready
                self._fds[ready] = fd
                ready += 1
            elif asked[place].revents or now_ms >= self._deadline_ms[place]:
                close(fd)
                self.fail(now_ms)
            else:
                waiting[waits] = fd
                deadline_ms[waits] = self._deadline_ms[place]
                waits += 1
        self._ready = ready
        self._count = ready + waits
        memcpy(&self._fds[ready], waiting, waits * sizeof(int))
        memcpy(&self._deadline_ms[ready], deadline_ms, waits * sizeof(uint64_t))

    cdef void add(self, int fd, uint64_t now_ms) noexcept nogil:
        """Have one more, which is being connected. There must be room: see `look`."""
        self._fds[self._count] = fd
        self._deadline_ms[self._count] = now_ms + self._timeout_ms
        self._count += 1

    cdef void fail(self, uint64_t now_ms) noexcept nogil:
        """Count a connect that failed, and open none for a while."""
        self.counts[FAILED] += 1
        self._rest(now_ms)

    cdef void _lose(self, uint64_t now_ms) noexcept nogil:
        self.counts[LOST] += 1
        self._rest(now_ms)

    cdef void _rest(self, uint64_t now_ms) noexcept nogil:
        if now_ms < self._not_before_ms:
            return  # several at once are one occasion
        if now_ms - self._not_before_ms > LAST_PAUSE_MS:
            self._pause_ms = 0  # it was long ago
        self._pause_ms = min(max(2 * self._pause_ms, <uint64_t>FIRST_PAUSE_MS), <uint64_t>LAST_PAUSE_MS)
        self._not_before_ms = now_ms + self._pause_ms

    cdef void _remove(self, int place) noexcept nogil:
        """Forget a connection, which is somebody else's from here on."""
        self._count -= 1
        memmove(&self._fds[place], &self._fds[place + 1], (self._count - place) * sizeof(int))
        memmove(&self._deadline_ms[place], &self._deadline_ms[place + 1], (self._count - place) * sizeof(uint64_t))

    cdef void _close(self, int count) noexcept nogil:
        """Close so many: first those that are being connected, then those that were opened first."""
        cdef int _
        for _ in range(count):
            if self._count > self._ready:
                self._count -= 1
                close(self._fds[self._count])
            else:
                close(self._fds[0])
                self._ready -= 1
                self._remove(0)
                self.counts[CLOSED] += 1

    cdef void close_all(self) noexcept nogil:
        """Close all of them."""
        self._close(self._count)

    cdef int count(self) noexcept nogil:
        """Return the number of spare connections, those being connected included."""
        return self._count
