# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The engine's event loop: one epoll descriptor for the TCP part and the UDP part of a worker.

The host loop watches it: `host.add_reader(loop.fileno(), loop.process)`. Parts register descriptors with tokens that
identify them, handle their events without Python, and call Python in batches at the end of a round. Everything runs in
the one thread that calls `process`.
"""

from libc.errno cimport EEXIST, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from spectrum.engine.linux cimport *
from spectrum.engine.sockets cimport clock_ns

cdef enum:
    MAX_EVENTS = 256
    # Busy polling waits for the next event of few quiet sessions. It is off when more than a quarter of the events (in
    # 1/256) come from other sessions than the last RECENT ones, or when rounds move much data: bulk is cheaper in the
    # larger portions that gather during sleep.
    MAX_STRANGERS = 64
    QUIET_BYTES = 16384
    # `process` returns to the host loop at least this often, even when there is more to do.
    SLICE_NS = 4000000


cdef class Part:
    """The part of the loop for one transport."""

    def __cinit__(self):
        self.deaf = {}

    cdef void dispatch(self, uint64_t token, uint32_t events) noexcept nogil:
        """Handle an event; `token` is one that this part registered."""

    cdef bint tick(self) noexcept:
        """Check deadlines; return whether the next check should be soon (TICK_MS), not in a second."""
        return False

    cdef int settle(self) except -1:
        """Call Python with the results of a round of events."""
        return 0

    # --- listeners ------------------------------------------------------------------------------------------------

    cdef uint32_t listener_count(self) noexcept nogil:
        """Return a number above those of all listeners."""
        return 0

    cdef int watch_listener(self, uint32_t number) noexcept nogil:
        """Watch a listener; return 0 or an errno of `Loop.watch`, -1 if it must not be watched now."""
        return -1

    cdef int begin_to_listen(self, uint32_t number) except -1:
        """Watch a new listener; if the kernel refuses, it gets no connections until `check_listeners` succeeds."""
        cdef int error = self.watch_listener(number)
        if error == EEXIST:
            raise ValueError("this descriptor is another listener's")
        if error > 0:
            self.deaf[number] = error
        return 0

    cdef bint _is_looked_at(self, uint32_t number, list mended) except -1:
        cdef int error = self.watch_listener(number)
        if error > 0 and error != EEXIST:
            self.deaf[number] = error
            return True
        self.deaf.pop(number, None)
        if error == 0:
            mended.append(number)
        return error >= 0

    # === Public API ===

    def check_listeners(self, uint32_t most=0xFFFFFFFF):
        """Watch listeners that should be watched and are not: the deaf ones, and `most` others in turn.

        Clients of a listener that is not watched would wait forever, without any other sign. It takes a system call
        each. `deaf` then has the listeners that the kernel cannot watch, by number, with the errno.

        Returns:
            The numbers of listeners that were not watched, and are now.
        """
        cdef uint32_t count = self.listener_count(), passed = 0
        cdef list mended = []
        for number in list(self.deaf):
            self._is_looked_at(number, mended)
        while most and passed < count:
            self._checked = (self._checked + 1) % count
            most -= self._is_looked_at(self._checked, mended)
            passed += 1
        return mended


cdef class Loop:
    """The epoll descriptor, the clock, the timer and the busy poll of a worker.

    Args:
        busy_poll_us: Time to poll for the next event before sleeping, while recent ones came that fast. 0: never.
    """

    def __cinit__(self):
        self.epoll = self._timer = -1

    def __init__(self, *, int busy_poll_us=0):
        self._parts = []
        self._busy_poll_ns = busy_poll_us * 1000
        self._gap_ns = 1000000
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        self._timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.epoll < 0 or self._timer < 0:
            raise OSError(errno, "the engine's epoll and timer descriptors cannot be opened")
        self.read_clock()
        self._last_event_ns = self.now_ns
        if error := self.watch(self._timer, TIMER_TOKEN, EPOLLIN):
            raise OSError(error, "the engine's timer cannot be watched")
        self._arm_timer(IDLE_TICK_MS * 1000)

    def __dealloc__(self):
        if self.epoll >= 0:
            close(self.epoll)
        if self._timer >= 0:
            close(self._timer)

    cdef uint64_t add_part(self, Part part) except 0xFFFFFFFFFFFFFFFF:
        """Register a part, which must outlive the loop; return the first bits of its tokens."""
        cdef uint64_t number = self._part_count
        if number == MAX_PARTS:
            raise ValueError(f"a loop has at most {MAX_PARTS} parts")
        self._parts.append(part)
        self._part[number] = <void *>part
        self._part_count += 1
        return number << PART_SHIFT

    # --- time -----------------------------------------------------------------------------------------------------

    cdef void read_clock(self) noexcept nogil:
        self.now_ns = clock_ns()
        self.now_ms = self.now_ns // 1000000

    cdef void _arm_timer(self, long delay_us) noexcept nogil:
        cdef itimerspec value
        memset(&value, 0, sizeof(itimerspec))
        value.it_value.tv_sec = delay_us // 1000000
        value.it_value.tv_nsec = delay_us % 1000000 * 1000
        timerfd_settime(self._timer, 0, &value, NULL)
        self._timer_us = delay_us

    cdef void tick_within(self, long delay_us) noexcept nogil:
        """Make every part tick within this time."""
        if self._timer_us > delay_us:
            self._arm_timer(delay_us)

    cdef void _tick(self) noexcept:
        cdef uint64_t expirations
        cdef bint soon = False
        cdef int number
        read(self._timer, &expirations, sizeof(uint64_t))
        for number in range(self._part_count):
            if (<Part>self._part[number]).tick():
                soon = True
        self._arm_timer((TICK_MS if soon else IDLE_TICK_MS) * 1000)

    # --- descriptors ----------------------------------------------------------------------------------------------

    cdef int watch(self, int fd, uint64_t token, uint32_t events) noexcept nogil:
        """Watch a descriptor; return 0, or ENOSPC (fs.epoll.max_user_watches), ENOMEM, EEXIST if it is watched."""
        cdef epoll_event event
        event.events = events
        event.data.u64 = token
        return errno if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0 else 0

    cdef void rewatch(self, int fd, uint64_t token, uint32_t events) noexcept nogil:
        """Change the watched events. Ready ones are reported again, so this also queues a descriptor's next turn."""
        cdef epoll_event event
        event.events = events
        event.data.u64 = token
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, fd, &event)

    cdef void unwatch(self, int fd) noexcept nogil:
        cdef epoll_event ignored
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &ignored)

    # --- the busy poll --------------------------------------------------------------------------------------------

    cdef int _wait(self, epoll_event *events) noexcept nogil:
        """Return the ready events; busy-poll first if that is likely to pay."""
        cdef int count = epoll_wait(self.epoll, events, MAX_EVENTS, 0)
        cdef uint64_t began
        if count != 0 or not self._busy_poll_ns:
            return count
        if (self._gap_ns > self._busy_poll_ns or self._strangers > MAX_STRANGERS
                or self.round_bytes > QUIET_BYTES or self._usual_bytes > QUIET_BYTES):
            return 0
        began = clock_ns()
        while count == 0 and self.now_ns - self._last_event_ns < self._busy_poll_ns:
            count = epoll_wait(self.epoll, events, MAX_EVENTS, 0)
            self.read_clock()
        self._busy_ns += self.now_ns - began
        return count

    cdef void _note_round(self) noexcept nogil:
        """Update the moving averages of gaps and bytes that control the busy poll (weight 1/8, as in RFC 6298)."""
        cdef uint64_t gap = self.now_ns - self._last_event_ns
        self._last_event_ns = self.now_ns
        self._usual_bytes += (self.round_bytes >> 3) - (self._usual_bytes >> 3)
        self.round_bytes = 0
        # One long pause must not disable polling for long once events are frequent again.
        if gap > 8 * self._busy_poll_ns:
            gap = 8 * self._busy_poll_ns
        self._gap_ns += (gap >> 3) - (self._gap_ns >> 3)

    cdef void _note_event(self, uint64_t token) noexcept nogil:
        """Update the moving average of events of other sessions than the last few."""
        cdef uint32_t index = <uint32_t>token
        cdef bint stranger = True
        cdef int i
        for i in range(RECENT):
            if self._recent[i] == index:
                stranger = False
        if stranger:
            self._recent[self._recent_turn] = index
            self._recent_turn = (self._recent_turn + 1) % RECENT
            self.note_stranger()
        else:
            self._strangers -= self._strangers >> 3

    cdef void note_stranger(self) noexcept nogil:
        """Count an event of another session than the last few."""
        self._strangers += 32 - (self._strangers >> 3)

    # --- the loop -------------------------------------------------------------------------------------------------

    cdef void _dispatch(self, uint64_t token, uint32_t events) noexcept nogil:
        if token & TIMER_TOKEN and not token & LISTENER_TOKEN:
            with gil:
                self._tick()
            return
        (<Part>self._part[token >> PART_SHIFT & 1]).dispatch(token, events)

    cdef int _settle(self) except -1:
        cdef int number
        for number in range(self._part_count):
            (<Part>self._part[number]).settle()
        return 0

    # === Public API ===

    def fileno(self):
        """The epoll descriptor to watch for readability."""
        return self.epoll

    def process(self):
        """Handle ready events, and return. The host loop calls it when `fileno()` is readable.

        In each round listeners come last: open sessions precede new ones, and may free resources.
        """
        cdef epoll_event events[MAX_EVENTS]
        cdef int count, i, listeners
        cdef uint64_t began
        self.read_clock()
        began = self.now_ns
        while True:
            with nogil:
                count = self._wait(events)
                self.read_clock()
                if count > 0:
                    self._note_round()
                    listeners = 0
                    for i in range(count):
                        self._note_event(events[i].data.u64)
                        if events[i].data.u64 & LISTENER_TOKEN:
                            events[listeners] = events[i]
                            listeners += 1
                        else:
                            self._dispatch(events[i].data.u64, events[i].events)
                    for i in range(listeners):
                        self._dispatch(events[i].data.u64, events[i].events)
            self._settle()
            if count <= 0 or self.now_ns - began > SLICE_NS:
                return

    @property
    def busy_poll_us(self):
        """Time to poll for the next event before sleeping, in microseconds."""
        return self._busy_poll_ns // 1000

    @busy_poll_us.setter
    def busy_poll_us(self, uint64_t value):
        self._busy_poll_ns = value * 1000

    @property
    def busy_poll_ns(self):
        """Processor time spent polling without an event."""
        return self._busy_ns
