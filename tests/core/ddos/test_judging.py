import numpy as np
import pytest

from spectrum.core.ddos.askers import Askers
from spectrum.core.ddos.judging import Action, AppExcess, Judgement, app_of, judge, of_connections, overruled
from spectrum.core.ddos.mining import Fingerprint
from spectrum.core.ddos.overrides import Ruling
from spectrum.core.ddos.packets import MAPPED, NO_APP
from spectrum.core.ddos.predicates import Conjunction, Predicate
from tests.core.ddos.test_packets import rows


def finding(hit=0.2, excess=100_000.0, normal=1_000.0, what=()):
    return Fingerprint(Conjunction(what), excess, normal, np.array([hit]), 100)


def excess(opening, shaken, in_use, known=0.0, usual=(100.0, 100.0, 9_800.0), usually_known=0.7, **given):
    return AppExcess(np.array([opening, shaken, in_use], float), np.array(usual), known, usually_known, **given)


UNSEEN = (Predicate("payload[:2]", "not in", (1, 2)),)
MANY = (MAPPED | np.arange(1 << 24, (1 << 24) + 400)).tolist()
FEW = (MAPPED | (1 << 24) + np.arange(400) % 40).tolist()


@pytest.mark.parametrize(
    ("given", "samples", "what"),
    [
        (finding(hit=0.005), {"source_low": MANY}, Action.BLOCK),
        (finding(excess=2_000), {"source_low": MANY}, None),
        (finding(), {"source_low": FEW}, Action.SOURCE_LIMIT),
        (finding(), {"source_low": MANY, "protocol": 6, "tcp_flags": 2, "served": 1}, Action.COOKIE),
        (finding(), {"source_low": MANY, "protocol": 17, "served": 1}, Action.RETRY),
        (finding(), {"source_low": MANY, "protocol": 1}, Action.LIMIT),
        # What the profile has never seen may be sent by clients that were upgraded.
        (finding(hit=0.001, what=UNSEEN), {"source_low": MANY, "protocol": 17, "served": 1}, Action.RETRY),
        (finding(hit=0.001, what=UNSEEN), {"source_low": FEW, "protocol": 17, "served": 1}, Action.SOURCE_LIMIT),
        (
            finding(hit=0.001, what=UNSEEN),
            {"source_low": MANY, "protocol": 6, "tcp_flags": 2, "served": 1},
            Action.COOKIE,
        ),
        (finding(hit=0.001, what=UNSEEN), {"source_low": MANY, "protocol": 17}, Action.BLOCK),
    ],
)
def test_actions(given, samples, what):
    assert judge(given, rows(**samples), excess(90_000, 100, 0)).action is what


def test_limits_leave_twice_what_is_normal():
    assert judge(finding(), rows(source_low=MANY, protocol=1), None).per_s == 2_000
    assert judge(finding(), rows(source_low=FEW), None).per_s == 4
    # Addresses that many clients share are spared, while that is a limit still.
    assert judge(finding(), rows(source_low=FEW), None, 30.0).per_s == 90
    assert judge(finding(), rows(source_low=FEW), None, 1e6).per_s == pytest.approx(1_250, rel=0.1)


@pytest.mark.parametrize(
    ("given", "crowd"),
    [
        (excess(-5, 0, 0), True),  # nobody opens more than normally
        (excess(1_000, 900, 20_000), True),
        (excess(1_000, 900, 0), False),  # handshakes, and nothing after
        (excess(1_000, 0, 0), False),
        (excess(1_000, 900, 400, opened=200.0), True),  # those who came a second earlier have gone on
        (excess(1_000, 900, 0, opened=200.0), False),
        (excess(1_000, 900, 0, sees_use=False), True),  # the kernel forwards what comes after
        (excess(1_000, 100, 0, sees_use=False), False),
        (excess(1_000, 0, 0, known=0.8, usual=(3_000.0, 0.0, 0.0)), True),  # an app without sessions: by who comes
        (excess(1_000, 0, 0, known=0.1, usual=(3_000.0, 0.0, 0.0)), False),
        (excess(1_000, 0, 0, known=0.2, usual=(3_000.0, 0.0, 0.0), usually_known=0.1), False),
    ],
)
def test_crowds(given, crowd):
    assert given.is_crowd is crowd
    assert (judge(finding(), rows(source_low=MANY), given).action is None) is crowd


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        (excess(1_000, 900, 400, opened=200.0, waited=False), True),
        (excess(1_000, 50, 400, opened=200.0, waited=False), False),  # forged sources complete no handshake
        (excess(1_000, 0, 0, usual=(3_000.0, 0.0, 0.0), askers=Askers.UNCLEAR), True),
        (excess(1_000, 0, 0, usual=(3_000.0, 0.0, 0.0), askers=Askers.CLIENTS), False),
    ],
)
def test_what_may_be_a_crowd_has_time_to_continue(given, waits):
    there = (Predicate("source/16", "is", (1,)),)
    for found in (finding(), finding(hit=0.001, what=there)):
        judged = judge(found, rows(source_low=MANY, protocol=17, served=1), given)
        assert judged.waits is waits
        assert (judged.action is None) is (waits or given.is_crowd)


