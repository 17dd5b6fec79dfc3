from spectrum.core.limits.rules import NODE_GROUPS, Limits, Rule, app_rules, group_of, limits_hit, node_rules
from spectrum.core.records.reasons import Reason


def test_no_limit_is_no_rule():
    assert app_rules(Limits(), "x", "tcp") == ()
    assert node_rules(Limits(), "udp") == ()


def test_a_client_hears_of_its_own_limit_first():
    limits = Limits(sessions=100, new_per_second=50, client_sessions=10, client_new_per_second=5)
    group = group_of("x", "tcp")
    assert app_rules(limits, "x", "tcp") == (
        Rule(group, "client", False, 10, Reason.CLIENT_LIMIT),
        Rule(group, "client", True, 5, Reason.CLIENT_RATE),
        Rule(group, "all", False, 100, Reason.APP_LIMIT),
        Rule(group, "all", True, 50, Reason.APP_RATE),
    )
    assert [rule.reason for rule in node_rules(limits, "tcp")] == [
        Reason.CLIENT_LIMIT,
        Reason.CLIENT_RATE,
        Reason.NODE_LIMIT,
        Reason.NODE_RATE,
    ]


def test_groups_are_the_same_for_ever_and_apart():
    assert group_of("x", "tcp") == 0xA41EA09BBFA49BF6  # a worker of another version counts in it too
    groups = {group_of(name, transport) for name in ("x", "y") for transport in ("tcp", "udp")}
    assert len(groups | set(NODE_GROUPS.values())) == 6


def test_which_limit_was_hit():
    app = app_rules(Limits(sessions=100, client_new_per_second=5), "x", "tcp")
    node = node_rules(Limits(client_new_per_second=50), "tcp")
    assert limits_hit(Reason.APP_LIMIT, app, node) == "app: sessions 100"
    assert limits_hit(Reason.CLIENT_RATE, app, node) == "app: client_new_per_second 5, node: client_new_per_second 50"
    assert limits_hit(Reason.CLIENT_CLOSED, app, node) == ""
