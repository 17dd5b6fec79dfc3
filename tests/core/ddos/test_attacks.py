"""Rules and counters as attacks, with rules made by hand."""

from ipaddress import ip_address
from itertools import count

import numpy as np
import pytest

from spectrum.core.ddos.attack_events import MOST_SAMPLES, AttackSample, name_after
from spectrum.core.ddos.attacks import RECURRENCE_S, TOLD_S, TOLERATED_S, UNCOUNTED_S, AttackTracker
from spectrum.core.ddos.detector import FloodRule, LeftAlone, RuleEnded, RuleWritten
from spectrum.core.ddos.judging import Action, Judgement
from spectrum.core.ddos.managed import BY_REF
from spectrum.core.ddos.overrides import Ruling
from spectrum.core.ddos.packets import COLUMNS, MAPPED, NO_APP, Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.core.life.attack import AttackState

NOW = 1_800_000_000.0
# Any two.
UDP, NTP = list(BY_REF.values())[:2]


def packets(number=100, destination="192.0.2.10", port=7000, app=0, sources=5, **columns):
    address = ip_address(destination)
    value = int(address)
    low = value | MAPPED if address.version == 4 else value & (1 << 64) - 1
    made = {name: np.zeros(number, kind) for name, kind in COLUMNS.items()}
    made |= {
        "stands_for": np.full(number, 100.0),
        "version": np.full(number, address.version, np.uint8),
        "source_low": (np.arange(number) % sources).astype(np.uint64) + np.uint64(MAPPED | 0x0A000000),
        "destination_high": np.full(number, value >> 64 if address.version == 6 else 0, np.uint64),
        "destination_low": np.full(number, low, np.uint64),
        "destination_port": np.full(number, port, np.uint16),
        "protocol": np.full(number, 17, np.uint8),
        "length": np.full(number, 500, np.uint16),
        "app": np.full(number, app, np.int32),
    }
    return Packets(made | columns)


def rule(number, app=0, action=Action.BLOCK, protocol=17, managed=UDP, **fields):
    judgement = Judgement(action, 0.0, "at most 0.15 % of openings match")
    what = Conjunction((Predicate("protocol", "is", (protocol,)),))
    ruling = Ruling("default", "ddos_dynamic", "mine", "f" * 32)
    kept = {"excess": 40_000.0, "normal": 0.0, "began": 0.0, "hits": 0.001} | fields
    return FloodRule(number, what, judgement, managed, ruling, judgement, app, **kept)


def tracker(name_of=lambda number: f"ddos-{number}"):
    ids = count(1)
    return AttackTracker(lambda: f"{next(ids):016x}", name_of, {0: "game", 1: "web"}.__getitem__)


def samples_of(mask):
    return [AttackSample(NOW, 542, bytes([place])) for place in np.flatnonzero(mask).tolist()]


def kinds(events):
    return [(event.kind, event.attack.state) for event in events]


def test_from_its_first_rule_to_its_end():
    track = tracker()
    (begin,) = track.take([RuleWritten(rule(1))], packets(), 0.25, NOW, samples_of)
    attack = begin.attack
    assert (begin.kind, attack.state, attack.app, str(attack.target)) == (
        "began",
        AttackState.MITIGATED,
        "game",
        "UDP 192.0.2.10:7000",
    )
    assert (attack.id, attack.began, attack.mitigated_after) == (f"{1:016x}", NOW - 0.25, 0.25)
    assert (attack.packets_per_second, attack.bits_per_second, attack.sources) == (40_000, 160_000_000, 5)
    assert len(begin.samples) == MOST_SAMPLES // 2
    (made,) = attack.rules
    assert (made.name, made.vector, made.managed_id, made.override) == ("ddos-1", UDP.name, UDP.id, "mine")
    assert made.low < 40_000 < made.high and made.hits == 0.001
    assert track.open == (attack,)
    # Each second the kernel's counters come.
    assert track.count({"ddos-1": (50_000, 25_000_000)}, 1.0, NOW + 1) == []
    (told,) = track.count({"ddos-1": (250_000, 50_000_000)}, TOLD_S - 1, NOW + TOLD_S)
    assert kinds([told]) == [("changed", AttackState.MITIGATED)]
    assert (told.attack.packets, told.attack.dropped) == (250_000, (250_000, 50_000_000))
    assert told.attack.packets_per_second == 50_000
    # A helper that loaded the program anew counts from the beginning.
    track.count({"ddos-1": (40_000, 1)}, 1.0, NOW + 6)
    assert track.open[0].packets == 290_000
    (fades,) = track.count({"ddos-1": (40_100, 2)}, 1.0, NOW + 7)
    assert kinds([fades]) == [("changed", AttackState.FADING)]
    assert track.count({"ddos-1": (40_100, 2)}, 1.0, NOW + 8) == []
    (again,) = track.count({"ddos-1": (90_100, 2)}, 1.0, NOW + 9)
    assert kinds([again]) == [("changed", AttackState.MITIGATED)]
    (end,) = track.take([RuleEnded(rule(1))], packets(), 0.25, NOW + 70)
    assert (end.kind, end.attack.state, end.attack.ended, track.open) == ("ended", AttackState.ENDED, NOW + 70, ())
    assert end.attack.rules[0].ended == NOW + 70


