import pytest

from spectrum.core.limits.rules import Limits, app_rules, group_of, node_rules
from spectrum.core.records.reasons import Reason
from spectrum.engine.census import Census, Rates
from spectrum.plane.limits import Limiter

ONE, TWO = b"\x0a\0\0\1", b"\x0a\0\0\2"
SECOND = 1_000_000_000


class Node:
    """A limiter with apps x and y, a clock that is set, and sessions as engines would count them."""

    def __init__(self, node=None, **limits):
        self.now = 100 * SECOND
        self.census = Census()
        self.limiter = Limiter(self.census, Rates(), lambda: self.now)
        self.limiter.node = node_rules(node or Limits(), "tcp")
        self.rules = {app: app_rules(Limits(**limits), app, "tcp") for app in "xy"}

    def come(self, client=ONE, app="x"):
        reason = self.limiter.refusal(self.rules[app], client)
        if reason is None:
            self.census.add(1, group_of(app, "tcp"), client, 1)
        return reason

    def leave(self, client=ONE, app="x"):
        self.census.add(1, group_of(app, "tcp"), client, -1)


def test_sessions_of_an_app():
    node = Node(sessions=2)
    assert [node.come(), node.come(TWO), node.come(TWO)] == [None, None, Reason.APP_LIMIT]
    assert node.come(app="y") is None
    node.leave()
    assert node.come(TWO) is None


def test_sessions_of_a_client():
    node = Node(sessions=3, client_sessions=2)
    assert [node.come() for _ in range(3)] == [None, None, Reason.CLIENT_LIMIT]
    assert [node.come(TWO), node.come(TWO)] == [None, Reason.APP_LIMIT]


def test_sessions_of_the_node_and_of_a_client_in_all_apps():
    node = Node(Limits(sessions=4, client_sessions=3))
    assert [node.come(app=app) for app in "xyxy"] == [None, None, None, Reason.CLIENT_LIMIT]
    assert [node.come(TWO), node.come(TWO)] == [None, Reason.NODE_LIMIT]


@pytest.mark.parametrize(
    ("limits", "node_limits", "reason"),
    [
        ({"new_per_second": 5}, None, Reason.APP_RATE),
        ({"client_new_per_second": 5}, None, Reason.CLIENT_RATE),
        ({}, Limits(new_per_second=5), Reason.NODE_RATE),
        ({}, Limits(client_new_per_second=5), Reason.CLIENT_RATE),
    ],
)
def test_rates(limits, node_limits, reason):
    node = Node(node_limits, **limits)
    assert [node.come() for _ in range(8)] == [None] * 5 + [reason] * 3
    node.now += SECOND // 5
    assert [node.come(), node.come()] == [None, reason]
    other = node.come(TWO)
    assert (other is None) is (reason is Reason.CLIENT_RATE)


def test_who_is_refused_by_one_limit_is_not_charged_for_another():
    node = Node(sessions=1, client_new_per_second=2)
    assert [node.come(), *(node.come() for _ in range(20))] == [None] + [Reason.APP_LIMIT] * 20
    node.leave()
    assert node.come() is None
    node.leave()
    assert node.come() is Reason.CLIENT_RATE


def test_those_that_come_too_fast_may_wait_for_their_turn():
    now = [10**12]
    limiter = Limiter(Census(), Rates(), lambda: now[0])
    rules = app_rules(Limits(new_per_second=10, delays=True), "x", "tcp")
    waits = [limiter.admit(rules, ONE) for _ in range(70)]
    assert waits[:10] == [(None, 0)] * 10
    assert waits[10:13] == [(None, 100), (None, 200), (None, 300)]
    assert waits[59] == (None, 5000)
    assert {reason for reason, _ in waits[60:]} == {Reason.APP_RATE}  # too long
    now[0] += 2 * 10**9
    assert limiter.admit(rules, ONE) == (None, 3100)


def test_one_that_waited_is_held_against_counts_again_and_not_against_rates():
    node = Node(sessions=1, new_per_second=1, delays=True)
    rules = node.rules["x"]
    assert node.limiter.admit(rules, ONE) == (None, 0)
    assert node.limiter.admit(rules, TWO)[1] > 0  # it is to wait
    assert node.limiter.excess(rules, TWO) is None
    node.census.add(1, group_of("x", "tcp"), ONE, 1)
    assert node.limiter.excess(rules, TWO) is Reason.APP_LIMIT
    node.leave()
    assert node.limiter.excess(rules, TWO) is None
