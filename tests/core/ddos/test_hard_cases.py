"""Detection that knows too little, or something wrong: `python -m benchmarks ddos` has the whole."""

import pytest

from benchmarks.ddos import hard
from spectrum.core.ddos.judging import Action
from spectrum.simulation.normal import CROWDS


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_a_lost_flow_table_is_no_attack(share):
    lost = hard.flows_lost(share)
    assert hard.with_attack(3, lost, quiet_s=2).rules == ()
    came = hard.with_attack(3, lost, "udp_random", quiet_s=0, attack_s=1)
    assert came.matched > 0.95 and came.loss <= 0.0005


@pytest.mark.parametrize("changed", [hard.known_lost, hard.upgraded])
def test_clients_that_look_otherwise_are_no_attack_and_lose_nothing_in_one(changed):
    assert hard.with_attack(3, changed, quiet_s=2).rules == ()
    came = hard.with_attack(3, changed, "udp_random", quiet_s=0, attack_s=1)
    assert came.matched > 0.95 and came.loss <= 0.0005


def test_an_attack_in_a_crowd_is_found_and_the_crowd_is_served():
    came, lost = hard.attack_in_crowd("web news", "udp_fixed", 3)
    assert came.matched > 0.95 and lost == 0


def test_many_clients_behind_one_address_are_no_attack():
    assert hard.shared_crowd("web news", 3).rules == ()


@pytest.mark.parametrize("over_s", [60, 3600])
def test_an_attack_that_grows_slowly_is_found_before_it_is_large(over_s):
    times, _ = hard.ramp("udp_random", over_s, 3)
    assert times is not None and times <= 1


def test_pulses_pass_once():
    assert hard.pulses("udp_random", 3, times=4) <= 0.03  # a bit more than half a second of the first one


def test_a_restart_is_no_attack_and_one_is_stopped_in_the_first_minute_where_nobody_listens():
    came = hard.restarted(3, "ntp_reflection", for_s=3)
    assert [rule.action for rule in came.rules] == [Action.BLOCK] and came.matched > 0.95
    came = hard.restarted(3, "udp_random", for_s=3)  # clients may look so: they are asked to come twice
    assert [rule.action for rule in came.rules] == [Action.RETRY] and came.matched > 0.95 and came.loss == 0
    assert hard.restarted(3, None, for_s=3).rules == ()


def test_an_attack_that_the_profile_has_learned_is_stopped_and_nobody_is_blocked():
    came = hard.attack_in_profile("udp_fixed", 3)
    assert came.matched > 0.95 and came.loss <= 0.0005
    assert Action.BLOCK not in {rule.action for rule in came.rules}


@pytest.mark.parametrize(
    ("vector", "action"),
    [
        ("udp_random", Action.RETRY),
        ("game_replay", Action.RETRY),
        ("syn_os", Action.COOKIE),
        ("connections", Action.SOURCE_LIMIT),
        ("ntp_reflection", Action.BLOCK),
        ("carpet", Action.BLOCK),
        ("synack_reflection", Action.BLOCK),
    ],
)
def test_an_attack_that_is_there_when_a_new_daemon_begins_is_stopped(vector, action):
    during, _ = hard.first_minute(3, vector, for_s=3)
    assert [rule.action for rule in during.rules] == [action]
    assert all(rule.began <= 3 for rule in during.rules)
    # Answers to queries of this machine go to ports where no app listens, as those of a carpet do.
    assert during.matched > 0.95 and during.loss <= (0.001 if vector == "carpet" else 0.0005)


@pytest.mark.parametrize("crowded", [None, *CROWDS])
def test_whoever_comes_when_a_new_daemon_begins_is_no_attack(crowded):
    assert hard.first_minute(3, None, crowded, for_s=3)[0].rules == ()


def test_an_attack_of_the_first_minute_is_not_learned():
    during, after = hard.first_minute(3, "udp_random", for_s=62, after_s=2)
    assert [rule.action for rule in during.rules] == [Action.RETRY]
    assert during.matched > 0.95 and after.rules == () and after.loss == 0
