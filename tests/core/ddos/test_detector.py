"""The score of detection on a generated mix, at a reduced size: `python -m benchmarks ddos` has the whole."""

from copy import deepcopy

import numpy as np
import pytest

from benchmarks.ddos.score import LEARN_LOOKS, learned, run, run_crowd
from spectrum.core.ddos.detector import MOST_RULES, SUB_WINDOW_S, Detector, LeftAlone, RuleEnded, RuleWritten
from spectrum.core.ddos.judging import Action
from spectrum.core.ddos.managed import BY_REF
from spectrum.core.ddos.overrides import ManagedOverride, Overrides, Setting
from spectrum.core.ddos.packets import IN_USE, MAPPED, NO_APP, OPENING, Packets
from spectrum.core.ddos.profile import Profile
from spectrum.core.ddos.recurrence import EXPIRIES_S, PastAttack
from spectrum.core.packets import PROTOCOLS
from spectrum.simulation.normal import GAME, World, crowd, dns, normal, scaled, web
from spectrum.simulation.vectors import flood

EXPIRY_S = EXPIRIES_S[0]
ONE_IN = 200


@pytest.mark.parametrize(
    "vector", ["udp_random", "ntp_reflection", "syn_os", "ack_random", "carpet", "v6_udp", "multi"]
)
def test_a_flood_of_ten_times_normal_is_found_in_time(vector):
    score = run(vector, 10, ONE_IN, seed=3)
    assert score.found_s is not None and score.found_s <= 3
    assert score.matched >= 0.95
    assert score.loss <= 0.0005 and score.in_use == 0 and max(score.openings) <= 0.01


@pytest.mark.parametrize(
    ("vector", "action"), [("game_replay", Action.RETRY), ("syn_os", Action.COOKIE), ("dns_queries", Action.RETRY)]
)
def test_what_looks_as_clients_do_is_challenged_and_not_dropped(vector, action):
    assert [rule.action for rule in run(vector, 10, ONE_IN, seed=3).rules] == [action]


@pytest.mark.parametrize("crowd", ["game launch", "web news", "quic news", "conference", "dns name"])
def test_a_crowd_causes_no_rule(crowd):
    assert run_crowd(crowd, 1, ONE_IN, seed=3, seconds=3) == ()


def floods(detector, world, vector, seconds, now, rate=500_000, **given):
    events, usual = [], normal(world, SUB_WINDOW_S, ONE_IN)
    for _ in range(int(seconds / SUB_WINDOW_S)):
        now += SUB_WINDOW_S
        parts = [usual]
        if rate:
            parts.append(flood(world, vector, rate, SUB_WINDOW_S, ONE_IN))
        events += detector.look(Packets.joined(parts), SUB_WINDOW_S, now, **given)
    return events, now


def test_rules_end_when_nothing_matches_and_say_what_they_did():
    world, detector = learned(3)
    events, now = floods(detector, world, "udp_fixed", 1, 1000.0)
    (begun,) = [event.rule for event in events if isinstance(event, RuleWritten)]
    text = str(begun)
    assert "540 bytes" in text and "/s; block, as at most" in text
    assert begun.excess == pytest.approx(500_000, rel=0.1)
    events, now = floods(detector, world, "udp_fixed", EXPIRY_S - 1, now, rate=0)
    assert not events and len(detector.rules) == 1
    events, now = floods(detector, world, "udp_fixed", 1, now, rate=500_000)
    assert detector.rules[0].quiet_since is None  # it is there again: nothing was learned anew
    events, now = floods(detector, world, "udp_fixed", EXPIRY_S + 1, now, rate=0)
    assert [type(event) for event in events] == [RuleEnded] and not detector.rules


def test_normal_traffic_is_learned_and_an_attack_is_not():
    world, detector = learned(3)
    before = detector._profile.rates_of(GAME)
    _, now = floods(detector, world, "udp_fixed", 2, 1000.0)
    assert (detector._profile.rates_of(GAME) == before).all()
    _, now = floods(detector, world, "udp_fixed", EXPIRY_S + 2, now, rate=0)
    assert (detector._profile.rates_of(GAME) != before).any()


@pytest.mark.parametrize("share", [0.05, 0.35])
def test_the_first_packets_of_an_attack_are_not_learned(share):
    """They are less than an alarm, and all that is known of an app that nobody has used yet."""
    world, detector = World(3), Detector(Profile(3, settle_s=1, first_s=1))
    written = []
    for number in range(16):
        rate = 5_000 * (0 if number < 8 else share if number == 8 else 1)
        packets = flood(world, "udp_fixed", rate, SUB_WINDOW_S, 1)
        written += detector.look(packets, SUB_WINDOW_S, 100 + number * SUB_WINDOW_S)
    assert written and all(isinstance(event, RuleWritten) and event.rule.hits <= 0.01 for event in written)
    assert not detector.profile.rates_of(GAME).any()


