"""Mining: the search for properties that an attack's packets share and normal ones do not have. It is a greedy search
for the conjunction of predicates that covers the excess of the samples over the profile. Fields that vary over the
attack never enter it: no predicate on them keeps the excess. The method, and what it was compared with, is in
docs/decisions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.askers import unseen
from spectrum.core.ddos.packets import Column, Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate, address_text
from spectrum.core.ddos.profile import Normal
from spectrum.core.packets import PROTOCOLS, TCP_FLAGS

# The share of one app's openings that a blocking rule may hit.
COST_AIM = 0.01
LEAST_GAIN = 0.2
DEEPEST = 7
LEAST_COVER, LEAST_OF_FLOOR = 0.15, 0.8
# Few samples may share a property by chance.
LEAST_MATCHES = 12
# First the whole of an attack is searched for, then a clean part of one.
COVER_WEIGHTS = (4.0, 1.0)
COMMONEST = 3
# Samples that are counted first. A field without a value in a third of the least share of them has none in that share
# of all samples, with a probability of error of one in a million.
PROBED = 256
ALIKE = 0.99
MOST_EXCLUDED = 64
# Limit of a rule of the filter.
MOST_SETS = 2
LEAST_OF_PREFIX, PREFIX_RATIO = 3, 4.0

# By field, the preference over equal ones, in nats.
EQUALS = {
    "version": 0.0,
    "destination": 0.0,
    "protocol": 0.0,
    "served": 0.0,
    "source_port": 0.0,
    "destination_port": 0.0,
    "length": 0.0,
    "window": 0.0,
    "options": 0.0,
    "ident": -0.2,
    "tcp_flags": 0.0,
    "sequence": -0.2,
    "acknowledgement": -0.2,
    "fragment": 0.0,
    "ttl": -0.2,
    "payload[:2]": 0.0,
    "payload[:4]": 0.0,
    "payload[:8]": 0.0,
    "source/16": -0.3,
    "source/24": -0.25,
    "source": -0.2,
    "known": -1.0,
}
EXCLUSIONS = {"payload[:2]": 0.0, "options": 0.0}
# Fields that the engine of workers does not know.
UNKNOWN_TO_WORKERS = frozenset(
    {"ttl", "ident", "window", "options", "tcp_flags", "sequence", "acknowledgement", "fragment"}
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The result of a search.

    Attributes:
        what: The conditions.
        excess: Packets per second that match beyond those of the profile.
        normal: Packets per second of the profile that match.
        hits: By the app's number plus one, the share of its rows that match.
        samples: The number of samples that match.
    """

    what: Conjunction
    excess: float
    normal: float
    hits: NDArray[np.float64]
    samples: int

    @property
    def is_clean(self) -> bool:
        """Whether hardly any openings of any app are hit."""
        return bool(self.hits.max(initial=0.0) <= COST_AIM)


@dataclass(slots=True)
class _Part:
    """The samples and rows of the profile that a conjunction matches."""

    samples: Packets
    rows: Packets
    rates: NDArray[np.float64]
    shares: NDArray[np.float64]
    per_sample: NDArray[np.float64]

    @property
    def excess(self) -> float:
        return float(self.per_sample.sum() - self.rates.sum())

    def where(self, predicate: Predicate) -> "_Part":
        samples, rows = predicate.match(self.samples), predicate.match(self.rows)
        return _Part(
            self.samples.where(samples),
            self.rows.where(rows),
            self.rates[rows],
            self.shares[rows],
            self.per_sample[samples],
        )


