"""From samples to rules: windows of time, alarms, and mitigation."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.adaptive import Deviated
from spectrum.core.ddos.askers import Askers, who_asks
from spectrum.core.ddos.classification import classify, shared_fields
from spectrum.core.ddos.estimates import rate_bounds
from spectrum.core.ddos.judging import (
    CROWD_IN_USE,
    Action,
    AppExcess,
    Judgement,
    app_of,
    judge,
    of_connections,
    overruled,
    spared,
)
from spectrum.core.ddos.managed import ManagedRule, Sensitivity
from spectrum.core.ddos.mining import (
    COST_AIM,
    COVER_WEIGHTS,
    LEAST_OF_FLOOR,
    UNKNOWN_TO_WORKERS,
    Fingerprint,
    mine,
    narrowed,
)
from spectrum.core.ddos.overrides import Overrides, Ruling
from spectrum.core.ddos.packets import IN_USE, NO_APP, OPENING, Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.core.ddos.profile import Normal, Profile
from spectrum.core.ddos.recurrence import EXPIRIES_S, PastAttack, PastAttacks, expiry_s
from spectrum.core.ddos.unlearned import SUSPECT_SHARE, Suspects
from spectrum.core.packets import PROTOCOLS

SUB_WINDOW_S = 0.25
# Windows that are evaluated: the last sub-window alone, and this number together.
SPANS = (1, 4)
# Samples of a window; more add no information, and take longer.
MOST_SAMPLES = 4_000
# Looks that are kept, to see which sources repeat queries, and which continue.
KEPT_LOOKS = 10
LEAST_SAMPLES = 15
LEAST_EXCESS = 2_000.0
TOLERANCE = 1.2
ERRORS = 4.0
# An alarm at once if the excess is this multiple of the threshold, otherwise after two sub-windows.
CLEAR_ALARM = 5.0
# Delay before mining again after it found nothing.
PATIENCE_S = 1.0
# Time after which clients would have continued, or repeated their queries.
GOES_ON_S = 1.0
REJUDGE_S = 1.0
MOST_RULES = 8
# An automatic rule ends some time after its matches fell below a quarter of the initial rate.
QUIET_SHARE = 0.25
# Traffic is learned this number of looks later, if no attack has begun by then, as its first packets are few.
LEARNED_LATER = 4
# For this time after a start, flows and known sources are still being learned: only rules that need no profile are
# applied.
WARM_UP_S = 60.0
# By then, flows that continue have been seen to do so.
FLOWS_S = 2.0
# Excess without a rule that lasts this long becomes normal: its rate is learned.
NEW_NORMAL_S = 600.0
# If known sources are recognized for so small a share of packets, their table was lost.
LOST_KNOWN = 0.5
# The share of the alarm threshold at which a known attack begins again.
RETURN_SHARE, LEAST_RETURNING = 0.5, 8
# A blocking rule gets another action when known sources show that it hits this share of an app's openings (95 %).
MOST_HARM = 0.01

# Threshold of an alarm, relative to the profile's rate.
TOLERANCES: dict[Sensitivity, float] = {"default": 0.5, "medium": 1.5, "low": 4.0, "eoff": 20.0}


@dataclass(frozen=True, slots=True)
class FloodRule:
    """A rule that was written for an attack.

    Attributes:
        number: Its number, unique.
        what: Its conditions, for packets that belong to no flow in use.
        judgement: Its action.
        managed: The kind of attack.
        ruling: The settings of overrides.
        judged: The action without overrides.
        app: The number of the app that most packets are for.
        excess: Packets per second beyond normal when it was written; `normal` are the normal ones that match.
        began: When it was written; `quiet_since` since when little matches, None while much does.
        hits: The greatest share of an app's openings in the profile that matches.
        times: How often the attack has come within a day.
        apps: The apps that its packets may be for; they are not learned meanwhile.
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
    times: int = 1
    apps: frozenset[int] = frozenset()

    @property
    def action(self) -> Action:
        """The action on packets that match."""
        assert self.judgement.action is not None, "a rule does something"
        return self.judgement.action

    def __str__(self) -> str:
        limit = f" to {self.judgement.per_s:,.0f}/s" if self.judgement.per_s else ""
        about = f"{self.managed.name}: {self.what}: {self.excess:,.0f}/s"
        return f"{about}; {self.action}{limit}, as {self.judgement.why}"


