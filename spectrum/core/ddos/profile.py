"""What is normal: for each app a reservoir of its packets that belong to no flow in use, and how often such come.

A reservoir answers what any conjunction would hit, with a known error: it is the joint distribution of all fields. Rows
are replaced by chance, so that it forgets slowly (Vitter, "Random sampling with a reservoir", 1985, with a bound on the
number of rows that the next one is compared with).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.packets import IN_USE, Packets

# 172 KB of an app. No hit among so many says at most 0.15 % of openings (95 %).
ROWS = 2_000
# A rate follows what comes with this weight for each look: four times a second, so that it takes some minutes.
RATE_WEIGHT = 0.005
# A row that comes stays with a chance of ROWS to so many at least: half of the rows are of the latest 40,000 packets.
MEMORY_ROWS = 20 * ROWS
# Before so many looks, a minute, nobody knows what is normal.
READY_LOOKS = 240


@dataclass(slots=True)
class _AppProfile:
    rows: Packets = field(default_factory=Packets.none)
    seen: int = 0
    # Packets per second by state of flow; known sources among those that belong to none in use.
    rates: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    known_share: float = 0.0
    looks: int = 0


@dataclass(frozen=True, slots=True)
class Normal:
    """The profile as mining needs it: rows of all apps below each other.

    Attributes:
        packets: The rows.
        rates: Packets per second that each row stands for.
        shares: Which part of its app's rows each row is.
        apps: How many rows each app has, by the app's number plus one: `NO_APP` is the first.
        rate: Of all packets that belong to no flow in use, per second.
    """

    packets: Packets
    rates: NDArray[np.float64]
    shares: NDArray[np.float64]
    apps: NDArray[np.int64]
    rate: float


class Profile:
    """Learns what is normal.

    Args:
        seed: Of the chance that chooses rows.
        rows: So many are kept of an app.
    """

    def __init__(self, seed: int, rows: int = ROWS) -> None:
        self._chance = np.random.default_rng(seed)
        self._rows = rows
        self._apps: dict[int, _AppProfile] = {}
        self._looks = 0
        self._normal: Normal | None = None

    def learn(self, packets: Packets, seconds: float) -> None:
        """Take a look at what is normal: what was sampled in so many seconds, and no rule matched."""
        self._looks += 1
        present = np.unique(packets["app"]).tolist()
        for app in {*self._apps, *map(int, present)}:
            self._learn(self._apps.setdefault(app, _AppProfile()), packets.where(packets["app"] == app), seconds)
        self._normal = None

    def _learn(self, app: _AppProfile, packets: Packets, seconds: float) -> None:
        app.looks += 1
        weight = max(RATE_WEIGHT, 1 / app.looks)
        counted = np.bincount(packets["state"], packets["stands_for"], 3) / seconds
        app.rates += weight * (counted - app.rates)
        idle = packets.where(packets["state"] != IN_USE)
        if not len(idle):
            return
        known = float(np.average(idle["known"], weights=idle["stands_for"]))
        app.known_share += weight * (known - app.known_share)
        room = self._rows - len(app.rows)
        if room > 0:
            app.rows = Packets.joined([app.rows, idle.where(np.arange(min(room, len(idle))))])
        rest = idle.where(np.arange(max(room, 0), len(idle)))
        if len(rest):
            self._replace(app, rest)
        app.seen += len(idle)

    def _replace(self, app: _AppProfile, packets: Packets) -> None:
        """Give each packet the place of a row, by chance."""
        compared = np.minimum(app.seen + np.arange(len(packets)), MEMORY_ROWS)
        kept = packets.where(self._chance.random(len(packets)) * np.maximum(compared, self._rows) < self._rows)
        if len(kept):
            places = self._chance.permutation(self._rows)[len(kept) :]
            app.rows = Packets.joined([app.rows.where(places), kept.where(np.arange(min(len(kept), self._rows)))])

    @property
    def is_ready(self) -> bool:
        """Whether it has seen enough for a rule to be judged by it."""
        return self._looks >= READY_LOOKS

    @property
    def normal(self) -> Normal:
        """What was learned until now."""
        if self._normal is None:
            self._normal = self._gather()
        return self._normal

    def _gather(self) -> Normal:
        parts, rates, shares = [], [], []
        apps = np.zeros(max(self._apps, default=-1) + 2, np.int64)
        for number, app in self._apps.items():
            count = len(app.rows)
            if count:
                parts.append(app.rows)
                rates.append(np.full(count, app.rates[:IN_USE].sum() / count))
                shares.append(np.full(count, 1 / count))
                apps[number + 1] = count
        total = sum(float(app.rates[:IN_USE].sum()) for app in self._apps.values())
        none = [np.empty(0)]
        return Normal(Packets.joined(parts), np.concatenate(rates or none), np.concatenate(shares or none), apps, total)

    def rates_of(self, app: int) -> NDArray[np.float64]:
        """Return an app's packets per second by state of flow."""
        found = self._apps.get(app)
        return found.rates if found else np.zeros(3)

    def known_share_of(self, app: int) -> float:
        """Return which part of an app's packets that belong to no flow in use comes from known sources."""
        found = self._apps.get(app)
        return found.known_share if found else 0.0
