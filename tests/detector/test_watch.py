from dataclasses import replace

import numpy as np
import pytest

from spectrum.core.ddos.overrides import Setting
from spectrum.core.ddos.packets import Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.detector.columns import RECORD, LookedAt
from spectrum.detector.watch import AttackWatch
from spectrum.kernel.filter.drops import Drops
from spectrum.link.detector import (
    DetectorCounts,
    DetectorEvents,
    DetectorHeld,
    DetectorRule,
    DetectorRules,
    DetectorSampling,
    DetectorSettings,
    DetectorState,
)
from spectrum.simulation.normal import World, normal
from spectrum.simulation.vectors import flood

LOOK_S, AT = 0.25, 1_700_000_000.0
APPS = {number: (name, f"{number}") for number, name in enumerate(("game", "voice", "dns", "web", "quic", "ssh"))}
SETTINGS = DetectorSettings(APPS, learning_s=2.0, expiry_s=6.0, samples_per_second=16_000, one_in=(20, 20))


def looked(packets, now):
    count = len(packets)
    records = np.zeros(count, RECORD)
    records["header"], records["bytes"] = 7, 60
    at_ns = np.full(count, int(now * 1e9), np.uint64)
    return LookedAt(packets, at_ns, np.full(count, 60, np.uint32), np.zeros(count, np.uint32), records)


class Traffic:
    """A watch, and what comes by."""

    def __init__(self, settings=SETTINGS):
        self.world, self.watch, self.now, self.found = World(3), AttackWatch(settings, 3), 100.0, []

    def look(self, seconds, vector="", per_s=400_000):
        for _ in range(int(seconds / LOOK_S)):
            self.now += LOOK_S
            parts = [normal(self.world, LOOK_S, 20)]
            if vector:
                parts.append(flood(self.world, vector, per_s, LOOK_S, 100))
            self.found += self.watch.look(looked(Packets.joined(parts), self.now), LOOK_S, self.now, AT + self.now)
        return self

    def taken(self, kind):
        found, self.found = [one for one in self.found if isinstance(one, kind)], []
        return found


@pytest.fixture
def traffic():
    return Traffic()


def test_normal_traffic_is_learned_and_said(traffic):
    states = traffic.look(4).taken(DetectorState)
    assert len(states) >= 3
    assert states[0].ready_s > 0 == states[-1].ready_s
    assert set(states[-1].learned) == {name for name, _ in APPS.values()}
    assert 1_500 < states[-1].samples_per_second < 4_000
    assert 30_000 < states[-1].packets_per_second < 70_000
    assert states[-1].cpu > 0


def test_a_flood_has_a_rule_that_the_kernel_takes_and_an_attack_with_samples(traffic):
    traffic.look(4).taken(DetectorState)
    traffic.look(2, "carpet")
    rules = [one for one in traffic.found if isinstance(one, DetectorRules)]
    events = [event for one in traffic.found if isinstance(one, DetectorEvents) for event in one.events]
    (rule,) = rules[0].rules
    assert rule.name.endswith("-1") and rules[0].last == 1 and "block" in rule.text
    Drops(rules={rule.name: rule.slot}, sets={rule.name: rule.sets} if rule.sets else {}).check("ddos")
    assert traffic.now + 6 - 2 < rule.expires_ns / 1e9 < traffic.now + 7.1
    began = next(event for event in events if event.kind == "began")
    assert began.attack.rules[0].name == rule.name
    assert began.samples and began.samples[0].header == bytes([7]) * 60


def test_the_expiry_of_a_rule_is_postponed_while_it_matches(traffic):
    traffic.look(4).taken(DetectorState)
    first, *later = traffic.look(5, "carpet").taken(DetectorRules)
    assert 3 <= len(later) <= 6
    assert later[-1].rules[0].expires_ns > first.rules[0].expires_ns + 2e9
    written = traffic.look(8).taken(DetectorRules)
    assert written[-1].rules == []


