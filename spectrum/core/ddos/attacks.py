"""From rules and the kernel's counters to attacks: which rules belong to one attack, and its events."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from math import inf

import msgspec
import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.attack_events import (
    LOG,
    MOST_SAMPLES,
    Attack,
    AttackEvent,
    AttackEventKind,
    AttackRule,
    AttackSample,
    AttackTarget,
    first_name,
)
from spectrum.core.ddos.detector import Event, FloodRule, LeftAlone, RuleEnded, RuleWritten
from spectrum.core.ddos.estimates import rate_bounds, sources
from spectrum.core.ddos.judging import FEW_SOURCES, LEAST_PAIRS
from spectrum.core.ddos.packets import IN_USE, NO_APP, Packets
from spectrum.core.ddos.predicates import Conjunction, address_text
from spectrum.core.life.attack import AttackChange, AttackCommand, AttackLife, AttackState
from spectrum.core.packets import PROTOCOLS

# The same fingerprint within this time is the same attack again.
RECURRENCE_S = 86_400.0
# Number of fingerprints of ended attacks that are kept.
MOST_REMEMBERED = 1_000
# An attack without a rule ends after it was not seen for this time.
TOLERATED_S = 10.0
# An attack fades while less than this share of the initial rate matches.
QUIET_SHARE = 0.25
# A rule of an attack by another process is gone if the kernel does not count it for this time. For as long the last
# counts of a rule that has ended may come.
UNCOUNTED_S = 5.0
# Interval of progress events of open attacks.
TOLD_S = 5.0
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

# Packets and bytes of each rule by its name, since it was written.
Counts = Mapping[str, tuple[int, int]]
# Returns the headers of some samples, given a mask of the rows.
SamplesOf = Callable[[NDArray[np.bool_]], Iterable[AttackSample]]


@dataclass(slots=True)
class _Open:
    """An open attack, and what is not reported of it yet; its times are those of `AttackTracker._elapsed_s`."""

    attack: Attack
    life: AttackLife
    counted_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)
    tolerated_at: float = -inf
    told_at: float = 0.0
    samples: int = 0


class AttackTracker:
    """Assigns rules to attacks.

    Args:
        new_id: Returns the id of an attack.
        name_of: Returns the name that a rule has in the filter, by its number.
        app_of: Returns the name of an app, by its number; empty for none.
    """

    def __init__(self, new_id: Callable[[], str], name_of: Callable[[int], str], app_of: Callable[[int], str]) -> None:
        self._new_id = new_id
        self._name_of = name_of
        self._app_of = app_of
        self._open: dict[str, _Open] = {}
        # When a fingerprint was last seen, and of which attack.
        self._past: dict[str, tuple[float, str]] = {}
        # The sum of the seconds between counts. Durations are measured by it, because the time of day may be set.
        self._elapsed_s = 0.0

    def resume(self, attacks: Iterable[Attack]) -> None:
        """Take over attacks of another process: open ones continue, and the fingerprints of ended ones may recur."""
        now = self._elapsed_s
        for attack in attacks:
            if attack.ended is None:
                names = [rule.name for rule in attack.rules if rule.ended is None]
                counted = dict.fromkeys(names, now)
                self._open[attack.id] = _Open(
                    attack,
                    AttackLife(attack.state),
                    counted,
                    tolerated_at=now if attack.state is AttackState.LEFT_ALONE else -inf,
                    told_at=now,
                    samples=MOST_SAMPLES,
                )
            else:
                self._remember(attack)

    @property
    def open(self) -> tuple[Attack, ...]:
        """The open attacks."""
        return tuple(one.attack for one in self._open.values())

    # --- findings of the detector ---------------------------------------------------------------------------------

    def take(
        self, events: Iterable[Event], packets: Packets, seconds: float, at: float, samples_of: SamplesOf | None = None
    ) -> list[AttackEvent]:
        """Take the detector's events of a look; return events of attacks.

        Args:
            events: The detector's events.
            packets: The samples.
            seconds: The time in which they were taken.
            at: The time, in seconds since 1970.
            samples_of: Returns the headers of some of the packets.
        """
        told: list[AttackEvent] = []
        for event in events:
            match event:
                case RuleWritten(rule):
                    told += self._written(rule, _Matching.among(rule.what, packets, seconds), at, samples_of)
                case RuleEnded(rule):
                    told += self._ended(self._name_of(rule.number), at)
                case LeftAlone():
                    told += self._left_alone(event, _Matching.among(event.what, packets, seconds), at, samples_of)
        return told

    def _written(
        self, rule: FloodRule, matching: "_Matching", at: float, samples_of: SamplesOf | None
    ) -> Iterator[AttackEvent]:
        name = self._name_of(rule.number)
        low, high = matching.bounds
        made = AttackRule(
            name=name,
            managed_id=rule.managed.id,
            vector=rule.managed.name,
            fingerprint=str(rule.what),
            action=str(rule.action),
            limit=rule.judgement.per_s or 0.0,
            override=rule.ruling.override,
            override_id=rule.ruling.override_id,
            why=rule.judgement.why,
            began=at,
            excess=rule.excess,
            low=low,
            high=high,
            hits=rule.hits,
        )
        former = self._former_of(name)
        one = self._of_rule(former) or self._at(self._app_of(rule.app) if rule.app != NO_APP else "", matching)
        if one is None:
            one = self._begin(rule.app, matching, at)
        one.counted_at[name] = inf  # The detector says when it ends, however late it is counted first.
        self._put(one, made, matching)
        if former != name:
            yield from self._ended(former, at)
        if made.drops and one.attack.mitigated_after is None:
            one.attack = msgspec.structs.replace(one.attack, mitigated_after=max(0.0, at - one.attack.began))
        yield from self._goes_on(one, _acts(one.attack), at, self._samples(one, matching, samples_of))

    def _left_alone(
        self, event: LeftAlone, matching: "_Matching", at: float, samples_of: SamplesOf | None
    ) -> Iterator[AttackEvent]:
        number = matching.app
        one = self._at(self._app_of(number) if number != NO_APP else "", matching)
        if one is None:
            one = self._begin(number, matching, at)
        one.tolerated_at = self._elapsed_s
        if not one.attack.rules:
            low, high = matching.bounds
            made = AttackRule(
                name="",
                managed_id=event.managed.id,
                vector=event.managed.name,
                fingerprint=str(event.what),
                action="none",
                override=event.ruling.override,
                override_id=event.ruling.override_id,
                why=event.why,
                began=at,
                excess=event.excess,
                low=low,
                high=high,
            )
            self._put(one, made, matching)
        yield from self._goes_on(one, AttackChange.TOLERATED, at, self._samples(one, matching, samples_of))

    def _former_of(self, name: str) -> str:
        """Return the name that a rule has in an open attack; if it has none, `name` itself."""
        names = (other for one in self._open.values() for other in one.counted_at)
        return next((other for other in names if first_name(other) == first_name(name)), name)

    def _of_rule(self, name: str) -> _Open | None:
        return next((one for one in self._open.values() if name in one.counted_at), None)

    def _at(self, app: str, matching: "_Matching") -> _Open | None:
        """Return the attack on the same target: the same app, without one the same addresses."""
        for one in self._open.values():
            if app and one.attack.app == app:
                return one
            if not app and not one.attack.app and _touch(one.attack.target.prefix, matching.target.prefix):
                return one
        return None

    def _begin(self, app: int, matching: "_Matching", at: float) -> _Open:
        attack = Attack(
            id=self._new_id(),
            state=AttackState.SEEN,
            app=self._app_of(app) if app != NO_APP else "",
            target=matching.target,
            began=at - matching.seconds,
            rules=(),
        )
        one = self._open[attack.id] = _Open(attack, AttackLife(), told_at=self._elapsed_s)
        return one

    def _put(self, one: _Open, made: AttackRule, matching: "_Matching") -> None:
        """Add or replace a rule, and update target and rates."""
        attack = one.attack
        former = next((rule for rule in attack.rules if rule.name == made.name and made.name), None)
        if former is not None:
            made = msgspec.structs.replace(
                made, began=former.began, packets=former.packets, bytes=former.bytes, excess=former.excess
            )
        others = tuple(rule for rule in attack.rules if rule is not former and rule.name)
        past = self._past.get(made.fingerprint)
        one.attack = msgspec.structs.replace(
            attack,
            rules=(*others, made),
            target=_joined(attack.target, matching.target),
            packets_per_second=max(attack.packets_per_second, matching.rate),
            bits_per_second=max(attack.bits_per_second, matching.bits),
            sources=matching.sources,
            recurs=attack.recurs or (past[1] if past and made.began - past[0] <= RECURRENCE_S else ""),
        )

    def _samples(self, one: _Open, matching: "_Matching", samples_of: SamplesOf | None) -> tuple[AttackSample, ...]:
        room = MOST_SAMPLES - one.samples
        if samples_of is None or room <= 0:
            return ()
        # At most half of the room: later packets may look different.
        found = tuple(samples_of(matching.some(max(1, room // 2))))
        one.samples += len(found)
        return found

    # --- counters of the kernel -----------------------------------------------------------------------------------

    def count(self, counts: Counts, seconds: float, at: float) -> list[AttackEvent]:
        """Take the kernel's counters of rules in force; return events of attacks.

        Args:
            counts: Packets and bytes of each rule, by name. A counter that is less than before was reset.
            seconds: The time since the last call.
            at: Now, in seconds since 1970.
        """
        self._elapsed_s += seconds
        told: list[AttackEvent] = []
        for one in list(self._open.values()):
            told += self._count(one, counts, max(seconds, 1e-3), at)
        return told

    def _count(self, one: _Open, counts: Counts, seconds: float, at: float) -> Iterator[AttackEvent]:
        now, attack, rules, came, octets = self._elapsed_s, one.attack, [], 0, 0
        for rule in attack.rules:
            if rule.name in counts and (rule.ended is None or now - one.ended_at.get(rule.name, -inf) < UNCOUNTED_S):
                if rule.name in one.counted_at:
                    one.counted_at[rule.name] = max(one.counted_at[rule.name], now)
                (packets, size) = more, bigger = counts[rule.name]
                before = one.counters.get(rule.name, (rule.packets, rule.bytes))
                if packets >= before[0]:
                    more, bigger = packets - before[0], max(0, size - before[1])
                one.counters[rule.name] = packets, size
                came, octets = came + more, octets + bigger
                rule = msgspec.structs.replace(rule, packets=rule.packets + more, bytes=rule.bytes + bigger)
            rules.append(rule)
        one.attack = msgspec.structs.replace(
            attack,
            rules=tuple(rules),
            packets_per_second=max(attack.packets_per_second, came / seconds),
            bits_per_second=max(attack.bits_per_second, 8 * octets / seconds),
        )
        for rule in rules:
            if rule.name and rule.ended is None and now - one.counted_at.get(rule.name, now) > UNCOUNTED_S:
                yield from self._ended(rule.name, at)
        if attack.id not in self._open:
            return
        active = [rule for rule in one.attack.rules if rule.name and rule.ended is None]
        if not active:
            if now - one.tolerated_at > TOLERATED_S:
                yield from self._goes_on(one, AttackChange.OVER, at)
        elif came / seconds < QUIET_SHARE * sum(rule.excess for rule in active):
            yield from self._goes_on(one, AttackChange.QUIETED, at)
        elif one.life.state is AttackState.FADING or now - one.told_at >= TOLD_S:
            yield from self._goes_on(one, _acts(one.attack), at)

    def _ended(self, name: str, at: float) -> Iterator[AttackEvent]:
        one = self._of_rule(name)
        if one is None:
            return
        del one.counted_at[name]
        one.ended_at[name] = self._elapsed_s
        one.attack = msgspec.structs.replace(
            one.attack,
            rules=tuple(_ended(rule, at) if rule.name == name else rule for rule in one.attack.rules),
        )
        if not one.counted_at and self._elapsed_s - one.tolerated_at > TOLERATED_S:
            yield from self._goes_on(one, AttackChange.OVER, at)

    def close(self, at: float) -> list[AttackEvent]:
        """End all attacks: detection has stopped."""
        return [event for one in list(self._open.values()) for event in self._goes_on(one, AttackChange.OVER, at)]

    # --- events ---------------------------------------------------------------------------------------------------

    def _goes_on(
        self, one: _Open, change: AttackChange, at: float, samples: tuple[AttackSample, ...] = ()
    ) -> Iterator[AttackEvent]:
        command = one.life.handle(change)
        is_over = command is AttackCommand.END
        one.attack = msgspec.structs.replace(
            one.attack, state=one.life.state, ended=max(at, one.attack.began) if is_over else None
        )
        if is_over:
            del self._open[one.attack.id]
            rules = tuple(rule if rule.ended else _ended(rule, at) for rule in one.attack.rules)
            one.attack = msgspec.structs.replace(one.attack, rules=rules)
            self._remember(one.attack)
        if command is AttackCommand.NOTHING and not samples:
            return
        one.told_at = self._elapsed_s
        kinds: dict[AttackCommand, AttackEventKind] = {AttackCommand.BEGIN: "began", AttackCommand.END: "ended"}
        kind = kinds.get(command, "changed")
        if kind == "began" and change is AttackChange.TOLERATED:
            kind = "left_alone"
        yield AttackEvent(at=at, kind=kind, attack=one.attack, samples=samples)

    def _remember(self, attack: Attack) -> None:
        for rule in attack.rules:
            if rule.name:
                self._past.pop(rule.fingerprint, None)
                self._past[rule.fingerprint] = (attack.ended or attack.began, attack.id)
        while len(self._past) > MOST_REMEMBERED:
            del self._past[next(iter(self._past))]


def _ended(rule: AttackRule, at: float) -> AttackRule:
    """Return a rule that has ended, not before it began: the clock may have been set back."""
    return msgspec.structs.replace(rule, ended=max(at, rule.began))


def _acts(attack: Attack) -> AttackChange:
    active = [rule for rule in attack.rules if rule.name and rule.ended is None]
    return AttackChange.LOGGED if all(rule.action == LOG for rule in active) else AttackChange.RULED


@dataclass(frozen=True, slots=True)
class _Matching:
    """The samples that a conjunction matches."""

    rows: NDArray[np.bool_]
    packets: Packets
    seconds: float

    @classmethod
    def among(cls, what: Conjunction, packets: Packets, seconds: float) -> "_Matching":
        rows = what.match(packets) & (packets["state"] != IN_USE)
        return cls(rows, packets.where(rows), seconds)

    def some(self, count: int) -> NDArray[np.bool_]:
        """Return a mask of a few of the rows, spread over time."""
        places = np.flatnonzero(self.rows)
        mask = np.zeros(len(self.rows), bool)
        if len(places):
            mask[places[np.unique(np.linspace(0, len(places) - 1, count).astype(np.int64))]] = True
        return mask

    @property
    def rate(self) -> float:
        """Packets per second."""
        return float(self.packets["stands_for"].sum()) / self.seconds

    @property
    def bits(self) -> float:
        """Bits per second of IP packets."""
        return 8 * float((self.packets["stands_for"] * self.packets["length"]).sum()) / self.seconds

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and upper bound of the rate, with 95 % confidence."""
        count = len(self.packets)
        one_in = float(self.packets["stands_for"].mean()) if count else 1.0
        return rate_bounds(count, one_in, self.seconds)

    @property
    def sources(self) -> int | None:
        """The number of sources, if few enough to count."""
        if not len(self.packets):
            return None
        many, pairs = sources(self.packets["source"])
        return round(many) if pairs >= LEAST_PAIRS and many < FEW_SOURCES else None

    @property
    def app(self) -> int:
        """The app that most samples are for."""
        apps, counts = np.unique(self.packets["app"], return_counts=True)
        return int(apps[counts.argmax()]) if len(apps) else NO_APP

    @property
    def target(self) -> AttackTarget:
        """The prefix of all destinations, of the more frequent IP version; port and protocol, if they share them."""
        if not len(self.packets):
            return AttackTarget("")
        versions, counts = np.unique(self.packets["version"], return_counts=True)
        version = int(versions[counts.argmax()])
        rows = self.packets.where(self.packets["version"] == version)
        addresses = np.unique(np.stack([rows["destination_high"], rows["destination_low"]], 1), axis=0).tolist()
        texts = [address_text(version, *ends) for ends in (addresses[0], addresses[-1])]
        protocols, ports = np.unique(rows["protocol"]), np.unique(rows["destination_port"])
        protocol = int(protocols[0]) if len(protocols) == 1 else -1
        return AttackTarget(
            _spanned(*texts),
            int(ports[0]) if len(ports) == 1 else 0,
            _PROTOCOL_NAMES.get(protocol, str(protocol)) if protocol >= 0 else "",
        )


def _spanned(one: str, other: str) -> str:
    """Return the longest prefix that contains two addresses or prefixes; a single address unchanged."""
    first, last = ip_network(one), ip_network(other)
    if first.version != last.version:
        return one
    while not last.subnet_of(first):  # type: ignore[arg-type] # of one version
        first = first.supernet()
    return str(first.network_address) if first.prefixlen == first.max_prefixlen else str(first)


def _joined(one: AttackTarget, other: AttackTarget) -> AttackTarget:
    if not one.prefix or not other.prefix:
        return one if one.prefix else other
    return AttackTarget(
        _spanned(one.prefix, other.prefix),
        one.port if one.port == other.port else 0,
        one.protocol if one.protocol == other.protocol else "",
    )


def _touch(one: str, other: str) -> bool:
    return bool(one and other) and ip_network(one).overlaps(ip_network(other))