def test_an_app_of_which_nothing_is_known_is_left_out_of_what_is_dropped_beside_it():
    """All packets to its address share that, and a profile without rows says that nobody else does."""
    world, detector = World(3), Detector(Profile(3, settle_s=1, first_s=1))
    for number in range(16):
        came = flood(world, "ntp_reflection", 20_000 * (number > 7), SUB_WINDOW_S, 1)
        some = np.arange(len(came)) % 5 == 0
        came = came.replaced(
            served=some.astype(np.uint8),
            app=np.where(some, GAME, NO_APP).astype(np.int32),
            source_port=world.chance.integers(1024, 65536, len(came)).astype(np.uint16),
        )
        detector.look(came, SUB_WINDOW_S, 100 + number * SUB_WINDOW_S)
    actions = {rule.action: rule.what.match(came).sum() for rule in detector.rules}
    assert actions[Action.BLOCK] == (~some).sum()


def test_a_crowd_gets_no_rule_and_is_reported():
    world, detector = learned(3)
    events = []
    for number in range(8):
        parts = [normal(world, SUB_WINDOW_S, ONE_IN), crowd(world, "web news", 2, 2.0, SUB_WINDOW_S, ONE_IN)]
        events += detector.look(Packets.joined(parts), SUB_WINDOW_S, 1000.0 + number * SUB_WINDOW_S)
    assert {type(event) for event in events} == {LeftAlone}
    assert "a crowd" in events[0].why and not detector.rules


def come_new(detector, world, make, per_s, clients, network, seconds=3.0, one_in=10):
    """Let clients come who have never been there, from one network; return what the detector makes of them."""
    events = []
    for number in range(int(seconds / SUB_WINDOW_S)):
        count = int(per_s * SUB_WINDOW_S / one_in)
        source = network + world.chance.integers(0, clients, count).astype(np.uint64)
        high, known = np.zeros(count, np.uint64), np.zeros(count, np.uint8)
        version, app = np.full(count, 4, np.uint8), make(world, count)
        came = scaled(app.replaced(source_low=source, source_high=high, version=version, known=known), one_in)
        both = Packets.joined([normal(world, SUB_WINDOW_S, one_in), came])
        events += detector.look(both, SUB_WINDOW_S, 1000.0 + number * SUB_WINDOW_S)
    return events


@pytest.mark.parametrize(
    ("make", "clients", "written"),
    [
        (dns, 20_000, False),  # a few queries of each
        (dns, 2_000, True),  # too many of each
        (lambda world, count: web(world, count, 0.12), 20_000, False),
        (lambda world, count: web(world, count, 1.0), 20_000, True),  # they open, and never go on
    ],
)
def test_clients_from_new_networks_are_a_crowd_if_they_continue_or_ask_again(make, clients, written):
    world, detector = learned(3)
    events = come_new(detector, world, make, 48_000, clients, MAPPED | 10 << 24 | 77 << 16)
    assert any(isinstance(event, RuleWritten) for event in events) is written, list(map(str, detector.rules))
    assert written or any(isinstance(event, LeftAlone) for event in events)


def seen_by_workers(packets):
    """Return what workers see where the kernel forwards flows of UDP as soon as these are in use."""
    return packets.where((packets["protocol"] == PROTOCOLS["tcp"]) | (packets["state"] != IN_USE))


def test_a_crowd_whose_flows_the_kernel_forwards_gets_no_rule():
    world, detector = World(3), Detector(Profile(3, settle_s=0), by_workers=True)
    for number in range(LEARN_LOOKS):
        detector.look(seen_by_workers(normal(world, SUB_WINDOW_S, 10)), SUB_WINDOW_S, number * SUB_WINDOW_S)
    events = []
    for number in range(8):
        parts = [normal(world, SUB_WINDOW_S, 10), crowd(world, "game launch", 4, 2.0, SUB_WINDOW_S, 10)]
        came = seen_by_workers(Packets.joined(parts))
        events += detector.look(came, SUB_WINDOW_S, 1000.0 + number * SUB_WINDOW_S)
    assert not detector.rules and {type(event) for event in events} <= {LeftAlone}
    events, _ = floods(detector, world, "udp_fixed", 2.0, 1002.0)
    assert detector.rules


