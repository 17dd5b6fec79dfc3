from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.balancing.groups import Vote, combine, is_monitored, probing
from spectrum.core.balancing.objects import MonitorGroup, Pool

UP, DOWN, UNKNOWN = True, False, None


def votes(critical, others):
    named = [(verdict, True) for verdict in critical] + [(verdict, False) for verdict in others]
    return [
        Vote(verdict, "" if verdict else f"m{n}: {'not probed yet' if verdict is None else 'refused'}", must)
        for n, (verdict, must) in enumerate(named)
    ]


@pytest.mark.parametrize(
    ("critical", "others", "verdict", "reason"),
    [
        ([], [], UP, ""),
        ([UP], [], UP, ""),
        ([DOWN], [], DOWN, "m0: refused"),
        ([UNKNOWN], [], UNKNOWN, "m0: not probed yet"),
        # One that must be healthy decides, whatever the others find.
        ([DOWN, UP], [UP, UP], DOWN, "m0: refused"),
        ([DOWN, DOWN], [DOWN], DOWN, "m0: refused; m1: refused"),
        ([DOWN, UNKNOWN], [UNKNOWN], DOWN, "m0: refused"),
        ([UNKNOWN, UP], [UP], UNKNOWN, "m0: not probed yet"),
        # Where it is healthy the majority of the others decides; half is none.
        ([UP], [DOWN], DOWN, "m1: refused"),
        ([UP], [DOWN, UP], UP, ""),
        ([], [DOWN, UP, DOWN], DOWN, "2 of 3 fail: m0: refused; m2: refused"),
        ([], [DOWN, DOWN, UP, UP], UP, ""),
        ([], [DOWN, UNKNOWN, UP], UNKNOWN, "m1: not probed yet"),
        ([], [UNKNOWN, UP, UP], UP, ""),
        ([], [DOWN] * 5, DOWN, "5 of 5 fail: m0: refused; m1: refused; m2: refused; and 2 more"),
    ],
)
def test_verdicts(critical, others, verdict, reason):
    assert combine(votes(critical, others)) == (verdict, reason)


VERDICTS = st.lists(st.sampled_from([UP, DOWN, UNKNOWN]), max_size=4)


@given(VERDICTS, VERDICTS)
def test_unknown_is_what_the_unknown_ones_could_still_decide(critical, others):
    found = [[verdict] if verdict is not None else [UP, DOWN] for verdict in (*critical, *others)]
    possible = {combine(votes(one[: len(critical)], one[len(critical) :]))[0] for one in product(*found)}
    verdict, reason = combine(votes(critical, others))
    assert verdict is (possible.pop() if len(possible) == 1 else None)
    assert bool(reason) is (verdict is not True)


@given(VERDICTS, VERDICTS, st.randoms())
def test_the_order_does_not_matter(critical, others, random):
    given = votes(critical, others)
    verdict = combine(given)[0]
    random.shuffle(given)
    assert combine(given)[0] is verdict


ORIGINS = [{"name": "a", "address": "192.0.2.1"}]


@pytest.mark.parametrize(
    ("pool", "members", "found", "monitored"),
    [
        ({}, [], [], False),
        ({"monitor": "m"}, [], [("m", True, False)], True),
        ({"monitor_group": "g"}, [{"monitor": "m"}, {"monitor": "n", "enabled": False}], [("m", False, False)], True),
        ({"monitor_group": "g"}, [{"monitor": "m", "monitoring_only": True}], [("m", False, True)], False),
        ({"monitor_group": "g"}, [{"monitor": "m", "enabled": False}], [], False),
        ({"monitor_group": "unknown"}, [{"monitor": "m"}], [], False),
    ],
)
def test_who_probes_a_pool(pool, members, found, monitored):
    groups = {"g": MonitorGroup(members=members)} if members else {}
    made = Pool(origins=ORIGINS, **pool)
    assert [(one.monitor, one.must_be_healthy, one.monitoring_only) for one in probing(made, groups)] == found
    assert is_monitored(made, groups) is monitored