def test_the_next_detector_continues(traffic):
    traffic.look(4).taken(DetectorState)
    traffic.look(1, "carpet")
    told = [one for one in traffic.found if isinstance(one, DetectorRules)][-1]
    attacks = [event.attack for one in traffic.found if isinstance(one, DetectorEvents) for event in one.events]
    other = Traffic()
    other.now = traffic.now
    lost = DetectorRule("old-9", b"", [], "", 0, b"\xc1")
    other.watch.resume(DetectorHeld([*told.rules, lost], 9, tuple(attacks[-1:])))
    assert [rule.number for rule in other.watch.detector.rules] == [1]
    assert all(one.rules for one in other.look(0.5, "carpet").taken(DetectorRules))
    written = other.look(2, "carpet").taken(DetectorRules)
    assert [rule.name for rule in written[-1].rules] == [told.rules[0].name]
    assert written[-1].last == 9


def test_what_has_ended_before_the_next_detector_is_taken_out_of_the_kernel(traffic):
    traffic.watch.resume(DetectorHeld([], 9, ()))
    assert traffic.look(1).taken(DetectorRules) == [DetectorRules([], 9)]


def test_counts_say_how_much_a_rule_matches_and_how_many_looks_were_lost(traffic):
    traffic.look(4).taken(DetectorState)
    told = traffic.look(1, "carpet").taken(DetectorRules)[-1]
    name, watch = told.rules[0].name, traffic.watch
    watch.count(DetectorCounts({name: (0, 0)}, 10), traffic.now, AT)
    traffic.look(1, "carpet").taken(DetectorRules)
    taken = watch._taken
    watch.count(DetectorCounts({name: (400_000, 1), "another": (1, 1)}, 10 + taken), traffic.now, AT)
    assert watch._counted == {1: 400_000}
    assert watch._scale == 2.0
    states = traffic.look(2).taken(DetectorState)
    assert states[-1].lost == taken
    assert states[-1].packets_per_second > 80_000
    watch.count(DetectorCounts({}, 0), traffic.now, AT)  # the counters began anew
    assert watch._scale == 1.0


def test_rules_that_could_not_be_sent_are_sent_again(traffic):
    traffic.look(4).taken(DetectorState)
    told = traffic.look(1, "carpet").taken(DetectorRules)[-1]
    traffic.watch.rules_untold()
    again, *_ = traffic.look(0.25, "carpet").taken(DetectorRules)
    assert [rule.name for rule in again.rules] == [rule.name for rule in told.rules]


def test_other_settings_hold_at_once(traffic):
    traffic.look(4).taken(DetectorState)
    first = traffic.look(1, "carpet").taken(DetectorRules)[-1].rules[0].name
    renamed = {number + 1: place for number, place in APPS.items()} | {0: ("new", "x")}
    settings = DetectorSettings(renamed, Setting(action="log"), learning_s=9.0, expiry_s=60.0, samples_per_second=2_000)
    at = AT + traffic.now
    (told,) = traffic.watch.configure(settings, at)
    assert traffic.watch.detector.profile.settle_s == 9.0
    (written,) = traffic.look(0.25, "carpet").taken(DetectorRules)
    assert "; log" in written.rules[0].text
    # What was dropped and what is only counted have counters of their own.
    assert written.rules[0].name == f"{first}.2"
    assert [(rule.name, rule.drops, rule.ended) for rule in told.events[0].attack.rules] == [
        (first, True, at),
        (f"{first}.2", False, None),
    ]
    assert traffic.watch.detector.rules[0].action == "log"
    assert {"game", "web"} <= set(traffic.look(1).taken(DetectorState)[-1].learned)


def test_more_than_is_to_be_looked_at_is_looked_at_less(traffic):
    traffic.look(4).taken(DetectorState)
    (first, *_) = traffic.look(0.5, "carpet", 4_000_000).taken(DetectorSampling)
    assert first.idle_one_in > 100


def test_attacks_without_a_rule_in_the_filter_are_reported(traffic, monkeypatch):
    traffic.look(4).taken(DetectorState)
    real = traffic.watch._made

    def made(number, rule, expires):
        what = Conjunction((*rule.what.predicates, Predicate("x", "is", (1,))))
        return real(number, replace(rule, what=what), expires)

    monkeypatch.setattr(traffic.watch, "_made", made)
    traffic.look(2, "carpet")
    rules = [one for one in traffic.found if isinstance(one, DetectorRules)]
    states = traffic.taken(DetectorState)
    assert rules[0].rules == []
    assert "the filter has no condition on x" in states[-1].without_slot