def mine(
    samples: Packets,
    seconds: float,
    normal: Normal,
    floor: float,
    cover_weight: float,
    unknown: frozenset[str] = frozenset(),
) -> Fingerprint | None:
    """Return the fingerprint of the excess; None without a significant one.

    Args:
        samples: Packets that belong to no flow in use, without those that rules in force match.
        seconds: The time in which they were sampled.
        normal: The profile, without what rules in force match.
        floor: The least excess that is an alarm, in packets per second.
        cover_weight: The weight of uncovered excess relative to the cost.
        unknown: Fields without values.
    """
    per_sample = samples["stands_for"] / seconds
    part = _Part(samples, normal.packets, normal.rates, normal.shares, per_sample)
    predicates: list[Predicate] = []
    unseen_of_apps = np.zeros(len(normal.apps))
    for _ in range(DEEPEST):
        may_be_set = sum(one.kind != "is" for one in predicates) < MOST_SETS
        best = _best(part, floor, cover_weight, may_be_set, unknown)
        if best is None or best in predicates:
            break
        if best.kind == "not in":
            unseen_of_apps = unseen_of_apps + unseen(part.rows[best.field]) * _parts(part.rows, normal.apps)
        predicates.append(best)
        part = part.where(best)
        if part.shares.sum() <= COST_AIM / 2:
            break
    if part.excess < LEAST_OF_FLOOR * floor or len(part.samples) < LEAST_MATCHES:
        return None
    alike = _shared(predicates, part.samples, unknown)
    for one in alike:
        part = part.where(one)
    what = Conjunction(_tidy([*predicates, *alike]))
    rows, scale = part.rows, 1
    if any(one.kind == "in" for one in predicates):  # the other rows chose the values
        rows, scale = rows.where(_judged(rows)), 2
    hits = _parts(rows, normal.apps, scale, 1) + unseen_of_apps
    return Fingerprint(what, part.excess, float(part.rates.sum()), hits, len(part.samples))


def _parts(rows: Packets, apps: NDArray[np.int64], scale: int = 1, more: int = 0) -> NDArray[np.float64]:
    """Return each app's share of rows, with some more: no hit among few rows is inconclusive."""
    hits = scale * np.bincount(rows["app"] + 1, minlength=len(apps))
    most = np.where(hits > 0, apps, np.maximum(apps, 1 / COST_AIM))
    return np.asarray((hits + more) / np.maximum(most, 1) * (apps > 0))


