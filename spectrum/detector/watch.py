"""The work for each quarter of a second of samples: rules, attacks, and the sampling rate."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.attack_events import AttackSample, name_after
from spectrum.core.ddos.attacks import AttackTracker
from spectrum.core.ddos.detector import Detector, FloodRule
from spectrum.core.ddos.judging import Action
from spectrum.core.ddos.overrides import Overrides
from spectrum.core.ddos.packets import IN_USE, Packets
from spectrum.core.ddos.profile import READY_S, Profile
from spectrum.core.ddos.rule_memory import decode_rule, encode_rule
from spectrum.core.ddos.sampling import SamplingControl
from spectrum.core.ddos.slots import NoSlot, slot_of
from spectrum.detector.columns import LookedAt
from spectrum.kernel.filter.rules import pack_rule, pack_sets
from spectrum.link.detector import (
    DetectorCounts,
    DetectorEvents,
    DetectorHeld,
    DetectorRule,
    DetectorRules,
    DetectorSampling,
    DetectorSettings,
    DetectorState,
    FromDetector,
)

log = logging.getLogger(__name__)

# The expiry of a rule in the kernel is postponed while it matches, by this share of its time, and is later than that of
# the detector by the same share: the kernel ends rules only if the detector does not.
RENEWED_SHARE = 1 / 6
# Sampled packets of an attack per event.
MOST_SAMPLES = 8
STATE_S = 1.0
_NS = 1_000_000_000
_NO_PACKETS = Packets.none()


@dataclass(frozen=True, slots=True)
class _Written:
    """A rule as it was sent to the filter."""

    rule: FloodRule
    expires: float


class AttackWatch:
    """Detects attacks.

    Args:
        settings: The settings.
        seed: Of the random choices of profiles.

    Attributes:
        detector: Finds attacks.
        apps: Names and services of apps by their number.
    """

    def __init__(self, settings: DetectorSettings, seed: int) -> None:
        self.apps = settings.apps
        first_s = min(READY_S, settings.learning_s)
        profile = Profile(seed, settle_s=settings.learning_s, first_s=first_s)
        overrides = Overrides(settings.overrides, settings.everywhere)
        self.detector = Detector(profile, overrides, settings.expiry_s, by_workers=settings.by_workers)
        self._sampling = SamplingControl(settings.samples_per_second, settings.one_in)
        self._tracker = AttackTracker(lambda: token_hex(8), self._name_of, self._app_of)
        # By number, and whether they only count.
        self._names: dict[int, str] = {}
        self._logs: dict[int, bool] = {}
        self._written: dict[int, _Written] = {}
        self._is_untold = False
        self._counts: tuple[float, DetectorCounts] | None = None
        self._counted: dict[int, float] = {}
        # The factor by which samples stand for more packets while samples are lost.
        self._scale = 1.0
        self._first_lost: int | None = None
        self._taken = self._lost = 0
        self._without_slot = ""
        self._state_at = self._cpu_s = self._packets = self._seconds = 0.0
        self._samples = 0

    # --- messages of the supervisor -------------------------------------------------------------------------------

    def resume(self, held: DetectorHeld) -> None:
        """Continue from the state of a previous detector."""
        rules = []
        numbers = {name: number for number, (name, _) in self.apps.items()}
        for one in held.rules:
            try:
                rules.append(rule := decode_rule(one.memory, numbers))
            except ValueError as exc:
                log.warning("the rule %s against an attack is left to end by itself: %s", one.name, exc)
                continue
            self._names[rule.number] = one.name
            self._logs[rule.number] = rule.action is Action.LOG
            self._written[rule.number] = _Written(rule, one.expires_ns / _NS)
        self.detector.resume(rules, held.last)
        # Rules that have expired meanwhile are in the kernel, and counted, until rules are written.
        self._is_untold = len(rules) == len(held.rules)
        self._tracker.resume(held.attacks)

    def configure(self, settings: DetectorSettings, at: float) -> list[FromDetector]:
        """Use other settings."""
        numbers = {name: number for number, (name, _) in settings.apps.items()}
        changed = {old: numbers[name] for old, (name, _) in self.apps.items() if name in numbers}
        if settings.apps != self.apps:
            self.detector.renumber(changed)
            self.apps = settings.apps
        self.detector.profile.settle_s = settings.learning_s
        self.detector.first_expiry_s = settings.expiry_s
        self._sampling.most = settings.samples_per_second
        events = self.detector.override(Overrides(settings.overrides, settings.everywhere))
        self._name_rules()
        nothing = self._tracker.take(events, _NO_PACKETS, 1.0, at)
        return [DetectorEvents(nothing)] if nothing else []

    def count(self, counts: DetectorCounts, now: float, at: float) -> list[FromDetector]:
        """Take the filter's counters."""
        before, self._counts = self._counts, (now, counts)
        if self._first_lost is None:
            self._first_lost = counts.lost
        numbers = {name: number for number, name in self._names.items()}
        self._counted = {}
        if before is not None and now > before[0]:
            seconds = now - before[0]
            for name, (packets, _) in counts.rules.items():
                if name in numbers and name in before[1].rules:
                    self._counted[numbers[name]] = max(0, packets - before[1].rules[name][0]) / seconds
            lost = max(0, counts.lost - before[1].lost)
            self._scale = (self._taken + lost) / self._taken if self._taken else 1.0
            self._lost += lost
            events = self._tracker.count(counts.rules, seconds, at)
        else:
            events = []
        self._taken = 0
        return [DetectorEvents(list(events))] if events else []

    # --- samples --------------------------------------------------------------------------------------------------

    def look(self, looked: LookedAt, seconds: float, now: float, at: float) -> Iterator[FromDetector]:
        """Take the samples of the last seconds; yield messages to the supervisor."""
        packets = looked.packets
        if self._scale != 1.0:
            packets = packets.replaced(stands_for=packets["stands_for"] * self._scale)
        self._taken += len(packets)
        events = self.detector.look(packets, seconds, now, at=at, counted=self._counted)
        yield from self._changed_rules(now)
        told = self._tracker.take(events, packets, seconds, at, lambda mask: self._samples_of(looked, mask, now, at))
        if told:
            yield DetectorEvents(told)
        self._names = {number: name for number, name in self._names.items() if number in self._written}
        self._logs = {number: logs for number, logs in self._logs.items() if number in self._written}
        yield from self._sample(looked, packets["stands_for"], seconds)
        yield from self._state(seconds, now, at)

    def _samples_of(self, looked: LookedAt, mask: NDArray[np.bool_], now: float, at: float) -> Iterator[AttackSample]:
        for row in np.flatnonzero(mask)[:MOST_SAMPLES]:
            ago = now - float(looked.at_ns[row]) / _NS
            yield AttackSample(at - ago, int(looked.frame_bytes[row]), looked.header(int(row)))

    def _sample(self, looked: LookedAt, stands_for: NDArray[np.float64], seconds: float) -> Iterator[DetectorSampling]:
        used = looked.packets["state"] == IN_USE
        count, total = int(used.sum()), float(stands_for.sum())
        in_use = float(stands_for[used].sum())
        self._samples += len(looked)
        self._packets += total
        if self._sampling.look(len(looked) - count, count, (total - in_use, in_use), seconds):
            yield DetectorSampling(*self._sampling.one_in)

    def _state(self, seconds: float, now: float, at: float) -> Iterator[DetectorState]:
        self._seconds += seconds
        if now < self._state_at:
            return
        self._state_at = now + STATE_S
        used = time.process_time()
        cpu = (used - self._cpu_s) / max(self._seconds, 1e-3) if self._cpu_s else 0.0
        self._cpu_s = used
        self._sampling.spend(cpu)
        profile = self.detector.profile
        learned = {
            self._app_of(app): (sure.learned_s, sure.is_settled)
            for app, sure in profile.certainty(at).items()
            if self._app_of(app)
        }
        yield DetectorState(
            self._samples / self._seconds,
            self._packets / self._seconds,
            self._lost,
            cpu,
            profile.ready_s,
            learned,
            self._without_slot,
        )
        self._seconds = self._packets = 0.0
        self._samples = 0

    # --- rules ----------------------------------------------------------------------------------------------------

    def _changed_rules(self, now: float) -> Iterator[DetectorRules]:
        """Yield the rules in force if they differ from the filter's, or their expiry must be postponed."""
        rules = {rule.number: rule for rule in self.detector.rules}
        wanted = {number: self._expiry_of(rule, now) for number, rule in rules.items()}
        is_same = rules.keys() == self._written.keys()
        if (
            is_same
            and not self._is_untold
            and not any(self._is_to_be_written(one, wanted[one.number]) for one in rules.values())
        ):
            return
        self._is_untold = False
        self._name_rules()
        self._written = {number: _Written(rule, wanted[number]) for number, rule in rules.items()}
        self._without_slot = ""
        made = (self._made(number, rule, wanted[number]) for number, rule in rules.items())
        yield DetectorRules([one for one in made if one is not None], self.detector.last)

    def rules_untold(self) -> None:
        """Make the next look yield the rules again, after they could not be sent."""
        self._is_untold = True

    def _expiry_of(self, rule: FloodRule, now: float) -> float:
        lasts = self.detector.expiry_s(rule)
        return (now if rule.quiet_since is None else rule.quiet_since) + lasts * (1 + RENEWED_SHARE)

    def _is_to_be_written(self, rule: FloodRule, expires: float) -> bool:
        written = self._written[rule.number]
        renewed = self.detector.expiry_s(rule) * RENEWED_SHARE
        return rule.judgement != written.rule.judgement or expires - written.expires >= renewed

    def _made(self, number: int, rule: FloodRule, expires: float) -> DetectorRule | None:
        name, expires_ns = self._names[number], int(expires * _NS)
        try:
            slot = slot_of(rule, expires_ns)
        except NoSlot as exc:
            self._without_slot = f"{rule.what}: {exc}"
            log.error("no rule of the filter is for an attack that was found: %s", self._without_slot)
            return None
        sets = pack_sets({name: slot}).get(name, [])
        return DetectorRule(name, pack_rule(slot), sets, str(rule), expires_ns, encode_rule(rule, self._app_of))

    def _name_rules(self) -> None:
        """Name new rules, and those that begin or cease to act: a counter has either what passed or what did not."""
        for rule in self.detector.rules:
            logs, former = rule.action is Action.LOG, self._names.get(rule.number)
            if former is None:
                self._names[rule.number] = f"{rule.managed.ref.lower()}-{rule.number}"
            elif logs != self._logs[rule.number]:
                self._names[rule.number] = name_after(former)
            self._logs[rule.number] = logs

    def _name_of(self, number: int) -> str:
        return self._names.get(number, "")

    def _app_of(self, number: int) -> str:
        return self.apps.get(number, ("", ""))[0]
