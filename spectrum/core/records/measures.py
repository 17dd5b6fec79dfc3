"""Counters of an app in workers and reports, and how reports add up."""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

# Seconds. A connect inside a data centre takes 0.1 ms, a session lives from milliseconds (DNS over TCP) to days (SSH).
CONNECT_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
DURATION_BOUNDS_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


# Reasons for dropped datagrams, by their name in metrics, in the order of the engine's counters.
DROPS = (
    "bad_reply",
    "too_big",
    "not_sent_to_origin",
    "not_sent_to_client",
    "no_flow",
    "queue_full",
    "bad_header",
    "untrusted",
    "rate",
    "fragmented",
    "overload",
    "attack",
)


# Outcomes of preconnected connections, in the order of the engine's counters: used by a session, closed by the origin,
# closed here; failed ones were never open.
PRECONNECTS = ("opened", "used", "lost", "closed", "failed")


class Histogram(msgspec.Struct, array_like=True, gc=False):
    """Counts per bucket, the last one for everything above the bounds, and the sum of all values."""

    counts: list[int]
    total: float = 0.0

    def count(self, buckets: list[tuple[int, int]], total: float) -> None:
        """Add counts by index of the bucket, and their sum."""
        for place, number in buckets:
            self.counts[place] += number
        self.total += total

    def add(self, other: "Histogram") -> None:
        """Add another histogram of the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


def connect_histogram() -> Histogram:
    """Return an empty histogram of connect times."""
    return Histogram([0] * (len(CONNECT_BOUNDS_S) + 1))


def duration_histogram() -> Histogram:
    """Return an empty histogram of session durations."""
    return Histogram([0] * (len(DURATION_BOUNDS_S) + 1))


class OriginMeasures(msgspec.Struct, array_like=True, gc=False):
    """The counters of one origin address."""

    connected: int = 0
    ended: int = 0
    failed: int = 0
    last_failure: str = ""
    # Failed connects by reason.
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    # The number of the origin in its pool; 0 for an address that an app names itself.
    number: int = 0
    bytes_from_clients: int = 0
    bytes_from_origin: int = 0
    # Of ended sessions: the total time of connects, and their number.
    connect_s: float = 0.0
    connects: int = 0
    # Connections opened ahead of sessions, by outcome: see PRECONNECTS.
    preconnects: dict[str, int] = msgspec.field(default_factory=dict)

    def fail(self, reason: str) -> None:
        """Count a failed connect."""
        self.failed += 1
        self.failures[reason] = self.failures.get(reason, 0) + 1
        self.last_failure = reason

    def preconnect(self, counts: Iterable[int]) -> None:
        """Count connections opened ahead, in the order of PRECONNECTS."""
        for what, count in zip(PRECONNECTS, counts, strict=True):
            if count:
                self.preconnects[what] = self.preconnects.get(what, 0) + count

    @property
    def preconnected(self) -> int:
        """Connections that wait for a session; a report without their beginning may have less than none."""
        counted = self.preconnects
        return counted.get("opened", 0) - sum(counted.get(what, 0) for what in ("used", "lost", "closed"))

    def end(self, connect_s: float | None, count: int = 1) -> None:
        """Count ended sessions with the total time of their connects; None for a flow without a reply."""
        self.ended += count
        if connect_s is not None:
            self.connects += count
            self.connect_s += connect_s

    def add(self, other: "OriginMeasures") -> None:
        """Add a later report."""
        self.connected += other.connected
        self.ended += other.ended
        self.failed += other.failed
        self.last_failure = other.last_failure or self.last_failure
        for reason, count in other.failures.items():
            self.failures[reason] = self.failures.get(reason, 0) + count
        self.number = other.number or self.number
        self.bytes_from_clients += other.bytes_from_clients
        self.bytes_from_origin += other.bytes_from_origin
        self.connect_s += other.connect_s
        self.connects += other.connects
        for what, count in other.preconnects.items():
            self.preconnects[what] = self.preconnects.get(what, 0) + count


class AppMeasures(msgspec.Struct, array_like=True, gc=False):
    """Counters of one app since the last report. Reasons are numbers of `core.records.reasons.Reason`."""

    started: int = 0
    bytes_from_client: int = 0
    bytes_from_origin: int = 0
    ended: dict[int, int] = msgspec.field(default_factory=dict)
    connect: Histogram = msgspec.field(default_factory=connect_histogram)
    duration: Histogram = msgspec.field(default_factory=duration_histogram)
    origins: dict[str, OriginMeasures] = msgspec.field(default_factory=dict)
    # UDP only: datagrams, and those dropped, per place in DROPS.
    datagrams_from_client: int = 0
    datagrams_from_origin: int = 0
    dropped: dict[int, int] = msgspec.field(default_factory=dict)
    # Clients sent on to another origin because the previous one could not be reached.
    failovers: int = 0
    # Clients that an access rule matched, by rule.
    rules: dict[str, int] = msgspec.field(default_factory=dict)
    # TLS handshakes with clients, and those of them that resumed a session.
    handshakes: int = 0
    resumed: int = 0

    # Sessions that waited for an origin with room, and how long, in seconds, those that have left the queue.
    queued: int = 0
    queue_wait_s: float = 0.0
    # Records that the worker left out of the log because of its limit.
    left_out: int = 0

    def meet(self, rule: str) -> None:
        """Count a client that an access rule names."""
        self.rules[rule] = self.rules.get(rule, 0) + 1

    def end(self, reason: int, count: int = 1) -> None:
        """Count the end, or the refusal, of sessions."""
        self.ended[reason] = self.ended.get(reason, 0) + count

    def observe(self, connect_s: float, duration_s: float) -> None:
        """Count the times of a session that reached its origin."""
        self.connect.counts[bisect_left(CONNECT_BOUNDS_S, connect_s)] += 1
        self.connect.total += connect_s
        self.observe_duration(duration_s)

    def observe_duration(self, duration_s: float) -> None:
        """Count the duration of a session."""
        self.duration.counts[bisect_left(DURATION_BOUNDS_S, duration_s)] += 1
        self.duration.total += duration_s

    def origin(self, name: str, number: int = 0) -> OriginMeasures:
        """Return the counters of one origin, created on first use; `number` is its number in a pool."""
        found = self.origins.get(name)
        if found is None:
            found = self.origins[name] = OriginMeasures(number=number)
        return found

    def add(self, other: "AppMeasures") -> None:
        """Add a later report."""
        self.started += other.started
        self.bytes_from_client += other.bytes_from_client
        self.bytes_from_origin += other.bytes_from_origin
        for reason, count in other.ended.items():
            self.ended[reason] = self.ended.get(reason, 0) + count
        for place, count in other.dropped.items():
            self.dropped[place] = self.dropped.get(place, 0) + count
        self.datagrams_from_client += other.datagrams_from_client
        self.datagrams_from_origin += other.datagrams_from_origin
        self.failovers += other.failovers
        self.handshakes += other.handshakes
        self.resumed += other.resumed
        self.queued += other.queued
        self.queue_wait_s += other.queue_wait_s
        self.left_out += other.left_out
        for rule, count in other.rules.items():
            self.rules[rule] = self.rules.get(rule, 0) + count
        self.connect.add(other.connect)
        self.duration.add(other.duration)
        for name, theirs in other.origins.items():
            self.origin(name).add(theirs)

    @property
    def active(self) -> int:
        """Sessions that started and did not end."""
        return self.started - sum(self.ended.values())


def add_measures(totals: dict[str, AppMeasures], name: str, measures: AppMeasures) -> None:
    """Add the counters of app `name`, which may have some in `totals` already.

    A name has several if its app was removed and added again while former sessions continue, or if a reload changed its
    transport.
    """
    total = totals.get(name)
    if total is None:
        totals[name] = measures
    else:
        total.add(measures)


class WorkerMeasures(msgspec.Struct, array_like=True, gc=False):
    """Counters of a worker itself since the last report."""

    accept_stalls: int = 0
    busy_poll_s: float = 0.0
    events_dropped: int = 0
    # Listeners that were not watched, and are again.
    listeners_mended: int = 0

    def add(self, other: "WorkerMeasures") -> None:
        """Add a later report."""
        self.accept_stalls += other.accept_stalls
        self.busy_poll_s += other.busy_poll_s
        self.events_dropped += other.events_dropped
        self.listeners_mended += other.listeners_mended