def test_what_a_rule_does_is_decided_again_with_more_samples():
    """A few samples do not tell 5,000 hosts from spoofed sources."""
    world, detector = learned(3)
    now, began = 1000.0, []
    for rate in (*[40_000] * 3, *[400_000] * 8):
        events, now = floods(detector, world, "connections", SUB_WINDOW_S, now, rate)
        began += [event.rule for event in events if isinstance(event, RuleWritten)]
    assert Action.SOURCE_LIMIT in {rule.action for rule in detector.rules}
    assert len(began) > len({rule.number for rule in began}), "one of them has changed"


def test_few_samples_are_no_alarm():
    world, detector = learned(3)
    assert detector.look(flood(world, "udp_fixed", 500_000, 0.005, ONE_IN), SUB_WINDOW_S, 1000.0) == []


def test_without_a_profile_packets_that_clients_may_send_get_no_rule_until_flows_are_known():
    """Else the first clients after a start would be an attack."""
    world, _ = learned(3)
    detector = Detector(Profile(1))
    events, now = floods(detector, world, "udp_fixed", 2, 0.0)
    assert not events
    events, _ = floods(detector, world, "udp_fixed", 1, now)
    assert [event.rule.action for event in events] == [Action.RETRY]
    assert detector.profile.rates_of(GAME)[OPENING] < 1_000  # of the attack nothing is learned


def test_a_lower_sensitivity_waits_for_more():
    world, detector = learned(3)
    calm = deepcopy(detector)
    assert calm.override(Overrides(everywhere=Setting("eoff"))) == []
    assert floods(detector, deepcopy(world), "udp_fixed", 1, 1000.0, 40_000)[0]
    assert not floods(calm, deepcopy(world), "udp_fixed", 1, 1000.0, 40_000)[0]


def test_the_number_of_rules_is_bounded():
    world, detector = learned(3)
    for number, vector in enumerate(
        ("udp_fixed", "ntp_reflection", "ssdp_reflection", "memcached_reflection", "chargen_reflection")
    ):
        floods(detector, world, vector, 1, 1000.0 + number)
    assert 4 <= len(detector.rules) <= MOST_RULES


def test_an_attack_that_comes_again_is_stopped_at_half_the_alarm_and_its_rule_stays_longer():
    world, detector = learned(3)
    _, now = floods(detector, world, "udp_fixed", 1, 1000.0)
    _, now = floods(detector, world, "udp_fixed", EXPIRY_S + 1, now, rate=0)
    assert not detector.rules
    events, now = floods(detector, world, "udp_fixed", SUB_WINDOW_S, now, rate=8_000)  # no alarm of itself
    (rule,) = [event.rule for event in events]
    assert rule.times == 2 and rule.action is Action.BLOCK
    events, now = floods(detector, world, "udp_fixed", EXPIRY_S + 5, now, rate=0)
    assert not events
    events, now = floods(detector, world, "udp_fixed", EXPIRIES_S[1] - EXPIRY_S, now, rate=0)
    assert [type(event) for event in events] == [RuleEnded]


def test_rules_end_by_what_they_counted_themselves():
    world, detector = learned(3)
    _, now = floods(detector, world, "udp_fixed", 1, 1000.0)
    (rule,) = detector.rules
    events, now = floods(detector, world, "udp_fixed", EXPIRY_S + 1, now, rate=0, counted={rule.number: 500_000.0})
    assert not events and len(detector.rules) == 1
    events, _ = floods(detector, world, "udp_fixed", EXPIRY_S + 1, now, rate=0, counted={rule.number: 0.0})
    assert [type(event) for event in events] == [RuleEnded]


def test_rules_about_an_app_that_is_new_are_in_the_log_alone_unless_they_need_no_profile():
    world, detector = learned(3)
    detector.profile.settle_s = 86_400.0
    # From real resolvers: they are given time to ask again, as clients do.
    events, now = floods(detector, world, "dns_water_torture", 2, 1000.0)
    (rule,) = [event.rule for event in events]
    assert rule.action is Action.LOG and "is to follow when the app has been learned for 24 h" in str(rule)
    events, now = floods(detector, world, "ntp_reflection", 1, now)
    assert Action.BLOCK in {event.rule.action for event in events if isinstance(event, RuleWritten)}
    events, now = floods(detector, world, "udp_fixed", 3, now)
    (rule,) = [event.rule for event in events]
    assert rule.action is Action.RETRY and "far more packets open flows than continue them" in str(rule)
    assert detector.rules[-1].action is Action.RETRY  # it is judged again each second