def test_several_rules_on_one_target_are_one_attack():
    track = tracker()
    mixed = Packets.joined([packets(), packets(destination="192.0.2.11", port=53, protocol=np.full(100, 6, np.uint8))])
    began, changed = track.take([RuleWritten(rule(1)), RuleWritten(rule(2, protocol=6, managed=NTP))], mixed, 1.0, NOW)
    assert (began.attack.id, began.kind, changed.kind) == (changed.attack.id, "began", "changed")
    assert changed.attack.vectors == (UDP.name, NTP.name)
    assert str(changed.attack.target) == "192.0.2.10/31"  # neither port nor protocol in common
    # Another app is another attack; so are other addresses without an app, but a prefix that has them is the same.
    (other,) = track.take([RuleWritten(rule(3, app=1))], packets(app=1), 1.0, NOW)
    (stray,) = track.take([RuleWritten(rule(4, app=NO_APP))], packets(destination="198.51.100.7", app=NO_APP), 1.0, NOW)
    assert (other.attack.app, stray.attack.app) == ("web", "")
    wide = Packets.joined([packets(destination=f"198.51.100.{last}", app=NO_APP) for last in (1, 254)])
    (carpet,) = track.take([RuleWritten(rule(5, app=NO_APP))], wide, 1.0, NOW)
    assert (carpet.attack.id, carpet.attack.target.prefix) == (stray.attack.id, "198.51.100.0/24")
    (far,) = track.take([RuleWritten(rule(6, app=NO_APP))], packets(destination="203.0.113.1", app=NO_APP), 1.0, NOW)
    assert len({one.id for one in track.open}) == 4 and far.kind == "began"
    # One of two rules ends: the attack goes on.
    assert track.take([RuleEnded(rule(1))], mixed, 1.0, NOW + 60) == []
    assert kinds(track.take([RuleEnded(rule(2))], mixed, 1.0, NOW + 60)) == [("ended", AttackState.ENDED)]


def test_a_rule_that_drops_otherwise_stays_one_rule():
    track = tracker()
    track.take([RuleWritten(rule(1, action=Action.LIMIT))], packets(), 1.0, NOW)
    track.count({"ddos-1": (100_000, 1)}, 1.0, NOW + 1)
    (changed,) = track.take([RuleWritten(rule(1, action=Action.RETRY))], packets(), 1.0, NOW + 2)
    assert [(one.action, one.began, one.packets) for one in changed.attack.rules] == [("retry", NOW, 100_000)]


def test_what_a_rule_only_counted_is_not_dropped():
    names = {1: "ddos-1"}
    track = tracker(names.__getitem__)
    track.take([RuleWritten(rule(1, action=Action.LOG))], packets(), 1.0, NOW)
    assert track.open[0].state is AttackState.LOGGED and track.open[0].mitigated_after is None
    track.count({"ddos-1": (100_000, 1)}, 1.0, NOW + 1)
    names[1] = name_after("ddos-1")
    # What matches looks as the attack on another app does by now: it is the same rule.
    (changed,) = track.take([RuleWritten(rule(1, app=1, action=Action.RETRY))], packets(app=1), 1.0, NOW + 2)
    assert changed.attack.id == f"{1:016x}" and changed.kind == "changed"
    assert changed.attack.state is AttackState.MITIGATED and changed.attack.mitigated_after == 3.0
    # The last count of the former one comes once more, with the first one of the other.
    for _ in range(2):
        track.count({"ddos-1": (150_000, 2), "ddos-1.2": (30_000, 3)}, 1.0, NOW + 3)
    track.count({"ddos-1.2": (70_000, 9)}, 1.0, NOW + 4)
    (attack,) = track.open
    assert [(one.name, one.action, one.ended, one.packets) for one in attack.rules] == [
        ("ddos-1", "log", NOW + 2, 150_000),
        ("ddos-1.2", "retry", None, 70_000),
    ]
    assert (attack.packets, attack.bytes, attack.dropped) == (220_000, 11, (70_000, 9))
    # It goes on until the detector ends it, however long nothing is counted.
    track.count({}, 1.0, NOW + 4 + 3 * UNCOUNTED_S)
    assert track.open[0].ended is None
    (end,) = track.take([RuleEnded(rule(1))], packets(), 0.25, NOW + 70)
    assert end.kind == "ended" and end.attack.dropped == (70_000, 9)


def test_a_rule_that_is_counted_late_is_counted():
    """On a machine without time for the daemon, counts from before the rule come long after it was written."""
    track = tracker()
    track.take([RuleWritten(rule(1))], packets(), 1.0, NOW)
    for later in range(3):
        track.count({}, 1.0, NOW + 2 * UNCOUNTED_S + later)
    assert track.open[0].rules[0].ended is None
    track.count({"ddos-1": (90_000, 1)}, 1.0, NOW + 20)
    assert track.open[0].dropped == (90_000, 1)