def _best(
    part: _Part, floor: float, cover_weight: float, may_be_set: bool, unknown: frozenset[str]
) -> Predicate | None:
    excess, cost = part.excess, float(part.shares.sum())
    if excess <= 0:
        return None
    best, gain = None, LEAST_GAIN
    for one in _candidates(part, may_be_set, unknown):
        samples = one.predicate.match(part.samples)
        if one.scale != 1:
            samples &= _judged(part.samples)
        kept = one.scale * float(part.per_sample[samples].sum())
        if kept < LEAST_COVER * excess or one.scale * samples.sum() < LEAST_MATCHES:
            continue  # before the profile is searched
        rows = one.predicate.match(part.rows)
        if one.scale != 1:
            rows &= _judged(part.rows)
        kept -= one.scale * float(part.rates[rows].sum())
        if kept < LEAST_COVER * excess or kept < LEAST_OF_FLOOR * floor:
            continue
        left = one.scale * float(part.shares[rows].sum()) + one.unseen * cost
        value = log((cost + COST_AIM) / (left + COST_AIM)) + cover_weight * log(min(kept / excess, 1.0)) + one.prior
        if value > gain:
            best, gain = one.predicate, value
    return best


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A predicate that may enter the conjunction.

    Attributes:
        predicate: The predicate.
        prior: Its preference, in nats.
        scale: 2 where every second sample and row chose its values, and the others judge them.
        unseen: The share of normal packets that match besides those of the rows.
    """

    predicate: Predicate
    prior: float
    scale: float = 1
    unseen: float = 0.0


def _judged(packets: Packets) -> NDArray[np.bool_]:
    """Return the rows that judge sets of values; the others choose them."""
    return np.asarray(np.arange(len(packets)) % 2 == 1)


def _candidates(part: _Part, may_be_set: bool, unknown: frozenset[str]) -> Iterator[_Candidate]:
    for field, prior in EQUALS.items():
        if field in unknown:
            continue
        for predicate in _commonest(part.samples, field):
            yield _Candidate(predicate, prior)
    if not may_be_set:
        return
    for field, prior in EXCLUSIONS.items():
        if field in unknown:
            continue
        seen = np.unique(part.rows[field])
        if 0 < len(seen) <= MOST_EXCLUDED:
            excluded = Predicate(field, "not in", tuple(map(int, seen)))
            yield _Candidate(excluded, prior, unseen=unseen(part.rows[field]))
    samples, rows = ~_judged(part.samples), ~_judged(part.rows)
    choosing = _Part(
        part.samples.where(samples),
        part.rows.where(rows),
        part.rates[rows],
        part.shares[rows],
        part.per_sample[samples],
    )
    if found := _prefixes(choosing):
        yield _Candidate(Predicate("source/24", "in", found), EQUALS["source/24"], 2)


def _commonest(samples: Packets, field: str) -> Iterator[Predicate]:
    column = samples[field]
    if _varies(column):
        return
    values, first, counts = np.unique(column, return_index=True, return_counts=True)
    for place in np.argsort(counts)[::-1][:COMMONEST]:
        if field == "length" and not values[place]:  # unknown to workers
            continue
        if counts[place] >= LEAST_COVER * len(column):
            yield Predicate(field, "is", (int(values[place]),), _example(samples, field, int(first[place])))


def _varies(column: Column) -> bool:
    """Tell by some of its rows whether a column has no common value: sorting all is most of the cost of a search."""
    if len(column) < 4 * PROBED:
        return False
    probe = np.sort(column[:: len(column) // PROBED])
    least = int(LEAST_COVER / 3 * len(probe))
    # Equal values are next to each other: a common one is still there so many rows later.
    return not bool((probe[least:] == probe[: len(probe) - least]).any())


def _example(samples: Packets, field: str, row: int) -> str:
    if field not in ("source", "destination"):
        return ""
    return address_text(
        int(samples["version"][row]), int(samples[f"{field}_high"][row]), int(samples[f"{field}_low"][row])
    )


def _prefixes(part: _Part) -> tuple[int, ...]:
    """Return the prefixes of sources that come much more often than normally."""
    values, inverse, counts = np.unique(part.samples["source/24"], return_inverse=True, return_counts=True)
    came = np.bincount(inverse, part.per_sample, len(values))
    often = counts >= LEAST_OF_PREFIX
    if not often.any():
        return ()
    order = np.argsort(part.rows["source/24"])
    rows, rates = part.rows["source/24"][order], np.concatenate([[0.0], np.cumsum(part.rates[order])])
    usual = rates[np.searchsorted(rows, values, "right")] - rates[np.searchsorted(rows, values, "left")]
    return tuple(map(int, values[often & (came > PREFIX_RATIO * usual)]))


def narrowed(what: Conjunction, samples: Packets, unknown: frozenset[str] = frozenset()) -> Conjunction:
    """Return a conjunction with what nearly all of its samples share beyond it.

    Args:
        what: The conjunction.
        samples: Packets that it matches.
        unknown: Fields without values.
    """
    return Conjunction(_tidy([*what.predicates, *_shared(what.predicates, samples, unknown)]))


def _shared(predicates: Sequence[Predicate], samples: Packets, unknown: frozenset[str]) -> list[Predicate]:
    named = {one.field for one in predicates if one.kind == "is"} | unknown
    return [one for one in _alike(samples) if one.field not in named]


def _alike(samples: Packets) -> Iterator[Predicate]:
    """Yield every field with one value in nearly all samples: it costs nothing, and spares unseen packets."""
    for field in EQUALS:
        if field == "known" or not _says_something(samples, field):
            continue
        predicate = next(_commonest(samples, field), None)
        if predicate is not None and predicate.match(samples).mean() >= ALIKE:
            yield predicate


def _says_something(samples: Packets, field: str) -> bool:
    """Return whether packets have such a field: a window only with TCP, ports not in later fragments."""
    if field in ("window", "options", "tcp_flags", "sequence", "acknowledgement"):
        if field == "acknowledgement" and not (samples["tcp_flags"] & TCP_FLAGS["ack"]).all():
            return False  # SYNs have 0 there
        return bool((samples["protocol"] == PROTOCOLS["tcp"]).all())
    if field in ("source_port", "destination_port", "length"):
        return bool(samples[field].any())
    return not field.startswith("payload") or bool(samples["payload_bytes"].any())


def _tidy(predicates: list[Predicate]) -> tuple[Predicate, ...]:
    """Leave out redundant predicates: for the longer begin of a payload, the longer prefix of a source."""
    exact = [one.field for one in predicates if one.kind == "is"]
    implied: set[str] = set()
    for longer, shorter in (
        ("payload[:8]", ("payload[:4]", "payload[:2]")),
        ("payload[:4]", ("payload[:2]",)),
        ("source", ("source/24", "source/16")),
        ("source/24", ("source/16",)),
    ):
        if longer in exact:
            implied.update(shorter)
    return tuple(one for one in predicates if one.kind != "is" or one.field not in implied)