def test_a_rule_that_needs_no_profile_ends_when_what_matches_continues_as_clients_do():
    """It may match all openings of an app, of which there are always some."""
    world, detector = World(3), Detector(Profile(3))
    _, now = floods(detector, world, "game_replay", 3, 0.0)
    (rule,) = detector.rules
    many = {rule.number: 5_000.0}
    _, now = floods(detector, world, "game_replay", EXPIRY_S + 2, now, counted=many)
    assert detector.rules
    events, _ = floods(detector, world, "game_replay", EXPIRY_S + 2, now, rate=0, counted=many)
    assert [type(event) for event in events] == [RuleEnded]


def test_a_rule_that_needs_no_profile_stays_where_nothing_continues():
    """As after a restart in an attack. A quarter of a second has too few sources to tell forged ones from clients."""
    world, detector, now = World(3), Detector(Profile(3), first_expiry_s=5.0), 0.0
    for _ in range(int(12 / SUB_WINDOW_S)):
        now += SUB_WINDOW_S
        detector.look(flood(world, "udp_fixed", 5_000, SUB_WINDOW_S, 1), SUB_WINDOW_S, now)
        if now == 4.0:
            first = [rule.number for rule in detector.rules]
    assert first and [rule.number for rule in detector.rules] == first
    assert [rule.quiet_since for rule in detector.rules] == [None]


def test_in_the_first_minute_nothing_is_done_to_what_clients_may_send():
    world, detector = learned(3)
    detector._began = 990.0
    events, now = floods(detector, world, "dns_water_torture", 2, 1000.0)
    assert {type(event) for event in events} == {LeftAlone} and "first minute" in events[0].why
    events, _ = floods(detector, world, "dns_water_torture", 2, now + 60)
    assert RuleWritten in {type(event) for event in events}


def test_a_rule_that_hits_known_sources_challenges_them():
    """Whoever came a minute ago is no attacker, whatever the profile says of the packet."""
    world, detector = learned(3)
    _, now = floods(detector, world, "udp_fixed", 1, 1000.0)
    (rule,) = detector.rules
    assert rule.action is Action.BLOCK
    usual, events = normal(world, SUB_WINDOW_S, ONE_IN), []
    for number in range(8):
        attack = flood(world, "udp_fixed", 100_000, SUB_WINDOW_S, ONE_IN)
        known = (np.arange(len(attack)) % 20 == 0).astype(np.uint8)
        packets = Packets.joined([usual, attack.replaced(known=known)])
        events += detector.look(packets, SUB_WINDOW_S, now + (number + 1) * SUB_WINDOW_S)
    assert [event.rule.action for event in events] == [Action.RETRY]
    assert detector.rules[0].hits > 0.01


def test_what_stays_is_normal_after_ten_minutes():
    world, detector = learned(3)
    before, now, written = detector.profile.rate, 1000.0, set()
    for number in range(70):
        wide = [normal(world, 10.0, 10 * ONE_IN), crowd(world, "web news", 2, 2.0, 10.0, 10 * ONE_IN)]
        now += 10.0
        written |= {type(event) for event in detector.look(Packets.joined(wide), 10.0, now)}
        if number == 55:
            assert detector.profile.rate == before
    assert detector.profile.rate > 1.2 * before and written == {LeftAlone}


def test_apps_have_other_numbers_after_a_reload():
    world, detector = learned(3)
    floods(detector, world, "udp_fixed", 1, 1000.0)
    assert detector.rules[0].app == GAME and GAME in detector.rules[0].apps
    detector.renumber({GAME: 9})
    assert detector.rules[0].app == 9 and 9 in detector.rules[0].apps
    assert detector.profile.rates_of(9).sum() > 0


def said(expression="true", **setting):
    return Overrides([ManagedOverride("0" * 32, "ours", expression, Setting(**setting))])


def under(overrides, vector="udp_fixed", rate=500_000):
    world, detector = learned(3)
    assert detector.override(overrides) == []
    events, now = floods(detector, world, vector, 1, 1000.0, rate)
    return world, detector, events, now


def test_an_attack_has_the_name_of_a_managed_rule():
    (rule,) = under(Overrides())[1].rules
    assert (rule.managed, rule.ruling.override, rule.action) == (BY_REF["BOT-0001"], "", Action.BLOCK)
    assert str(rule).startswith("Mirai UDP plain flood: 540 bytes, IPv4, to")


