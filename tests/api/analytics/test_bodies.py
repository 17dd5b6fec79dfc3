from types import SimpleNamespace

import pytest

from spectrum.api.analytics.bodies import asked_by, shift_of
from spectrum.api.envelope import BodyFault
from spectrum.core.analytics.question import Compare, Question, Sorting

NOW = 1_795_701_600.0
NAMES = SimpleNamespace(name_of=lambda app_id: {"1" * 32: "ssh"}.get(app_id, "\0"))


def test_a_body_asks_a_question():
    body = {
        "metrics": ["count", "bytes"],
        "dimensions": ["appID", "event"],
        "filter": f"appID=={'1' * 32}",
        "since": "2026-11-26T13:00:00Z",
        "bucket": "minute",
        "order": ["-bytes", "event"],
        "limit": 5,
        "others": True,
        "compare": "week",
    }
    asked = asked_by(body, NOW, NAMES)
    assert asked.question == Question(
        "events",
        ("count", "bytes"),
        ("appID", "event"),
        NOW - 3600,
        NOW,
        where=Compare("app", "=", ("ssh",)),
        bucket=60,
        order=(Sorting("bytes", True), Sorting("event")),
        limit=5,
        others=True,
    )
    assert (asked.compare, asked.app_ids) == ("week", (0,))


def test_what_is_left_out():
    asked = asked_by({}, NOW, NAMES)
    assert asked.question == Question("events", (), (), NOW - 6 * 3600, NOW)
    assert asked.compare is None


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ([], "", "expected a JSON object"),
        (None, "", "expected a JSON object"),
        ({"metric": []}, "/metric", "unknown field metric"),
        ({"metrics": ["count", 5]}, "/metrics/1", "Expected str, got int"),
        ({"limit": "5"}, "/limit", "Expected int"),
        ({"compare": "year"}, "/compare", "Invalid enum value"),
        ({"table": "evnts"}, "/table", "did you mean"),
        ({"since": "yesterday"}, "/since", "is not a time"),
        ({"until": -5}, "/until", "is not a time"),
        ({"bucket": "fortnight"}, "/bucket", "is not a duration"),
        ({"filter": "app="}, "/filter", "at character 4"),
        ({"filter": [{"dimension": "aap", "values": ["x"]}]}, "/filter/0/dimension", "did you mean"),
        ({"filter": "appID>5"}, "/filter", "compared by == and !="),
    ],
)
def test_a_fault_says_where(body, pointer, message):
    with pytest.raises(BodyFault, match=message) as raised:
        asked_by(body, NOW, NAMES)
    assert raised.value.details[0].pointer == pointer


def test_periods_before():
    question = Question("events", (), (), 100.0, 160.0)
    assert [shift_of(one, question) for one in ("day", "week", "period")] == [86400, 604800, 60]