@dataclass(frozen=True, slots=True)
class RuleWritten:
    """A rule begins, or its action changes."""

    rule: FloodRule


@dataclass(frozen=True, slots=True)
class RuleEnded:
    """A rule ends: few packets match it."""

    rule: FloodRule


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """There is an excess without a rule; `managed` and `ruling` are as for a rule."""

    what: Conjunction
    excess: float
    why: str
    managed: ManagedRule
    ruling: Ruling


Event = RuleWritten | RuleEnded | LeftAlone


@dataclass(slots=True)
class _Look:
    """The samples of a sub-window."""

    packets: Packets
    seconds: float


@dataclass(frozen=True, slots=True)
class _Lesson:
    """Traffic to be learned: packets that no rule in force matched, and the apps of rules."""

    packets: Packets
    seconds: float
    at: float
    without: frozenset[int]


@dataclass(slots=True)
class _Harm:
    """Packets of known sources that a rule matched: their number, their squares for the error, and the seconds."""

    known: float = 0.0
    squares: float = 0.0
    seconds: float = 0.0


class Detector:
    """Finds attacks.

    Args:
        profile: The profile of normal traffic; it learns while there is no alarm.
        overrides: The sensitivity and action of each kind of attack.
        first_expiry_s: The time after which a rule of a first attack ends that little matches.
        by_workers: Whether the engine of workers samples and judges packets: it knows less of them, and of TCP has only
            established connections.
    """

    def __init__(
        self,
        profile: Profile,
        overrides: Overrides | None = None,
        first_expiry_s: float = EXPIRIES_S[0],
        *,
        by_workers: bool = False,
    ) -> None:
        self._by_workers = by_workers
        self._blind = UNKNOWN_TO_WORKERS if by_workers else frozenset[str]()
        self._profile = profile
        self._overrides = overrides or Overrides()
        self._looks: deque[_Look] = deque(maxlen=KEPT_LOOKS)
        self._lessons: deque[_Lesson] = deque()
        self._rules: dict[int, FloodRule] = {}
        # Excess below the sensitivity of an override, and until when.
        self._tolerated: dict[Conjunction, float] = {}
        self._harm: dict[int, _Harm] = {}
        self._past = PastAttacks()
        self.first_expiry_s = first_expiry_s
        self._alarms = self._last = 0
        self._mine_at = self._judge_at = 0.0
        self._began: float | None = None
        self._alarm_since: float | None = None
        self._at = 0.0
        self._deviations: list[Deviated] = []
        # Apps with more new sources that may continue, and since when.
        self._unclear: dict[int, float] = {}

    @property
    def rules(self) -> Sequence[FloodRule]:
        """The rules in force."""
        return tuple(self._rules.values())

    @property
    def last(self) -> int:
        """The highest number of a rule so far."""
        return self._last

    def resume(self, rules: Iterable[FloodRule], last: int = 0) -> None:
        """Continue the rules of another detector, with new numbers; before the first look."""
        self._rules = {rule.number: rule for rule in rules}
        self._last = max(last, *self._rules, 0)

    def expiry_s(self, rule: FloodRule) -> float:
        """Return the time after which a rule ends that little matches."""
        return self.first_expiry_s * expiry_s(rule.times) / EXPIRIES_S[0]

    @property
    def profile(self) -> Profile:
        """The profile of normal traffic."""
        return self._profile

    def look(
        self,
        packets: Packets,
        seconds: float,
        now: float,
        *,
        at: float | None = None,
        counted: Mapping[int, float] | None = None,
    ) -> list[Event]:
        """Take the samples of a sub-window; return the resulting events.

        Args:
            packets: Samples, including those that rules in force match.
            seconds: The length of the sub-window.
            now: Its end, of a clock that is never set.
            at: The same, in seconds since 1970; `now` by default.
            counted: Packets per second that rules match, by number, from their own counters. Other rules are judged by
                the samples.
        """
        self._at = now if at is None else at
        self._began = now if self._began is None else self._began
        self._looks.append(_Look(packets, seconds))
        self._tolerated = {what: until for what, until in self._tolerated.items() if until > now}
        is_first = not self._profile.is_ready
        events: list[Event] = [*self._ends(now, counted or {}), *self._returns(now)]
        nothing_suspect = is_first and not self._learn_trusted(packets, seconds)
        spans = [list(self._looks)[-count:] for count in SPANS if count <= len(self._looks)]
        alarm = 0.0 if nothing_suspect else max(map(self._alarm, spans))
        self._alarms = self._alarms + 1 if alarm > 1 else 0
        if not self._alarms:
            self._unclear.clear()
        if now >= self._judge_at:
            events += self._judge_again(now)
        if (alarm > CLEAR_ALARM or self._alarms >= 2) and now >= self._mine_at:
            events += self._find(now)
        if is_first:  # Ignored excess is not reported while nothing is known.
            return [event for event in events if not isinstance(event, LeftAlone)]
        self._learn(packets, seconds, now)
        self._deviations += self._profile.adaptive.take(self._left_over(packets), seconds, self._at)
        return events

    def attackers(self) -> tuple[PastAttack, ...]:
        """Return the attacks of the last 24 hours and the current ones, which are kept over a restart."""
        now = (PastAttack(rule.what, rule.times, self._at) for rule in self.rules)
        return (*self._past.remembered(self._at), *now)

    def recall(self, attacks: Iterable[PastAttack]) -> None:
        """Restore attacks from before a restart: those that continue are mitigated at once."""
        for attack in attacks:
            self._past.add(attack)

    def deviations(self) -> list[Deviated]:
        """Return new deviations from adaptive profiles since the last call, for the log."""
        deviations, self._deviations = self._deviations, []
        return deviations

    def _learn_trusted(self, packets: Packets, seconds: float) -> bool:
        """Learn before normal traffic is known: all that is never an attack; return whether some is suspect."""
        looks = [self._left_over(look.packets) for look in self._window]
        suspects = Suspects.among(Packets.joined(looks), sum(look.seconds for look in self._window))
        # Traffic without an app allows no conclusion from what a rule leaves over.
        without = {NO_APP} if any(NO_APP in rule.apps for rule in self.rules) else set()
        self._learn_later(suspects.trusted(self._left_over(packets)), seconds, without, suspects)
        return bool(suspects)

    def _learn_later(
        self, packets: Packets, seconds: float, without: set[int], suspects: Suspects | None = None
    ) -> None:
        """Learn the traffic of some looks ago, without what is suspect now."""
        self._lessons.append(_Lesson(packets, seconds, self._at, frozenset(without)))
        if len(self._lessons) > LEARNED_LATER:
            due = self._lessons.popleft()
            came = due.packets if suspects is None else suspects.trusted(self._left_over(due.packets))
            self._profile.learn(came, due.seconds, due.at, due.without | without)

    def _learn(self, packets: Packets, seconds: float, now: float) -> None:
        """Learn traffic of apps without rules, while there is no alarm."""
        touched = {app for rule in self._rules.values() for app in rule.apps}
        if self._tolerated or self._alarms:
            self._lessons.clear()
        if self._tolerated:
            return
        if not self._alarms:
            self._alarm_since = None
            self._learn_later(packets, seconds, touched)
        elif self._alarm_since is None or self._rules:
            self._alarm_since = now
        elif now - self._alarm_since >= NEW_NORMAL_S:
            self._profile.learn_rates(packets, seconds)

    def override(self, overrides: Overrides) -> list[Event]:
        """Use other overrides; return the changes of rules in force."""
        self._overrides = overrides
        self._tolerated.clear()
        events: list[Event] = []
        for rule in self.rules:
            ruling = overrides.judge(rule.managed, shared_fields(rule.what))
            if rule.excess < self._least(rule.managed, ruling):
                self._forget(rule)
                events.append(RuleEnded(rule))
            elif ruling != rule.ruling:
                judgement = overruled(rule.judged, ruling, rule.normal)
                self._rules[rule.number] = changed = replace(rule, ruling=ruling, judgement=judgement)
                events.append(RuleWritten(changed))
        return events

    def _forget(self, rule: FloodRule) -> None:
        del self._rules[rule.number]
        self._harm.pop(rule.number, None)

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Renumber apps according to the configuration."""
        self._profile.renumber(numbers)
        self._lessons.clear()
        for look in self._looks:
            changed = np.array([numbers.get(int(app), NO_APP) for app in look.packets["app"]], np.int32)
            look.packets = look.packets.replaced(app=changed)
        for rule in self.rules:
            apps = frozenset(numbers.get(app, NO_APP) for app in rule.apps)
            self._rules[rule.number] = replace(rule, app=numbers.get(rule.app, NO_APP), apps=apps)

    # --- alarms ---------------------------------------------------------------------------------------------------

    def _left_over(self, packets: Packets) -> Packets:
        """Return the packets that no rule in force matches, and that are not tolerated."""
        matched = np.zeros(len(packets), bool)
        for what in self._explained():
            matched |= what.match(packets)
        return packets.where(~(matched & (packets["state"] != IN_USE)))

    @property
    def _window(self) -> list[_Look]:
        """The looks of the present window."""
        return list(self._looks)[-max(SPANS) :]

    def _explained(self) -> Iterator[Conjunction]:
        """Yield the conditions of rules in force, and of tolerated traffic."""
        yield from (rule.what for rule in self._rules.values())
        yield from self._tolerated

    def _alarm(self, looks: Sequence[_Look]) -> float:
        """Return the excess as a multiple of the alarm threshold."""
        seconds = sum(look.seconds for look in looks)
        idle = [self._left_over(look.packets.where(look.packets["state"] != IN_USE)) for look in looks]
        count = sum(map(len, idle))
        if count < LEAST_SAMPLES:
            return 0.0
        total = sum(float(one["stands_for"].sum()) for one in idle)
        error = sqrt(sum(float((one["stands_for"].astype(float) ** 2).sum()) for one in idle)) / seconds
        usual = self._profile.rate + float(self._missing(looks).sum())
        excess = total / seconds - TOLERANCE * usual
        return excess / max(self._floor(usual), ERRORS * error)

    def _missing(self, looks: Sequence[_Look]) -> NDArray[np.float64]:
        return self._profile.missing(
            Packets.joined([look.packets for look in looks]), sum(look.seconds for look in looks)
        )

    def _floor(self, usual: float) -> float:
        return max(LEAST_EXCESS, TOLERANCES[self._overrides.most_sensitive] * usual)

    def _least(self, managed: ManagedRule, ruling: Ruling) -> float:
        """Return the least excess for a rule of a kind of attack; estimates from samples may be too low."""
        level = ruling.sensitivity_level
        return LEAST_OF_FLOOR * max(managed.threshold(level), TOLERANCES[level] * self._profile.rate)

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
        normal = self._profile.normal_with(self._missing(looks))
        # No source is known now, or only known sources were learned: inconclusive.
        if self._lost_known(packets, seconds) or self._knows_too_little(packets, seconds):
            packets = packets.replaced(known=np.zeros(len(packets), np.uint8))
            rows = normal.packets.replaced(known=np.zeros(len(normal.packets), np.uint8))
            normal = replace(normal, packets=rows)
        while len(self._rules) < MOST_RULES and self._alarm(looks) > 1:
            left = self._left_over(packets)
            idle = left.where(left["state"] != IN_USE)
            fingerprint = self._best_fingerprint(idle, seconds, normal)
            if fingerprint is None:
                return
            event = self._decide(fingerprint, left, seconds, now)
            if event is None:
                continue
            yield event
            if isinstance(event, LeftAlone) and fingerprint.what not in self._tolerated:
                return

    def _decide(
        self, fingerprint: Fingerprint, left: Packets, seconds: float, now: float, times: int = 1
    ) -> RuleWritten | LeftAlone | None:
        """Begin a rule for a fingerprint that no rule matches, or report why there is none; None: not yet."""
        idle = left.where(left["state"] != IN_USE)
        fingerprint = self._narrowed(fingerprint, idle, seconds)
        matching = idle.where(fingerprint.what.match(idle))
        app = app_of(matching)
        excess = self._excess_of(app, left, seconds, fingerprint.what, now)
        judged = judge(fingerprint, matching, excess, self._profile.per_source_of(app))
        suspects = Suspects.among(left, seconds)
        judged = self._held_back(judged, fingerprint, matching, suspects, now, times > 1)
        judged = self._feasible(judged, fingerprint, matching)
        come = max(times, self._past.times(fingerprint.what, self._at))
        managed, ruling = self._managed(fingerprint.what, matching, come - 1)
        if judged.waits:  # other fingerprints are searched meanwhile
            self._tolerated[fingerprint.what] = now
            return None
        if judged.action is None:
            return LeftAlone(fingerprint.what, fingerprint.excess, judged.why, managed, ruling)
        least = self._least(managed, ruling) * (RETURN_SHARE if times > 1 else 1.0)
        if fingerprint.excess < least:
            self._tolerated[fingerprint.what] = now + PATIENCE_S
            why = f"the rate is below the threshold of {managed.name} at sensitivity {ruling.sensitivity_level}"
            return LeftAlone(fingerprint.what, fingerprint.excess, why, managed, ruling)
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
            times=come,
            apps=self._apps_of(fingerprint.what) | {app},
        )
        return RuleWritten(rule)

    def _narrowed(self, fingerprint: Fingerprint, idle: Packets, seconds: float) -> Fingerprint:
        """Leave out apps with too small a profile, if most of an attack goes to addresses without an app."""
        matching = idle.where(fingerprint.what.match(idle))
        served = matching["served"] == 1
        if app_of(matching) != NO_APP or not served.any() or served.mean() > 0.5:
            return fingerprint
        if all(self._profile.is_settled(int(app), self._at) for app in np.unique(matching["app"][served])):
            return fingerprint
        # What is left may share more: answers of NTP servers, beside them some that were asked for.
        left = matching.where(~served)
        unserved = Conjunction((*fingerprint.what.predicates, Predicate("served", "is", (0,))))
        what = narrowed(unserved, left, self._blind)
        left = left.where(what.match(left))
        others = float(matching["stands_for"].sum() - left["stands_for"].sum()) / seconds
        return replace(fingerprint, what=what, excess=fingerprint.excess - others, samples=len(left))

    def _apps_of(self, what: Conjunction) -> frozenset[int]:
        """Return the apps whose normal packets match."""
        rows = self._profile.normal.packets
        return frozenset(map(int, np.unique(rows["app"][what.match(rows)])))

    def _managed(self, what: Conjunction, matching: Packets, pulses: int) -> tuple[ManagedRule, Ruling]:
        """Return the kind of an attack, and its overrides' settings; as pulses only if they have none for the kind."""
        fields = shared_fields(what)
        managed = classify(what, matching)
        ruling = self._overrides.judge(managed, fields)
        if pulses and not ruling.override:
            managed = classify(what, matching, pulses)
            ruling = self._overrides.judge(managed, fields)
        return managed, ruling

    def _feasible(self, judged: Judgement, fingerprint: Fingerprint, matching: Packets) -> Judgement:
        """Return the best action that is possible where the rules are applied."""
        return of_connections(judged, fingerprint, matching) if self._by_workers else judged

    def _held_back(
        self,
        judgement: Judgement,
        fingerprint: Fingerprint,
        matching: Packets,
        suspects: Suspects,
        now: float,
        was_there: bool = True,
    ) -> Judgement:
        """Return the action by present knowledge: a stronger one for attacks that were there before."""
        if judgement.action is None:
            return judgement
        assert self._began is not None, "set by a look"
        is_suspect = float(suspects.match(matching).mean()) >= SUSPECT_SHARE
        goes_nowhere = judgement.action is Action.BLOCK and not matching["served"].any()
        if goes_nowhere and (is_suspect or self._profile.is_ready):
            return judgement
        is_new = not self._profile.is_ready or now - self._began < min(WARM_UP_S, self._profile.first_s)
        warms_up = is_new and not was_there
        if not warms_up and self._profile.is_settled(app_of(matching), self._at):
            return judgement
        if is_suspect and now - self._began >= FLOWS_S:
            if judgement.action is not Action.BLOCK or suspects.of_no_client(matching).all():
                return judgement
            usual = self._profile.per_source_of(app_of(matching))
            return spared(
                fingerprint, matching, usual, "far more packets open flows than continue them, but this may be clients"
            )
        if warms_up:
            return Judgement(None, why="flows and known sources are still learned, in the first minute after a start")
        hours = self._profile.settle_s / 3600
        why = f"{judgement.action} is to follow when the app has been learned for {hours:g} h; {judgement.why}"
        return Judgement(Action.LOG, why=why)

    def _knows_too_little(self, packets: Packets, seconds: float) -> bool:
        """Return whether only packets of known sources may have been learned of an app that is attacked."""
        suspects = Suspects.among(self._left_over(packets), seconds)
        return any(not self._profile.is_settled(app, self._at) for app in suspects.apps)

    def _lost_known(self, packets: Packets, seconds: float) -> bool:
        """Return whether the table of known sources was lost."""
        known = float((packets["stands_for"] * packets["known"]).sum()) / seconds
        error = sqrt(float((packets["stands_for"].astype(float) ** 2 * packets["known"]).sum())) / seconds
        return known + 2 * error < LOST_KNOWN * self._profile.known_rate

    def _best_fingerprint(self, idle: Packets, seconds: float, normal: Normal) -> Fingerprint | None:
        """Return the fingerprint with most of the excess, or if that hits normal packets, a part that does not."""
        idle, seconds = _thinned(idle, seconds)
        normal = _without(normal, self._explained())
        floor = self._floor(normal.rate)
        first = mine(idle, seconds, normal, floor, COVER_WEIGHTS[0], self._blind)
        if first is None or first.is_clean:
            return first
        second = mine(idle, seconds, normal, floor, COVER_WEIGHTS[1], self._blind)
        return second if second is not None and second.is_clean else first

    def _excess_of(self, app: int, left: Packets, seconds: float, what: Conjunction, now: float) -> AppExcess | None:
        if app == NO_APP:
            return None
        rows = self._profile.normal.packets
        rows = rows.where(rows["app"] == app)
        whence = what.sources.match
        own = left.where((left["app"] == app) & whence(left))
        normal = self._profile.rates_of(app) * (float(whence(rows).mean()) if len(rows) else 1.0)
        came = np.bincount(own["state"], own["stands_for"], 3) / seconds
        idle = own.where(own["state"] != IN_USE)
        usual = self._profile.known_share_of(app)
        known = float(idle["stands_for"][idle["known"] == 1].sum()) / seconds
        beyond = float((came - normal)[:IN_USE].sum())
        share = (known - usual * float(normal[:IN_USE].sum())) / beyond if beyond > 0 else 1.0
        if self._lost_known(left, seconds):  # The sources are unknown: they may be clients.
            share = 1.0
        is_udp = bool(len(own)) and float((own["protocol"] == PROTOCOLS["udp"]).mean()) > 0.5
        sees_use = not (self._by_workers and is_udp) or normal[IN_USE] >= CROWD_IN_USE * normal[OPENING]
        found = AppExcess(came - normal, self._profile.rates_of(app), share, usual, bool(sees_use))
        if found.is_crowd:
            return found
        waited = now - self._unclear.setdefault(app, now) >= GOES_ON_S - SUB_WINDOW_S / 2
        if not found.has_sessions:
            return replace(found, askers=self._askers(app, what, rows, waited))
        before = list(self._looks)[: -max(SPANS)][-max(SPANS) :]
        per_s = self._opened_per_s(before, app, what)
        return replace(found, waited=waited and bool(before), opened=per_s - normal[OPENING])

    def _opened_per_s(self, looks: Sequence[_Look], app: int, what: Conjunction) -> float:
        """Return how many flows of an app opened per second in some looks, from the sources of a fingerprint."""
        packets = [look.packets.where(look.packets["state"] == OPENING) for look in looks]
        opened = self._left_over(Packets.joined(packets))
        own = (opened["app"] == app) & what.sources.match(opened)
        return float(opened["stands_for"][own].sum()) / (sum(look.seconds for look in looks) or inf)

    def _askers(self, app: int, what: Conjunction, rows: Packets, waited: bool) -> Askers:
        """Classify the senders of matching packets to an app without sessions."""
        asked = [
            look.packets.where(what.match(look.packets) & (look.packets["state"] != IN_USE)) for look in self._looks
        ]
        same = rows.where(what.match(rows))
        usual = float(self._profile.rates_of(app)[:IN_USE].sum()) * len(same) / max(len(rows), 1)
        seconds = sum(look.seconds for look in self._looks)
        return who_asks(self._left_over(Packets.joined(asked)), rows, usual, seconds, waited=waited)

    def _judge_again(self, now: float) -> Iterator[Event]:
        """Decide again on rules that do not block: few samples do not show whether sources are too many to count."""
        self._judge_at = now + REJUDGE_S
        packets = Packets.joined([look.packets for look in self._window])
        seconds = sum(look.seconds for look in self._window)
        for rule in self.rules:
            matches = rule.what.match(packets)
            idle = packets.where((packets["state"] != IN_USE) & matches)
            hits = rule.hits
            if rule.judged.action is Action.BLOCK:
                hits = self._harm_of(rule)
                if hits <= MOST_HARM:
                    continue
            if len(idle) < LEAST_SAMPLES:
                continue
            rows = rule.what.match(self._profile.normal.packets)
            usual = float(self._profile.normal.rates[rows].sum())
            excess = float(idle["stands_for"].sum()) / seconds - usual
            found = Fingerprint(rule.what, excess, usual, np.array([hits]), len(idle))
            again = judge(found, idle, None, self._profile.per_source_of(rule.app))
            suspects = Suspects.among(packets.where(matches | (packets["state"] != OPENING)), seconds)
            again = self._feasible(self._held_back(again, found, idle, suspects, now), found, idle)
            if again.action is Action.LOG:  # traffic that needs no profile has decreased
                continue
            if again.action is not None and again.action != rule.judged.action:
                told = overruled(again, rule.ruling, usual)
                self._rules[rule.number] = changed = replace(rule, judgement=told, judged=again, hits=hits)
                if told.action != rule.action:
                    yield RuleWritten(changed)

    def _harm_of(self, rule: FloodRule) -> float:
        """Return the least share of an app's openings that a rule hits, from matching packets of known sources.

        Known clients are hit as often as other clients, who cannot be distinguished from the attack.
        """
        harm = self._harm.setdefault(rule.number, _Harm())
        usual = self._profile.known_share_of(rule.app) * float(self._profile.rates_of(rule.app)[:IN_USE].sum())
        if rule.app == NO_APP or not harm.seconds or not usual:
            return 0.0
        return max(harm.known - 2 * sqrt(harm.squares), 0.0) / harm.seconds / usual

    def _watch(self, rule: FloodRule, matched: Packets, seconds: float) -> None:
        """Add up the effects of a rule on known sources."""
        harm = self._harm.setdefault(rule.number, _Harm())
        known = matched["stands_for"][matched["known"] == 1]
        harm.known += float(known.sum())
        harm.squares += float((known**2).sum())
        harm.seconds += seconds

    def _ends(self, now: float, counted: Mapping[int, float]) -> Iterator[Event]:
        """End rules with few matches for long."""
        look = self._looks[-1]
        for rule in self.rules:
            matched = look.packets.where(rule.what.match(look.packets) & (look.packets["state"] != IN_USE))
            self._watch(rule, matched, look.seconds)
            rate = counted.get(rule.number, float(matched["stands_for"].sum()) / look.seconds)
            quiet = self._is_quiet(rule, rate)
            since = (rule.quiet_since if rule.quiet_since is not None else now) if quiet else None
            if since is not None and now - since >= self.expiry_s(rule):
                self._forget(rule)
                self._past.add(PastAttack(rule.what, rule.times, self._at))
                yield RuleEnded(rule)
            elif since != rule.quiet_since:
                self._rules[rule.number] = replace(rule, quiet_since=since)

    def _is_quiet(self, rule: FloodRule, rate: float) -> bool:
        """Return whether few packets match a rule."""
        if rate < TOLERANCE * rule.normal + QUIET_SHARE * min(rule.excess, self._floor(self._profile.rate)):
            return True
        if rule.app == NO_APP or self._profile.is_settled(rule.app, self._at):
            return False
        # The normal rate is unknown: the attack is over when matching flows continue as clients' do. This takes as many
        # samples as the rule took: fewer do not distinguish forged sources from clients.
        packets = Packets.joined([look.packets for look in self._window])
        seen = packets.where(rule.what.match(packets) | (packets["state"] != OPENING))
        return rule.action is not Action.LOG and not Suspects.among(seen, sum(look.seconds for look in self._window))

    def _returns(self, now: float) -> Iterator[Event]:
        """Write rules for attacks that recur: after one sub-window, at half of the alarm threshold."""
        look = self._looks[-1]
        for past in self._past.remembered(self._at):
            left = self._left_over(look.packets)
            matched = left.where(past.what.match(left) & (left["state"] != IN_USE))
            if len(self._rules) >= MOST_RULES or len(matched) < LEAST_RETURNING:
                continue
            normal = self._profile.normal_with(self._missing([look]))
            hit = past.what.match(normal.packets)
            usual = float(normal.rates[hit].sum())
            rate = float(matched["stands_for"].sum()) / look.seconds
            at_least, _ = rate_bounds(len(matched), float(matched["stands_for"].mean()), look.seconds)
            if at_least - TOLERANCE * usual < RETURN_SHARE * self._floor(normal.rate):
                continue
            counts = np.bincount(normal.packets["app"][hit] + 1, minlength=len(normal.apps))
            hits = (counts + 1) / np.maximum(normal.apps, 1 / COST_AIM) * (normal.apps > 0)
            fingerprint = Fingerprint(past.what, rate - usual, usual, hits, len(matched))
            event = self._decide(fingerprint, left, look.seconds, now, past.times + 1)
            if isinstance(event, RuleWritten):
                yield event


def _thinned(packets: Packets, seconds: float) -> tuple[Packets, float]:
    """Return at most `MOST_SAMPLES`, and the seconds in which this number would have come."""
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