@pytest.mark.parametrize(
    ("expression", "vector", "action", "override"),
    [
        ("true", "udp_fixed", Action.LOG, "ours"),
        ("ip.dst in {203.0.113.0/24} and udp.dstport eq 7000", "udp_fixed", Action.LOG, "ours"),
        ("udp.dstport eq 7001", "udp_fixed", Action.BLOCK, ""),
        # the sources of a spoofed flood are not in its fingerprint
        ("ip.src in {0.0.0.0/0}", "udp_fixed", Action.BLOCK, ""),
        ("tcp.flags.syn", "syn_os", Action.LOG, "ours"),
    ],
)
def test_an_override_that_fits_logs_an_attack(expression, vector, action, override):
    _, detector, events, _ = under(said(expression, action="log"), vector)
    assert {(rule.action, rule.ruling.override) for rule in detector.rules} == {(action, override)}
    if action is Action.LOG:
        assert "by override ours; otherwise" in detector.rules[0].judgement.why
    assert {type(event) for event in events} == {RuleWritten}


def test_an_override_blocks_what_would_be_challenged_and_it_stays_so():
    world, detector, _, now = under(said(action="block"), "syn_os")
    assert [(rule.action, rule.judged.action) for rule in detector.rules] == [(Action.BLOCK, Action.COOKIE)]
    floods(detector, world, "syn_os", 2, now)
    assert [rule.action for rule in detector.rules] == [Action.BLOCK]


def test_traffic_below_its_sensitivity_gets_no_rule_and_is_not_learned():
    world, detector, events, now = under(said("udp.dstport eq 7000", sensitivity_level="eoff"), rate=40_000)
    assert not detector.rules and {type(event) for event in events} == {LeftAlone}
    assert "the rate is below the threshold of Mirai UDP plain flood at sensitivity eoff" in events[0].why
    assert (events[0].managed.ref, events[0].ruling.override) == ("BOT-0001", "ours")
    before = detector._profile.normal.rate
    events, now = floods(detector, world, "udp_fixed", 1, now, rate=40_000)
    assert detector._profile.normal.rate == before
    # another attack beside it is found
    parts = [
        normal(world, SUB_WINDOW_S, ONE_IN),
        flood(world, "udp_fixed", 40_000, SUB_WINDOW_S, ONE_IN),
        flood(world, "ntp_reflection", 300_000, SUB_WINDOW_S, ONE_IN),
    ]
    for _ in range(8):
        now += SUB_WINDOW_S
        detector.look(Packets.joined(parts), SUB_WINDOW_S, now)
    assert [rule.managed.ref for rule in detector.rules] == ["RFL-0002"]
    # what grows beyond is stopped
    floods(detector, world, "udp_fixed", 3, now, rate=30_000_000)
    assert "BOT-0001" in [rule.managed.ref for rule in detector.rules]


def test_other_overrides_hold_for_rules_in_force():
    _, detector, _, _ = under(Overrides(), rate=40_000)
    (event,) = detector.override(said(action="log"))
    assert isinstance(event, RuleWritten) and event.rule.action is Action.LOG
    assert detector.override(said(action="log")) == []
    (event,) = detector.override(Overrides())
    assert event.rule.action is Action.BLOCK and event.rule.judgement == event.rule.judged
    (event,) = detector.override(said(sensitivity_level="eoff"))
    assert isinstance(event, RuleEnded) and not detector.rules


@pytest.mark.parametrize(("rule", "ref"), [("TCP-0001", "PULSE-0001"), ("UDP-0001", "UDP-0001")])
def test_repeated_bursts_are_pulses_unless_an_override_matches(rule, ref):
    (before,) = under(Overrides(), "udp_random")[1].rules
    assert before.managed.ref == "UDP-0001"
    world, detector = learned(3)
    detector.override(Overrides([ManagedOverride("0" * 32, "ours", rules=((BY_REF[rule].id, Setting("medium")),))]))
    detector._past.add(PastAttack(before.what, 4, 999.0))
    floods(detector, world, "udp_random", 1, 1000.0)
    (again,) = detector.rules
    assert (again.times, again.managed.ref, again.ruling.override) == (5, ref, "ours" if ref == rule else "")


def test_an_attack_that_continues_over_a_restart_is_stopped_at_once():
    world, before = learned(3)
    _, now = floods(before, world, "udp_fixed", 1, 1000.0)
    after = Detector(before.profile)
    after.recall(before.attackers())
    events, now = floods(after, world, "udp_fixed", SUB_WINDOW_S, now)
    (rule,) = [event.rule for event in events]
    assert rule.action is Action.BLOCK and rule.times == 2
    assert [one.what for one in after.attackers()][-1] == rule.what
