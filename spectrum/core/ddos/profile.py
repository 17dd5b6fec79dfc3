"""The profile of normal traffic: for each app random samples of its packets, and their rates.

Rows estimate how many normal packets any conjunction would hit, with a known error: they are the joint distribution of
all fields. Rows of an app without a flow in use are in two reservoirs, one with a memory of a day and one of a week;
those of flows in use in a third, for times when the table of flows is lost and they look as if they belonged to none.
Rows are replaced by time, not by the number of packets (Vitter, "Random sampling with a reservoir", 1985, with a bound
on the count that the next one is compared with): an hour of an undetected attack is an hour's share of the rows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.adaptive import Adaptive
from spectrum.core.ddos.packets import IN_USE, NO_APP, Packets

# Rows of an app, half of the last day and half of the last week: 172 KB. Zero hits mean at most 0.15 % (95 %).
ROWS = 2_000
USED_ROWS = 500
# Rows of all apps; with many apps each has fewer, but at least this number.
MOST_ROWS, LEAST_ROWS = 100_000, 100
DAY_S, WEEK_S = 86_400.0, 7 * 86_400.0
# The mean lifetime of a row: 95 % of the rows are younger than three times that, a day and a week.
DAY_MEMORY_S, WEEK_MEMORY_S = DAY_S / 3, WEEK_S / 3
# Rates adapt within minutes: slowly enough to detect a flood that grows over an hour.
RATE_MEMORY_S = 600.0
# The weight of saved rates after a longer pause, in seconds of observation.
STALE_RATE_S = 60.0
# Before this time normal traffic is unknown.
READY_S = 60.0
# An app is learned after this time with all of its rows; one with few openings after a multiple of it.
SETTLE_S = DAY_S
PATIENT = 7
# A smaller share of missing packets of flows in use is chance.
LEAST_MISSING = 0.05


@dataclass(frozen=True, slots=True)
class ArrivalTime:
    """The time of arrival of an app's packets.

    Attributes:
        at: In seconds since 1970.
        seconds: The time in which they arrived.
        since_s: The time without packets before that.
        learned_s: The time for which the app has been learned.
    """

    at: float
    seconds: float
    since_s: float
    learned_s: float


@dataclass(slots=True)
class Reservoir:
    """Rows, with their times.

    Attributes:
        memory_s: The mean lifetime of a row.
        rows: The rows.
        at: The time of each, in seconds since 1970.
        due: The number of rows to replace as soon as packets arrive.
    """

    memory_s: float
    rows: Packets = field(default_factory=Packets.none)
    at: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    due: float = 0.0

    def learn(self, packets: Packets, moment: "ArrivalTime", size: int, chance: np.random.Generator) -> None:
        """Take some of the packets; `size` is the limit of rows."""
        kept = min(len(self.rows), size)
        memory_s = max(min(self.memory_s, moment.learned_s), moment.seconds)
        # Replacements due during a pause are not made up for by the first packets after it.
        most = max(kept * moment.seconds / memory_s, kept / 100, 1.0)
        self.due = min(self.due + kept * moment.since_s / memory_s, most)
        room = size - kept
        count = min(room + min(int(self.due), kept), len(packets))
        if not count:
            return
        replaced = max(count - room, 0)
        self.due -= replaced
        stay = np.sort(chance.permutation(len(self.rows))[: kept - replaced])
        new = packets.where(np.sort(chance.permutation(len(packets))[:count]))
        self.rows = Packets.joined([self.rows.where(stay), new])
        self.at = np.concatenate([self.at[stay], np.full(count, moment.at)])


@dataclass(slots=True)
class AppRows:
    """The rows of an app.

    Attributes:
        day: Packets without a flow in use, of the last day.
        week: The same, of the last week.
        used: Packets of flows in use.
        learned_s: The time for which it was learned, until `seen_s` of the total time of learning.
    """

    day: Reservoir = field(default_factory=lambda: Reservoir(DAY_MEMORY_S))
    week: Reservoir = field(default_factory=lambda: Reservoir(WEEK_MEMORY_S))
    used: Reservoir = field(default_factory=lambda: Reservoir(DAY_MEMORY_S))
    learned_s: float = 0.0
    seen_s: float = 0.0

    @property
    def idle(self) -> Packets:
        """Both reservoirs of packets that belong to no flow in use."""
        return Packets.joined([self.day.rows, self.week.rows])

    def rename(self, app: int) -> None:
        """Change the number of the app."""
        for reservoir in (self.day, self.week, self.used):
            reservoir.rows = reservoir.rows.replaced(app=np.full(len(reservoir.rows), app, np.int32))

    def __len__(self) -> int:
        """Return the number of rows without a flow in use."""
        return len(self.day.rows) + len(self.week.rows)


@dataclass(frozen=True, slots=True)
class Normal:
    """The profile for mining: rows of all apps, concatenated.

    Attributes:
        packets: The rows.
        rates: Packets per second that each row stands for.
        shares: The share of its app's rows that each row is.
        apps: The number of rows of each app, by the app's number plus one: `NO_APP` is the first. After the apps, in
            the same order, their packets of flows in use, where some of these seem to belong to none.
        rate: Of all packets without a flow in use, per second.
    """

    packets: Packets
    rates: NDArray[np.float64]
    shares: NDArray[np.float64]
    apps: NDArray[np.int64]
    rate: float


@dataclass(frozen=True, slots=True)
class Certainty:
    """How reliable the profile of an app is.

    Attributes:
        rows: The number of rows without a flow in use, and `used_rows` of others.
        learned_s: How long it was learned, in seconds, without the time of attacks.
        day_share: The share of rows of the last 24 h.
        oldest_s: The age of the oldest row, in seconds, and `newest_s` that of the newest; None without rows.
        unseen: The largest share of the app's openings that a rule hits which hits none of the rows (95 %).
        is_settled: Whether rules for the app act.
    """

    rows: int
    used_rows: int
    learned_s: float
    day_share: float
    oldest_s: float | None
    newest_s: float | None
    unseen: float
    is_settled: bool


@dataclass(frozen=True, slots=True)
class AppMemory:
    """The state of an app that is saved over a restart.

    Attributes:
        rows: Its packets.
        rates: Packets per second by state of flow.
        known_share: The share of known sources in its packets without a flow in use.
        at: The time, in seconds since 1970.
    """

    rows: AppRows
    rates: NDArray[np.float64]
    known_share: float
    at: float


class Profile:
    """Learns normal traffic.

    Args:
        seed: Of the random choice of rows.
        rows: The limit of rows of an app.
        settle_s: How long an app is learned before rules for it act.
        first_s: Before this time normal traffic is unknown.
        most_rows: The limit of rows of all apps, with at least `LEAST_ROWS` of each.
    """

    def __init__(
        self,
        seed: int,
        rows: int = ROWS,
        settle_s: float = SETTLE_S,
        first_s: float = READY_S,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self._chance = np.random.default_rng(seed)
        self._all_rows = most_rows
        # Adaptive profiles.
        self.adaptive = Adaptive()
        self._most = rows
        self.settle_s = settle_s
        self.first_s = first_s
        self._apps: dict[int, AppRows] = {}
        self._learned_s = 0.0
        # By the app's number plus one: rates by state of flow, the share of known sources, and the seconds of learning.
        self._rates = np.zeros((1, 3))
        self._known = np.zeros(1)
        self._rate_s = np.zeros(1)
        # Packets per second from known sources, of all states.
        self.known_rate = 0.0
        self._normal: Normal | None = None

    # --- learning -------------------------------------------------------------------------------------------------

    def learn(self, packets: Packets, seconds: float, at: float, without: Collection[int] = ()) -> None:
        """Learn the normal samples of a look, which no rule matched.

        Args:
            packets: The samples.
            seconds: The time in which they were sampled.
            at: The time, in seconds since 1970.
            without: Numbers of apps that are not learned, as rules for them are in force.
        """
        self._learned_s += seconds
        self.learn_rates(packets, seconds, without)
        size = self._size()
        order = np.argsort(packets["app"], kind="stable")
        numbers, begins = np.unique(packets["app"][order], return_index=True)
        places = dict(zip(map(int, numbers), np.split(order, begins[1:]), strict=True)) if len(order) else {}
        for number in without:
            if number in self._apps:
                self._apps[number].seen_s += seconds
        for number in places.keys() - set(without):
            app = self._apps.setdefault(number, AppRows(seen_s=self._learned_s - seconds))
            since = self._learned_s - app.seen_s
            app.learned_s, app.seen_s = app.learned_s + since, self._learned_s
            self._keep(app, packets.where(places[number]), ArrivalTime(at, seconds, since, app.learned_s), size)
        self._normal = None

    def _keep(self, app: AppRows, packets: Packets, moment: ArrivalTime, size: int) -> None:
        is_used = packets["state"] == IN_USE
        idle = np.flatnonzero(~is_used)
        is_first = self._chance.random(len(idle)) < 0.5  # no row is in both
        half = size // 2
        for reservoir, places, most in (
            (app.day, idle[is_first], size - half),
            (app.week, idle[~is_first], half),
            (app.used, np.flatnonzero(is_used), min(USED_ROWS, size)),
        ):
            reservoir.learn(packets.where(places), moment, most, self._chance)

    def learn_rates(self, packets: Packets, seconds: float, without: Collection[int] = ()) -> None:
        """Learn only the rates of a look, not its rows."""
        self._grow(int(packets["app"].max(initial=NO_APP)) + 2)
        size = len(self._rate_s)
        place = packets["app"] + 1
        counted = np.bincount(place * 3 + packets["state"], packets["stands_for"], size * 3).reshape(size, 3) / seconds
        idle = packets["state"] != IN_USE
        known = np.bincount(place[idle], (packets["stands_for"] * packets["known"])[idle], size) / seconds
        learns = (self._rate_s > 0) | (counted.sum(1) > 0)
        learns[[number + 1 for number in without if number + 1 < size]] = False
        self._rate_s[learns] += seconds
        weight = np.where(learns, seconds / np.clip(self._rate_s, seconds, RATE_MEMORY_S), 0.0)
        self._rates += weight[:, None] * (counted - self._rates)
        came = counted[:, :IN_USE].sum(1)
        share = np.divide(known, came, out=self._known.copy(), where=came > 0)
        self._known += weight * (share - self._known)
        if not without:
            all_known = float((packets["stands_for"] * packets["known"]).sum()) / seconds
            weight_now = seconds / min(max(self._learned_s, seconds), RATE_MEMORY_S)
            self.known_rate += weight_now * (all_known - self.known_rate)
        self._normal = None

    def _grow(self, size: int) -> None:
        more = size - len(self._rate_s)
        if more > 0:
            self._rates = np.concatenate([self._rates, np.zeros((more, 3))])
            self._known = np.concatenate([self._known, np.zeros(more)])
            self._rate_s = np.concatenate([self._rate_s, np.zeros(more)])

    def _size(self) -> int:
        """Return the limit of an app's rows."""
        return min(self._most, max(LEAST_ROWS, self._all_rows // max(len(self._apps), 1)))

    # --- results --------------------------------------------------------------------------------------------------

    @property
    def ready_s(self) -> float:
        """The seconds until enough was seen to judge any rule; 0 when it was."""
        return max(self.first_s - self._learned_s, 0.0)

    @property
    def is_ready(self) -> bool:
        """Whether enough was seen to judge any rule."""
        return not self.ready_s

    @property
    def normal(self) -> Normal:
        """What was learned until now."""
        if self._normal is None:
            self._normal = self._gather()
        return self._normal

    @property
    def rate(self) -> float:
        """Packets per second without a flow in use."""
        return float(self._rates[:, :IN_USE].sum())

    def _gather(self) -> Normal:
        size = len(self._rate_s)
        parts, rates, shares = [], [], []
        counts = np.zeros(size, np.int64)
        for number, app in self._apps.items():
            count = len(app)
            if count:
                parts.append(app.idle)
                rates.append(np.full(count, self._rates[number + 1, :IN_USE].sum() / count))
                shares.append(np.full(count, 1 / count))
                counts[number + 1] = count
        none = [np.empty(0)]
        return Normal(
            Packets.joined(parts), np.concatenate(rates or none), np.concatenate(shares or none), counts, self.rate
        )

    def missing(self, packets: Packets, seconds: float) -> NDArray[np.float64]:
        """Return the missing packets per second of flows in use of each app, by its number plus one.

        They are then among those without a flow: after a restart, or when the table of flows was full, the flows in use
        are unknown. A difference within the samples' error is not missing.
        """
        size = len(self._rate_s)
        used = packets.where((packets["state"] == IN_USE) & (packets["app"] + 1 < size))
        place = used["app"] + 1
        came = np.bincount(place, used["stands_for"], size) / seconds
        error = np.sqrt(np.bincount(place, used["stands_for"] ** 2, size)) / seconds
        usual = self._rates[:, IN_USE]
        missing = usual - came - error
        return np.where(missing > LEAST_MISSING * usual, missing, 0.0)

    def normal_with(self, missing: NDArray[np.float64]) -> Normal:
        """Return the profile with missing packets of flows in use among those without a flow."""
        normal = self.normal
        if not missing.any():
            return normal
        size = len(missing)
        parts, rates, shares = [normal.packets], [normal.rates], [normal.shares]
        counts = np.concatenate([normal.apps, np.zeros(size, np.int64)])
        for place in np.flatnonzero(missing):
            app = self._apps.get(int(place) - 1)
            count = len(app.used.rows) if app else 0
            if app is None or not count:
                continue
            parts.append(app.used.rows.replaced(app=np.full(count, size + place - 1, np.int32)))
            rates.append(np.full(count, missing[place] / count))
            shares.append(np.full(count, 1 / count))
            counts[size + place] = count
        return Normal(
            Packets.joined(parts),
            np.concatenate(rates),
            np.concatenate(shares),
            counts,
            normal.rate + float(missing.sum()),
        )

    def rates_of(self, app: int) -> NDArray[np.float64]:
        """Return an app's packets per second by state of flow."""
        return self._rates[app + 1].copy() if app + 1 < len(self._rates) else np.zeros(3)

    def known_share_of(self, app: int) -> float:
        """Return the share of known sources in an app's packets without a flow in use."""
        return float(self._known[app + 1]) if app + 1 < len(self._known) else 0.0

    def per_source_of(self, app: int) -> float:
        """Return the packets per second without a flow in use of an app's busiest sources.

        The rate that one in a thousand of its sources exceeds: addresses that many clients share. A single row of a
        source is inconclusive.
        """
        found = self._apps.get(app)
        if found is None or not len(found):
            return 0.0
        _, counts = np.unique(found.idle["source"], return_counts=True)
        each = float(self.rates_of(app)[:IN_USE].sum()) / len(found)
        return float(np.quantile(counts - 1, 0.999, method="higher")) * each

    def is_settled(self, app: int, at: float) -> bool:
        """Return whether rules for an app act: it was learned for long enough, with enough rows, and recently."""
        if app == NO_APP:
            return self.is_ready
        found = self._apps.get(app)
        if found is None or self._learned_of(found) < self.settle_s or not len(found):
            return False
        newest = max(reservoir.at.max(initial=0.0) for reservoir in (found.day, found.week, found.used))
        enough = len(found) >= self._size() or self._learned_of(found) >= PATIENT * self.settle_s
        return bool(enough and at - newest <= WEEK_S)

    def _learned_of(self, app: AppRows) -> float:
        return app.learned_s + self._learned_s - app.seen_s

    def certainty(self, at: float) -> dict[int, Certainty]:
        """Return the reliability of each app's profile, by the app's number.

        Args:
            at: Seconds since 1970.
        """
        return {number: sure for number in self._apps if (sure := self.certainty_of(number, at)) is not None}

    def certainty_of(self, number: int, at: float) -> Certainty | None:
        """Return the reliability of an app's profile; None for traffic without an app, or without a profile."""
        app = self._apps.get(number)
        if app is None or number == NO_APP:
            return None
        ages = at - np.concatenate([app.day.at, app.week.at])
        count = len(ages)
        return Certainty(
            count,
            len(app.used.rows),
            self._learned_of(app),
            float((ages <= DAY_S).mean()) if count else 0.0,
            float(ages.max()) if count else None,
            float(ages.min()) if count else None,
            min(3 / count, 1.0) if count else 1.0,
            self.is_settled(number, at),
        )

    # --- saving ---------------------------------------------------------------------------------------------------

    def memory_of(self, app: int, at: float) -> AppMemory | None:
        """Return the state of an app; None without one."""
        rows = self._apps.get(app)
        if rows is not None:
            rows.learned_s, rows.seen_s = self._learned_of(rows), self._learned_s
        return AppMemory(rows, self.rates_of(app), self.known_share_of(app), at) if rows else None

    def share_rows(self, app: int) -> None:
        """Tell the adaptive profile of an app the share of its openings with each value."""
        found = self._apps.get(app)
        if found is not None and len(found):
            self.adaptive.share(app, found.idle)

    @property
    def apps(self) -> tuple[int, ...]:
        """The numbers of the apps with a state."""
        return tuple(self._apps)

    def recall(self, app: int, memory: AppMemory, at: float) -> None:
        """Restore the state of an app.

        Its rates weigh less the older they are: traffic may be a multiple at another hour.
        """
        self._grow(app + 2)
        self._apps[app] = rows = replace(memory.rows, seen_s=self._learned_s)
        rows.rename(app)
        self._rates[app + 1] = memory.rates
        self._known[app + 1] = memory.known_share
        pause = max(at - memory.at, 0.0)
        self._rate_s[app + 1] = max(min(memory.rows.learned_s, RATE_MEMORY_S) - pause, STALE_RATE_S)
        self._normal = None

    def resume(self, known_rate: float) -> None:
        """Continue after a restart: the restored state is enough to judge rules."""
        more = self.ready_s
        self._learned_s += more
        for app in self._apps.values():
            app.seen_s += more
        self.known_rate = known_rate

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Renumber apps; those without a number are forgotten."""
        self.adaptive.renumber(numbers)
        numbers = {NO_APP: NO_APP, **numbers}
        size = max(numbers.values()) + 2
        rates, known, rate_s = np.zeros((size, 3)), np.zeros(size), np.zeros(size)
        apps = {}
        for old, new in numbers.items():
            if old + 1 < len(self._rate_s):
                rates[new + 1], known[new + 1] = self._rates[old + 1], self._known[old + 1]
                rate_s[new + 1] = self._rate_s[old + 1]
            if old in self._apps:
                apps[new] = self._apps[old]
                apps[new].rename(new)
        self._apps, self._rates, self._known, self._rate_s = apps, rates, known, rate_s
        self._normal = None
