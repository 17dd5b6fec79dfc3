from datetime import UTC, datetime

import pytest

from spectrum.api.graphql.filters import GraphQLFilterFault, comparable, dimensions, endings_of, read
from spectrum.core.analytics.columns import EVENTS, PACKETS
from spectrum.core.analytics.question import AllOf, AnyOf, Compare

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ({}, None),
        ({"app": None}, None),
        ({"app": "a"}, Compare("app", "=", ("a",))),
        ({"app_neq": "a"}, Compare("app", "!=", ("a",))),
        ({"app_in": ["a", "b"]}, Compare("app", "=", ("a", "b"))),
        ({"app_notin": ["a", "b"]}, Compare("app", "!=", ("a", "b"))),
        ({"app_like": "a%"}, Compare("app", "like", ("a%",))),
        ({"app_notlike": "a%"}, Compare("app", "not_like", ("a%",))),
        ({"edgePort_geq": 22}, Compare("edge_port", ">=", (22,))),
        ({"clientIp": "10.0.0.0/8"}, Compare("client_ip", "prefix", ("10.0.0.0/8",))),
        (
            {"clientIp_notin": ["10.0.0.0/8", "192.0.2.1"]},
            AllOf((Compare("client_ip", "not_prefix", ("10.0.0.0/8",)), Compare("client_ip", "!=", ("192.0.2.1",)))),
        ),
        (
            {"clientIp_in": ["10.0.0.0/8", "192.0.2.1"]},
            AnyOf((Compare("client_ip", "prefix", ("10.0.0.0/8",)), Compare("client_ip", "=", ("192.0.2.1",)))),
        ),
        (
            {"app": "a", "OR": [{"edgePort": 22}, {"AND": [{"edgePort": 23}, {"node": "n"}]}]},
            AllOf(
                (
                    Compare("app", "=", ("a",)),
                    AnyOf(
                        (
                            Compare("edge_port", "=", (22,)),
                            AllOf((Compare("edge_port", "=", (23,)), Compare("node", "=", ("n",)))),
                        )
                    ),
                )
            ),
        ),
    ],
)
def test_a_filter_states_a_condition(given, condition):
    assert read(EVENTS, given)[0] == condition


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        ({}, None, None),
        ({"datetime_geq": "2026-11-26T12:00:00Z"}, NOON_US, None),
        ({"datetime_gt": "2026-11-26T12:00:00Z"}, NOON_US + 1, None),
        ({"datetime_lt": "2026-11-26T13:00:00+01:00"}, None, NOON_US),
        ({"datetime_leq": "2026-11-26T12:00:00"}, None, NOON_US + 1),
        ({"datetimeHour": "2026-11-26T12:00:00Z"}, NOON_US, NOON_US + HOUR_US),
        ({"datetimeHour_gt": "2026-11-26T12:00:00Z"}, NOON_US + HOUR_US, None),
        ({"date": "2026-11-26"}, NOON_US - 12 * HOUR_US, NOON_US + 12 * HOUR_US),
        ({"date_geq": "2026-11-26", "date_leq": "2026-11-27"}, NOON_US - 12 * HOUR_US, NOON_US + 1.5 * DAY_US),
        (
            {"AND": [{"datetime_geq": "2026-11-26T12:00:00Z"}, {"datetime_geq": "2026-11-26"}]},
            NOON_US,
            None,
        ),
    ],
)
def test_times_limit_the_range(given, since, until):
    condition, limits = read(EVENTS, given)
    assert condition is None
    assert (limits.since_us, limits.until_us) == (since, until)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"OR": [{"datetime_geq": "2026-11-26"}]}, "times stand beside OR"),
        ({"datetime": "yesterday"}, "is no time, such as 2026-11-26T14"),
        ({"date": 5}, "is no time, such as 2026-11-26"),
        ({"edgePort": "x"}, "edgePort: edge_port is a number"),
        ({"app_in": ["a"] * 2, "AND": [{"app": "a"}] * 500}, "at most 500 comparisons"),
    ],
)
def test_faults_say_what_would_be_right(given, message):
    with pytest.raises(GraphQLFilterFault, match=message):
        read(EVENTS, given)


def test_names_are_those_of_columns():
    assert dimensions(EVENTS)["clientIp"] is EVENTS.by_name["client_ip"]
    assert dimensions(PACKETS)["ipSourceAddress"] is PACKETS.by_name["source_ip"]
    assert "duration" in comparable(EVENTS) and "duration" not in dimensions(EVENTS)
    assert "_like" in list(endings_of(EVENTS.by_name["app"]))
    assert "_like" not in list(endings_of(EVENTS.by_name["edge_port"]))
