from dataclasses import replace

import pytest

from spectrum.core.analytics.plan import DataRange, make_plan
from spectrum.core.analytics.question import AllOf, Compare, Question, QuestionFault, Sorting

HOUR, DAY = 3600, 86400
NOW = 1_700_000_040  # a whole minute
COMPLETE = DataRange(minutes_until=NOW + DAY)


def question(**own):
    asked = {"table": "events", "metrics": ("count",), "dimensions": ("app",), "since": NOW - HOUR, "until": NOW}
    return Question(**(asked | own))


def parts(plan):
    return [(part.table.name, part.since_us / 1e6 - NOW, part.until_us / 1e6 - NOW) for part in plan.parts]


def test_short_times_are_asked_of_events():
    plan = make_plan(question(), COMPLETE)
    assert parts(plan) == [("events", -HOUR, 0)]
    assert not plan.is_rolled and plan.partial == ""


def test_long_times_are_asked_of_minutes_and_their_ends_of_events():
    asked = question(since=NOW - DAY - 30, until=NOW + 15)
    plan = make_plan(asked, replace(COMPLETE, as_of=NOW + 15.0))
    assert parts(plan) == [("events", -DAY - 30, -DAY), ("minutes", -DAY, 0), ("events", 0, 15)]
    assert plan.is_rolled
    nothing_after = replace(COMPLETE, as_of=NOW + 14.999999)
    assert parts(make_plan(asked, nothing_after)) == [("events", -DAY - 30, -DAY), ("minutes", -DAY, 60)]


def test_minutes_end_where_they_are_complete():
    plan = make_plan(question(since=NOW - DAY), DataRange(minutes_until=NOW - HOUR + 30))
    assert parts(plan) == [("minutes", -DAY, -HOUR), ("events", -HOUR, 0)]
    assert parts(make_plan(question(since=NOW - DAY), DataRange())) == [("events", -DAY, 0)]


def test_roll_ups_answer_beyond_an_hour():
    assert parts(make_plan(question(since=NOW - HOUR), COMPLETE)) == [("events", -HOUR, 0)]
    assert {name for name, _, _ in parts(make_plan(question(since=NOW - HOUR - 60), COMPLETE))} >= {"minutes"}


def test_what_is_gone_from_events_is_asked_of_minutes():
    plan = make_plan(question(since=NOW - 90), DataRange(NOW - 30, NOW + 60))
    assert parts(plan) == [("minutes", -120, 0)]
    assert plan.partial == ""


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"dimensions": ("client_ip",)}, "client_ip"),
        ({"metrics": ("clients",)}, "clients"),
        ({"where": AllOf((Compare("app", "=", ("a",)), Compare("sni", "=", ("b",))))}, "sni"),
        ({"where": Compare("client_bytes", ">", (5,))}, "client_bytes"),
        ({"bucket": 90}, "buckets of 90 seconds"),
        ({"metrics": (), "dimensions": ("*",)}, "single records"),
    ],
)
def test_what_roll_ups_do_not_have_is_asked_of_events_and_said(own, what):
    plan = make_plan(question(since=NOW - DAY, **own), DataRange(NOW - HOUR, NOW))
    assert parts(plan) == [("events", -DAY, 0)]
    assert plan.partial == f"before 2023-11-14 21:14 only sums of minutes are kept, which do not have {what}"
    assert make_plan(question(since=NOW - DAY, **own), COMPLETE).partial == ""


def test_other_tables_have_no_roll_ups():
    plan = make_plan(question(table="health", dimensions=("pool",), since=0), DataRange(NOW, NOW))
    assert parts(plan) == [("health", -NOW, 0)]


def test_groups_have_one_order():
    plan = make_plan(question(dimensions=("appID", "event")), COMPLETE)
    assert plan.order == (Sorting("count", True), Sorting("app"), Sorting("event"))
    plan = make_plan(question(dimensions=("appID",), order=(Sorting("appID", True),)), COMPLETE)
    assert plan.order == (Sorting("app", True),)


@pytest.mark.parametrize(
    ("own", "part", "message"),
    [
        ({"table": "event"}, "table", "did you mean"),
        ({"table": "minutes"}, "table", "known here"),
        ({"since": NOW}, "since", "not before until"),
        ({"metrics": ()}, "metrics", "at least one"),
        ({"metrics": ("cuont",)}, "metrics", "no metric 'cuont'; did you mean \"count\""),
        ({"metrics": ("count", "count")}, "metrics", "once"),
        ({"dimensions": ("ap",)}, "dimensions", "did you mean"),
        ({"dimensions": ("app", "appID")}, "dimensions", "once"),
        ({"dimensions": ("duration",)}, "dimensions", "cannot be grouped"),
        ({"dimensions": ("app", "event", "node", "asn", "country", "pool", "origin")}, "dimensions", "6 at most"),
        ({"limit": 0}, "limit", "from 1"),
        ({"limit": 10_001}, "limit", "from 1"),
        ({"bucket": 0}, "bucket", "a number of seconds"),
        ({"bucket": "fortnight"}, "bucket", "a number of seconds"),
        ({"bucket": 10, "limit": 1000}, "bucket", "360 buckets of 1000 groups"),
        ({"where": Compare("time", "=", (1,))}, "where", "time"),
        ({"where": Compare("1; DROP TABLE events", "=", (1,))}, "where", "cannot be compared"),
        ({"order": (Sorting("bytes"),)}, "order", "'bytes' is not part of"),
        ({"dimensions": ("*",)}, "metrics", "neither metrics"),
        ({"dimensions": ("*",), "metrics": (), "limit": 1001}, "limit", "from 1 to 1000"),
        ({"dimensions": ("*",), "metrics": (), "order": (Sorting("app"),)}, "order", "sorted by time"),
    ],
)
def test_questions_without_sense_are_refused(own, part, message):
    with pytest.raises(QuestionFault, match=message) as raised:
        make_plan(question(**own), COMPLETE)
    assert raised.value.part == part