def test_the_app_that_most_is_about():
    assert app_of(rows(app=[2, 2, 1])) == 2
    assert app_of(rows(app=[1]).where(np.array([False]))) == NO_APP


BEST = {action: Judgement(action, 4.0 if action is Action.SOURCE_LIMIT else 0.0, "why") for action in Action}


@pytest.mark.parametrize(
    ("best", "ruled", "action", "per_s"),
    [
        (Action.BLOCK, "ddos_dynamic", Action.BLOCK, 0.0),
        (Action.SOURCE_LIMIT, "ddos_dynamic", Action.SOURCE_LIMIT, 4.0),
        (Action.COOKIE, "block", Action.BLOCK, 0.0),
        (Action.BLOCK, "block", Action.BLOCK, 0.0),
        (Action.BLOCK, "log", Action.LOG, 0.0),
        (Action.BLOCK, "rate-limit", Action.LIMIT, 100.0),
        (Action.SOURCE_LIMIT, "rate-limit", Action.SOURCE_LIMIT, 4.0),
    ],
)
def test_what_rules_and_overrides_say_holds(best, ruled, action, per_s):
    told = overruled(BEST[best], Ruling("default", ruled, "ours"), 50.0)
    assert (told.action, told.per_s) == (action, per_s)
    assert told is BEST[best] or told.why == f"by override ours; otherwise {best}, as why"


def test_a_managed_rule_says_so_itself_and_leaves_something():
    told = overruled(BEST[Action.BLOCK], Ruling("default", "rate-limit"), 0.0)
    assert told.why.startswith("by its managed rule") and told.per_s == 1.0


def test_known_sources_behind_addresses_that_were_not_seen_before():
    """The fingerprint is clean, as it is one of addresses alone."""
    shared = rows(source_low=FEW, protocol=17, served=1, known=1)
    crowd = excess(1_000, 0, 0, known=0.8, usual=(3_000.0, 0.0, 0.0))
    assert judge(finding(hit=0.001), shared, crowd).action is None
    assert judge(finding(hit=0.001), shared, excess(90_000, 100, 0)).action is Action.SOURCE_LIMIT
    assert judge(finding(hit=0.001), rows(source_low=FEW, protocol=17, served=1), crowd).action is Action.BLOCK


@pytest.mark.parametrize(
    ("judged", "protocol", "action", "per_s"),
    [
        (Judgement(Action.COOKIE, why="many"), 6, Action.LIMIT, 500.0),
        (Judgement(Action.RETRY, why="many"), 6, Action.LIMIT, 500.0),
        (Judgement(Action.SOURCE_LIMIT, 100.0), 6, Action.SOURCE_LIMIT, 25.0),
        (Judgement(Action.LIMIT, 2.0), 6, Action.LIMIT, 1.0),
        (Judgement(Action.BLOCK), 6, Action.BLOCK, 0.0),
        (Judgement(None), 6, None, 0.0),
        (Judgement(Action.RETRY), 17, Action.RETRY, 0.0),
    ],
)
def test_rules_about_connections_count_each_once(judged, protocol, action, per_s):
    """Of four packets of a connection one opens it."""
    found = of_connections(judged, finding(), rows(state=[0, 1, 1, 1] * 5, protocol=protocol, stands_for=8.0))
    assert (found.action, found.per_s) == (action, per_s)
    assert of_connections(judged, finding(), rows(state=[])) == judged