def test_an_attack_without_a_rule_is_reported_once_and_ends_when_it_is_not_seen():
    ruling = Ruling("eoff", "ddos_dynamic", "ours", "0" * 32)
    track, left = tracker(), LeftAlone(Conjunction(), 30_000.0, "it looks as a crowd does", UDP, ruling)
    (begin,) = track.take([left], packets(), 1.0, NOW, samples_of)
    assert (begin.kind, begin.attack.state, begin.attack.rules[0].why) == (
        "left_alone",
        AttackState.LEFT_ALONE,
        left.why,
    )
    told = begin.attack.rules[0]
    assert (told.managed_id, told.vector, told.override, told.override_id) == (UDP.id, UDP.name, "ours", "0" * 32)
    assert track.take([left], packets(), 1.0, NOW + 1) == []
    assert track.count({}, 1.0, NOW + 2) == []
    (end,) = track.count({}, TOLERATED_S, NOW + 2 + TOLERATED_S)
    assert (end.kind, end.attack.mitigated_after, end.attack.dropped) == ("ended", None, (0, 0))
    # With a rule after all, it is an attack that is mitigated, and what was found first is no rule.
    track.take([left], packets(), 1.0, NOW)
    (ruled,) = track.take([RuleWritten(rule(1))], packets(), 1.0, NOW + 1)
    assert kinds([ruled]) == [("changed", AttackState.MITIGATED)]
    assert [one.name for one in ruled.attack.rules] == ["ddos-1"]


@pytest.mark.parametrize(("pause", "recurs"), [(10.0, True), (RECURRENCE_S + 1, False)])
def test_a_fingerprint_that_comes_back_within_a_day_is_reported(pause, recurs):
    track = tracker()
    track.take([RuleWritten(rule(1))], packets(), 1.0, NOW)
    track.take([RuleEnded(rule(1))], packets(), 1.0, NOW + 60)
    (again,) = track.take([RuleWritten(rule(2))], packets(), 1.0, NOW + 60 + pause)
    assert again.attack.recurs == (f"{1:016x}" if recurs else "")
    # So is one that a process before this one knew.
    other = tracker()
    ended = track.close(NOW + 70 + pause)
    assert [event.kind for event in ended] == ["ended"] and not track.open
    other.resume([event.attack for event in ended])
    (third,) = other.take([RuleWritten(rule(9))], packets(), 1.0, NOW + 90 + pause)
    assert third.attack.recurs == f"{2:016x}"


def test_an_attack_continues_in_the_next_process_as_long_as_the_kernel_counts_its_rules():
    track, following = tracker(), tracker()
    track.take([RuleWritten(rule(1))], packets(), 1.0, NOW)
    following.resume(track.open)
    following.count({"ddos-1": (90_000, 9)}, 1.0, NOW + 3)
    assert [(one.id, one.packets) for one in following.open] == [(f"{1:016x}", 90_000)]
    assert following.count({}, UNCOUNTED_S + 1, NOW + 4 + UNCOUNTED_S)[0].kind == "ended"


def test_samples_are_spread_and_bounded():
    track, kept = tracker(), 0
    for turn in range(30):
        for event in track.take([RuleWritten(rule(turn))], packets(), 1.0, NOW + turn, samples_of):
            kept += len(event.samples)
    assert 0.9 * MOST_SAMPLES <= kept <= MOST_SAMPLES


def test_without_any_matching_sample_an_attack_has_no_target():
    (begin,) = tracker().take([RuleWritten(rule(1, protocol=1))], packets(), 1.0, NOW, samples_of)
    assert (str(begin.attack.target), begin.attack.sources, begin.samples) == ("", None, ())


@pytest.mark.parametrize("step", [-2 * RECURRENCE_S, 2 * RECURRENCE_S])
def test_a_clock_that_is_stepped_neither_ends_an_attack_nor_keeps_it_open(step):
    track, left = tracker(), LeftAlone(Conjunction(), 30_000.0, "a crowd", UDP, Ruling("eoff", "ddos_dynamic"))
    track.take([RuleWritten(rule(1))], packets(), 1.0, NOW)
    track.take([left], packets(app=1), 1.0, NOW)
    now, told = NOW + step, []
    for second in range(1, int(TOLERATED_S) + 1):
        told += track.count({"ddos-1": (50_000 * second, 1)}, 1.0, now + second)
    assert kinds(told) == [("changed", AttackState.MITIGATED)] * 2, "progress, every five seconds"
    (over,) = track.count({"ddos-1": (550_000, 1)}, 1.0, now + TOLERATED_S + 1)
    assert (over.kind, over.attack.app) == ("ended", "web")
    (end,) = track.take([RuleEnded(rule(1))], packets(), 0.25, now + 60)
    for attack in (over.attack, end.attack):
        assert attack.ended >= attack.began
        assert all(one.ended >= one.began for one in attack.rules)
