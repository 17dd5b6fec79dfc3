"""From samples to rules: windows of time, alarms, and what is done about what was found."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.classification import classify, shared_fields
from spectrum.core.ddos.judging import Action, AppExcess, Judgement, app_of, judge, overruled
from spectrum.core.ddos.managed import ManagedRule, Sensitivity
from spectrum.core.ddos.mining import COVER_WEIGHTS, LEAST_OF_FLOOR, Fingerprint, mine
from spectrum.core.ddos.overrides import Overrides, Ruling
from spectrum.core.ddos.packets import IN_USE, NO_APP, Packets
from spectrum.core.ddos.predicates import Conjunction
from spectrum.core.ddos.profile import Normal, Profile

SUB_WINDOW_S = 0.25
# Looked at: the last sub-window alone, and so many together.
SPANS = (1, 4)
# Of a window; more says no more, and takes longer.
MOST_SAMPLES = 4_000
LEAST_SAMPLES = 15
LEAST_EXCESS = 2_000.0
TOLERANCE = 1.2
ERRORS = 4.0
# At once where the excess is so many times what is an alarm, else when two sub-windows say so.
CLEAR_ALARM = 5.0
# Mining again when it found nothing.
PATIENCE_S = 1.0
REJUDGE_S = 1.0
MOST_RULES = 8
# An automatic rule ends so long after what it matches fell below a quarter of what began it.
EXPIRY_S = 60.0
QUIET_SHARE = 0.25

# How much above the profile's rate is an alarm.
TOLERANCES: dict[Sensitivity, float] = {"default": 0.5, "medium": 1.5, "low": 4.0, "eoff": 20.0}


@dataclass(frozen=True, slots=True)
class FloodRule:
    """A rule that was written for an attack.

    Attributes:
        number: No other one has it.
        what: Matches packets that belong to no flow in use.
        judgement: What becomes of them.
        managed: The kind of attack.
        ruling: What overrides say of it.
        judged: What would become of them if no override said anything.
        app: The number of the app that it is about most.
        excess: Packets per second that matched beyond normal when it was written; `normal` those that are normal.
        began: When it was written; `quiet_since` since when little matches, None while much does.
    """

    number: int
    what: Conjunction
    judgement: Judgement
    managed: ManagedRule
    ruling: Ruling
    judged: Judgement
    app: int
    excess: float
    normal: float
    began: float
    hits: float = 0.0
    quiet_since: float | None = None

    @property
    def action(self) -> Action:
        """What becomes of packets that match."""
        assert self.judgement.action is not None, "a rule does something"
        return self.judgement.action

    def __str__(self) -> str:
        limit = f" to {self.judgement.per_s:,.0f}/s" if self.judgement.per_s else ""
        about = f"{self.managed.name}: {self.what}: {self.excess:,.0f}/s"
        return f"{about}; {self.action}{limit}, as {self.judgement.why}"


@dataclass(frozen=True, slots=True)
class RuleWritten:
    """A rule begins, or changes what it does."""

    rule: FloodRule


@dataclass(frozen=True, slots=True)
class RuleEnded:
    """A rule ends: little matches it any longer."""

    rule: FloodRule


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """There is more than normally, and no rule for it."""

    what: Conjunction
    excess: float
    why: str


Event = RuleWritten | RuleEnded | LeftAlone


@dataclass(frozen=True, slots=True)
class _Look:
    """What was sampled in a sub-window."""

    packets: Packets
    seconds: float


class Detector:
    """Finds attacks.

    Args:
        profile: What is normal; it learns while there is no alarm.
        overrides: How much more than normally is an attack, of which kind, and what becomes of it.
    """

    def __init__(self, profile: Profile, overrides: Overrides | None = None) -> None:
        self._profile = profile
        self._overrides = overrides or Overrides()
        self._looks: deque[_Look] = deque(maxlen=max(SPANS))
        self._rules: dict[int, FloodRule] = {}
        # What is too little to be an attack, as an override says, until when.
        self._tolerated: dict[Conjunction, float] = {}
        self._alarms = self._last = 0
        self._mine_at = self._judge_at = 0.0

    @property
    def rules(self) -> Sequence[FloodRule]:
        """Those in force."""
        return tuple(self._rules.values())

    def look(self, packets: Packets, seconds: float, now: float) -> list[Event]:
        """Take what was sampled in a sub-window of so many seconds, which ends `now`; return what follows from it.

        Packets that rules in force match are among them.
        """
        if not self._profile.is_ready:
            self._profile.learn(packets, seconds)
            return []
        self._looks.append(_Look(packets, seconds))
        self._tolerated = {what: until for what, until in self._tolerated.items() if until > now}
        events: list[Event] = [*self._ends(now)]
        alarm = max(self._alarm(list(self._looks)[-count:]) for count in SPANS if count <= len(self._looks))
        self._alarms = self._alarms + 1 if alarm > 1 else 0
        if now >= self._judge_at:
            events += self._judge_again(now)
        if alarm > CLEAR_ALARM or self._alarms >= 2:
            if now >= self._mine_at:
                events += self._find(now)
        elif not self._alarms:
            self._learn(packets, seconds)
        return events

    def override(self, overrides: Overrides) -> list[Event]:
        """Go by other overrides; return what that changes for rules in force."""
        self._overrides = overrides
        self._tolerated.clear()
        events: list[Event] = []
        for rule in list(self._rules.values()):
            ruling = overrides.judge(rule.managed, shared_fields(rule.what))
            if rule.excess < self._least(rule.managed, ruling):
                del self._rules[rule.number]
                events.append(RuleEnded(rule))
            elif ruling != rule.ruling:
                judgement = overruled(rule.judged, ruling, rule.normal)
                self._rules[rule.number] = changed = replace(rule, ruling=ruling, judgement=judgement)
                events.append(RuleWritten(changed))
        return events

    def _learn(self, packets: Packets, seconds: float) -> None:
        if not self._rules and not self._tolerated:
            self._profile.learn(packets, seconds)

    # --- alarms ---------------------------------------------------------------------------------------------------

    def _left_over(self, packets: Packets) -> Packets:
        """Return the packets that no rule in force matches, and that are not tolerated."""
        matched = np.zeros(len(packets), bool)
        for what in self._explained():
            matched |= what.match(packets)
        return packets.where(~(matched & (packets["state"] != IN_USE)))

    def _explained(self) -> Iterator[Conjunction]:
        """Yield what rules in force match, and what is tolerated."""
        yield from (rule.what for rule in self._rules.values())
        yield from self._tolerated

    def _alarm(self, looks: Sequence[_Look]) -> float:
        """Return how many times as much as is an alarm there is beyond normal."""
        seconds = sum(look.seconds for look in looks)
        idle = [self._left_over(look.packets.where(look.packets["state"] != IN_USE)) for look in looks]
        count = sum(map(len, idle))
        if count < LEAST_SAMPLES:
            return 0.0
        total = sum(float(one["stands_for"].sum()) for one in idle)
        error = sqrt(sum(float((one["stands_for"].astype(float) ** 2).sum()) for one in idle)) / seconds
        excess = total / seconds - TOLERANCE * self._profile.normal.rate
        return excess / max(self._floor(), ERRORS * error)

    def _floor(self) -> float:
        return max(LEAST_EXCESS, TOLERANCES[self._overrides.most_sensitive] * self._profile.normal.rate)

    def _least(self, managed: ManagedRule, ruling: Ruling) -> float:
        """Return the least excess for a rule of a kind of attack; samples may tell somewhat less than there is."""
        level = ruling.sensitivity_level
        return LEAST_OF_FLOOR * max(managed.threshold(level), TOLERANCES[level] * self._profile.normal.rate)

    # --- rules ----------------------------------------------------------------------------------------------------

    def _find(self, now: float) -> Iterator[Event]:
        found = False
        for count in SPANS:
            looks = list(self._looks)[-count:]
            if count <= len(self._looks) and self._alarm(looks) > 1:
                for event in self._mine(looks, now):
                    found = found or isinstance(event, RuleWritten)
                    yield event
        if not found:
            self._mine_at = now + PATIENCE_S

    def _mine(self, looks: Sequence[_Look], now: float) -> Iterator[Event]:
        seconds = sum(look.seconds for look in looks)
        packets = Packets.joined([look.packets for look in looks])
        while len(self._rules) < MOST_RULES and self._alarm(looks) > 1:
            left = self._left_over(packets)
            idle = left.where(left["state"] != IN_USE)
            fingerprint = self._best_fingerprint(idle, seconds)
            if fingerprint is None:
                return
            matching = idle.where(fingerprint.what.match(idle))
            app = app_of(matching)
            judged = judge(fingerprint, matching, self._excess_of(app, left, seconds))
            if judged.action is None:
                yield LeftAlone(fingerprint.what, fingerprint.excess, judged.why)
                return
            yield self._write(fingerprint, classify(fingerprint.what, matching), judged, app, now)

    def _write(
        self, fingerprint: Fingerprint, managed: ManagedRule, judged: Judgement, app: int, now: float
    ) -> RuleWritten | LeftAlone:
        """Write a rule, unless an override says that it takes more."""
        ruling = self._overrides.judge(managed, shared_fields(fingerprint.what))
        if fingerprint.excess < self._least(managed, ruling):
            self._tolerated[fingerprint.what] = now + PATIENCE_S
            why = f"it takes more for {managed.name} at sensitivity {ruling.sensitivity_level}"
            return LeftAlone(fingerprint.what, fingerprint.excess, why)
        self._last += 1
        self._judge_at = now + REJUDGE_S
        self._rules[self._last] = rule = FloodRule(
            self._last,
            fingerprint.what,
            overruled(judged, ruling, fingerprint.normal),
            managed,
            ruling,
            judged,
            app,
            fingerprint.excess,
            fingerprint.normal,
            now,
            float(fingerprint.hits.max(initial=0.0)),
        )
        return RuleWritten(rule)

    def _best_fingerprint(self, idle: Packets, seconds: float) -> Fingerprint | None:
        """Return what covers most of the excess, or if that hits normal packets, a part of it that does not."""
        idle, seconds = _thinned(idle, seconds)
        normal = _without(self._profile.normal, self._explained())
        first = mine(idle, seconds, normal, self._floor(), COVER_WEIGHTS[0])
        if first is None or first.is_clean:
            return first
        second = mine(idle, seconds, normal, self._floor(), COVER_WEIGHTS[1])
        return second if second is not None and second.is_clean else first

    def _excess_of(self, app: int, left: Packets, seconds: float) -> AppExcess | None:
        if app == NO_APP:
            return None
        own = left.where(left["app"] == app)
        normal = self._profile.rates_of(app)
        came = np.bincount(own["state"], own["stands_for"], 3) / seconds
        idle = own.where(own["state"] != IN_USE)
        usual = self._profile.known_share_of(app)
        known = float(idle["stands_for"][idle["known"] == 1].sum()) / seconds
        beyond = float((came - normal)[:IN_USE].sum())
        share = (known - usual * float(normal[:IN_USE].sum())) / beyond if beyond > 0 else 1.0
        return AppExcess(came - normal, normal, share, usual)

    def _judge_again(self, now: float) -> Iterator[Event]:
        """Decide anew on what rules do that do not block: a few samples do not tell many sources from all."""
        self._judge_at = now + REJUDGE_S
        packets = Packets.joined([look.packets for look in self._looks])
        seconds = sum(look.seconds for look in self._looks)
        for rule in list(self._rules.values()):
            if rule.action is Action.BLOCK or rule.ruling.action != "ddos_dynamic":
                continue
            idle = packets.where((packets["state"] != IN_USE) & rule.what.match(packets))
            if len(idle) < LEAST_SAMPLES:
                continue
            rows = rule.what.match(self._profile.normal.packets)
            usual = float(self._profile.normal.rates[rows].sum())
            excess = float(idle["stands_for"].sum()) / seconds - usual
            again = judge(Fingerprint(rule.what, excess, usual, np.array([rule.hits]), len(idle)), idle, None)
            if again.action is not None and again.action != rule.action:
                self._rules[rule.number] = changed = replace(rule, judgement=again, judged=again)
                yield RuleWritten(changed)

    def _ends(self, now: float) -> Iterator[Event]:
        """End rules that have matched little for long."""
        look = self._looks[-1]
        for rule in list(self._rules.values()):
            matched = rule.what.match(look.packets) & (look.packets["state"] != IN_USE)
            rate = float(look.packets["stands_for"][matched].sum()) / look.seconds
            quiet = rate < QUIET_SHARE * min(rule.excess, self._floor())
            since = (rule.quiet_since if rule.quiet_since is not None else now) if quiet else None
            if since is not None and now - since >= EXPIRY_S:
                del self._rules[rule.number]
                yield RuleEnded(rule)
            elif since != rule.quiet_since:
                self._rules[rule.number] = replace(rule, quiet_since=since)


def _thinned(packets: Packets, seconds: float) -> tuple[Packets, float]:
    """Return at most `MOST_SAMPLES`, and in how many seconds as many would have come."""
    if len(packets) <= MOST_SAMPLES:
        return packets, seconds
    places = np.linspace(0, len(packets) - 1, MOST_SAMPLES).astype(np.int64)
    return packets.where(places), seconds * MOST_SAMPLES / len(packets)


def _without(normal: Normal, some: Iterable[Conjunction]) -> Normal:
    """Return the profile without the rows that some conjunctions match."""
    kept: NDArray[np.bool_] = np.ones(len(normal.packets), bool)
    for what in some:
        kept &= ~what.match(normal.packets)
    return Normal(normal.packets.where(kept), normal.rates[kept], normal.shares[kept], normal.apps, normal.rate)
