import asyncio
import json
import math
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from cloudflare import BadRequestError, NotFoundError, RateLimitError

from spectrum.analytics.store import QuestionTooLarge
from spectrum.api.analytics.asking import AT_ONCE, QueryBudget
from spectrum.kernel.peers import Peer
from spectrum.store.objects import file_id
from tests.api.analytics.kept import UNREACHABLE, KeptRows
from tests.api.serving import Api
from tests.core.analytics.rows import BEGIN, events, tables
from tests.engine.harness import eventually

FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "a": {"protocol": "tcp/1", "zone": "example.com"},
        "b": {"protocol": "tcp/2", "zone": "example.com"},
        "c": {"protocol": "tcp/3", "zone": "other.test"},
    },
}
ZONE, THEIRS = file_id("zones", "example.com"), file_id("zones", "other.test")
ACCOUNT = file_id("accounts", "acme")
A, B, C = (file_id("apps", name) for name in "abc")
SINCE, UNTIL = (datetime.fromtimestamp(BEGIN + at, UTC) for at in (0, 3600))
METRICS = ["count", "bytesIngress", "bytesEgress", "durationAvg", "durationMedian", "duration90th", "duration99th"]
QUERY = f"/accounts/{ACCOUNT}/analytics/query"
QUERIES = f"/accounts/{ACCOUNT}/analytics/queries"


@pytest.fixture(scope="module")
def connection():
    with tables(events()) as opened:
        yield opened


@pytest.fixture
async def api(tmp_path, connection):
    async with Api(tmp_path, FILE) as running:
        running.asking.service = KeptRows(connection)
        yield running


def of(app=None, since=BEGIN, until=BEGIN + 3600, **values):
    apps = "ab" if app is None else app
    return [
        row
        for row in events()
        if row["app"] in apps
        and since <= row["time"] < until
        and all(row[name] == value for name, value in values.items())
    ]


async def test_the_official_client_sums_events_up(api):
    sdk = api.sdk(await api.token("analytics:read", zones=["example.com"]))
    found = await sdk.spectrum.analytics.events.summaries.get(
        zone_id=ZONE, metrics=METRICS, dimensions=["appID", "event"], since=SINCE, until=UNTIL, sort=["-count"]
    )
    assert found.rows == len(found.data) == 8
    for one in found.data:
        app_id, event = one.dimensions
        rows = of({A: "a", B: "b"}[app_id], event=event)
        durations = np.array([row["duration"] for row in rows if row["duration"] is not None]) / 1000
        exact = [*np.percentile(durations, [50, 90, 99])] if len(durations) else [0] * 3
        assert one.metrics == pytest.approx(
            [
                sum(row["weight"] for row in rows),
                sum(row["client_bytes"] for row in rows),
                sum(row["origin_bytes"] for row in rows),
                durations.mean() if len(durations) else 0,
                *exact,
            ]
        )
    counts = [one.metrics[0] for one in found.data]
    assert counts == sorted(counts, reverse=True)
    assert found.totals["count"] == sum(row["weight"] for row in of())
    assert (found.min["count"], found.max["count"]) == (counts[-1], counts[0])
    assert found.query.dimensions == ["appID", "event"] and found.query.metrics == METRICS
    assert (found.query.since, found.query.until, found.query.sort) == (SINCE, UNTIL, ["-count"])
    assert found.data_lag == 0


async def test_the_official_client_sums_events_up_by_time(api):
    sdk = api.sdk(await api.token("analytics:read"))
    asked = {"zone_id": ZONE, "since": datetime.fromtimestamp(BEGIN + 30, UTC), "until": UNTIL}
    found = await sdk.spectrum.analytics.events.bytimes.get(
        time_delta="dekaminute", metrics=["count", "bytesEgress"], dimensions=["event"], filters=f"appID=={A}", **asked
    )
    assert len(found.time_intervals) == 6
    assert found.time_intervals[0] == [asked["since"], datetime.fromtimestamp(BEGIN + 600, UTC)]
    assert found.time_intervals[-1][1] == UNTIL
    for one in found.data:
        counts, sent = one.metrics
        for (start, end), count, octets in zip(found.time_intervals, counts, sent, strict=True):
            rows = of("a", start.timestamp(), end.timestamp(), event=one.dimensions[0])
            assert (count, octets) == (sum(row["weight"] for row in rows), sum(row["origin_bytes"] for row in rows))
    assert found.max["count"] == max(max(one.metrics[0]) for one in found.data)
    assert found.totals["count"] == sum(sum(one.metrics[0]) for one in found.data)
    nothing = await sdk.spectrum.analytics.events.bytimes.get(
        time_delta="week", zone_id=ZONE, since=datetime(2020, 1, 1, tzinfo=UTC), until=datetime(2020, 1, 10, tzinfo=UTC)
    )
    assert nothing.data[0].metrics == [[0, 0]] and nothing.data[0].dimensions == []
    assert nothing.totals == nothing.min == nothing.max == {"count": 0}


async def test_the_last_minute_of_each_app(api, monkeypatch):
    monkeypatch.setattr("time.time", lambda: BEGIN + 600.0)
    sdk = api.sdk(await api.token("analytics:read"))
    found = {one.app_id: one for one in await sdk.spectrum.analytics.aggregates.currents.get(zone_id=ZONE)}
    assert set(found) == {A, B}
    rows = of("a", BEGIN + 540, BEGIN + 600)
    assert found[A].bytes_ingress == sum(row["client_bytes"] for row in rows)
    assert found[A].connections == len({row["session"] for row in rows} - {""})
    (only,) = await sdk.spectrum.analytics.aggregates.currents.get(zone_id=ZONE, app_id=f"{B},{C},{'0' * 32}")
    assert only == found[B]
    assert await sdk.spectrum.analytics.aggregates.currents.get(zone_id=ZONE, colo_name="fra") == []


async def test_two_tenants(api):
    ours, theirs = [await api.token("analytics:read", accounts=[name]) for name in ("acme", "other")]
    async with api.client(ours) as client:
        assert (await client.get(f"/zones/{THEIRS}/spectrum/analytics/events/summary")).status_code == 403
        asked = {"metrics": ["count"], "dimensions": ["app"], "since": BEGIN, "until": BEGIN + 3600}
        result = (await client.post(QUERY, json=asked)).json()["result"]
        assert [row[0] for row in result["rows"]] == ["a", "b"]
        for tried in (
            "app==c",
            f"appID=={C}",
            "app!=a;app!=b",
            "app>b",
            [{"dimension": "app", "op": "like", "values": ["c"]}],
        ):
            found = (await client.post(QUERY, json=asked | {"filter": tried, "others": True, "limit": 1})).json()[
                "result"
            ]
            assert (found["rows"], found["totals"], found["rows_read"]) == ([], {"count": 0}, 0), tried
        everything = {"metrics": [], "dimensions": ["*"], "since": BEGIN, "until": BEGIN + 3600, "limit": 1000}
        rows = (await client.post(QUERY, json=everything)).json()["result"]
        at = [column["name"] for column in rows["columns"]].index("app")
        assert {row[at] for row in rows["rows"]} == {"a", "b"}
        changes = {"table": "changes", "metrics": ["count"], "dimensions": ["author"]}
        assert (await client.post(QUERY, json=changes)).json()["result"]["totals"] == {"count": 0}
    async with api.client(theirs) as client:
        found = (
            await client.get(
                f"/zones/{THEIRS}/spectrum/analytics/events/summary", params={"since": BEGIN, "until": BEGIN + 3600}
            )
        ).json()
        assert found["result"]["totals"] == {"count": sum(row["weight"] for row in of("c"))}


async def test_a_question_of_an_account(api):
    async with api.client(await api.token("analytics:read")) as client:
        asked = {
            "metrics": ["count", "durationMedian", "clients"],
            "dimensions": ["appID"],
            "since": BEGIN + 1800,
            "until": BEGIN + 3600,
            "limit": 1,
            "others": True,
            "compare": "period",
        }
        result = (await client.post(QUERY, json=asked)).json()["result"]
        assert [row[0] for row in result["rows"]] == [A, None]
        assert (
            sum(row[1] for row in result["rows"])
            == result["totals"]["count"]
            == sum(row["weight"] for row in of(since=BEGIN + 1800))
        )
        assert result["columns"][:2] == [
            {"name": "appID", "kind": "dimension", "unit": "", "label": "App"}
            | {"label": result["columns"][0]["label"]},
            {"name": "count", "kind": "sum", "unit": ""} | {"label": result["columns"][1]["label"]},
        ]
        assert [one["kind"] for one in result["columns"]] == ["dimension", "sum", "duration", "distinct"]
        assert (result["groups"], result["partial"], result["as_of"]) == (2, None, 0)
        before = result["previous"]
        assert (before["since"], before["until"]) == (BEGIN, BEGIN + 1800)
        assert before["totals"]["count"] == sum(row["weight"] for row in of(until=BEGIN + 1800))
        assert [row[:2] for row in before["rows"]] == [[A, sum(row["weight"] for row in of("a", until=BEGIN + 1800))]]


async def test_a_question_by_time_is_compared_all_together(api):
    async with api.client(await api.token("analytics:read")) as client:
        asked = {
            "metrics": ["count"],
            "dimensions": ["app"],
            "since": BEGIN + 1800,
            "until": BEGIN + 3600,
            "bucket": 600,
        }
        result = (await client.post(QUERY, json=asked | {"compare": "period"})).json()["result"]
        assert [row[:2] for row in result["rows"][:3]] == [[BEGIN + at, "a"] for at in (1800, 2400, 3000)]
        before = result["previous"]
        assert before["columns"] == ["time", "count"]
        assert before["rows"] == [
            [BEGIN + 1800 + at, sum(row["weight"] for row in of(since=BEGIN + at, until=BEGIN + at + 600))]
            for at in (0, 600, 1200)
        ]
        alone = (await client.post(QUERY, json=asked | {"dimensions": [], "bucket": None, "compare": "period"})).json()
        assert alone["result"]["previous"]["rows"] == [[sum(row[1] for row in before["rows"])]]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"metrics": "cuont"}, "did you mean"),
        ({"dimensions": "apID"}, "did you mean"),
        ({"filters": "event=connect"}, "filters: at character 6"),
        ({"filters": "apID==1"}, "did you mean"),
        ({"since": "yesterday"}, "since: "),
        ({"since": "2030-01-01T00:00:00Z"}, "since is not before until"),
        ({"sort": "bytesIngress"}, "'bytesIngress' is not part of the question: count"),
        ({"limit": "0"}, "greater than or equal to 1"),
    ],
)
async def test_a_fault_of_a_query_says_what_would_be_right(api, query, message):
    async with api.client() as client:
        answer = await client.get(f"/zones/{ZONE}/spectrum/analytics/events/summary", params=query)
        assert answer.status_code == 400
        assert message in answer.json()["errors"][0]["message"]


async def test_faults_of_time_deltas(api):
    async with api.client() as client:
        path = f"/zones/{ZONE}/spectrum/analytics/events/bytime"
        assert (await client.get(path)).status_code == 400
        assert (await client.get(path, params={"time_delta": "decade"})).status_code == 400
        long = {"time_delta": "minute", "since": "2020-01-01T00:00:00Z"}
        assert "10000 buckets" in (await client.get(path, params=long)).json()["errors"][0]["message"]


async def test_a_fault_of_a_body_says_where(api):
    async with api.client() as client:
        answer = await client.post(QUERY, json={"metrics": ["count"], "dimensions": ["apID"]})
        assert answer.json()["errors"][0]["source"]["pointer"] == "/dimensions"
        answer = await client.post(QUERY, json={"metrics": ["count"], "filter": "app="})
        assert answer.json()["errors"][0]["source"]["pointer"] == "/filter"


async def test_a_token_without_the_permission_asks_nothing(api):
    async with api.client(await api.token("apps:edit")) as client:
        assert (await client.post(QUERY, json={"metrics": ["count"]})).status_code == 403
        assert (await client.get(f"/zones/{ZONE}/spectrum/analytics/aggregate/current")).status_code == 403


async def test_the_official_client_hears_of_limits_and_stores(api):
    sdk = api.sdk(await api.token("analytics:read"))
    get = sdk.spectrum.analytics.events.summaries.get
    api.asking.budget = QueryBudget(0.0)
    with pytest.raises(RateLimitError):
        await get(zone_id=ZONE)
    api.asking.budget = QueryBudget()
    with pytest.raises(BadRequestError):
        await get(zone_id=ZONE, filters="nonsense")
    api.asking.service.fault = UNREACHABLE
    async with api.client() as client:
        assert (await client.get(f"/zones/{ZONE}/spectrum/analytics/events/summary")).status_code == 503
    api.asking.service = api.analytics
    with pytest.raises(NotFoundError, match="analytics: true"):
        await get(zone_id=ZONE)


async def test_every_number_is_finite(api):
    async with api.client() as client:
        for dimension in ("event", "client_ip"):
            query = {"metrics": METRICS, "dimensions": dimension, "since": BEGIN, "until": BEGIN + 60}
            result = (await client.get(f"/zones/{ZONE}/spectrum/analytics/events/summary", params=query)).json()[
                "result"
            ]
            assert all(math.isfinite(value) for one in result["data"] for value in one["metrics"])


async def test_several_questions_are_answered_as_each_alone(api):
    asked = [
        {"metrics": ["count"], "dimensions": ["app"], "since": BEGIN, "until": BEGIN + 3600, "compare": "period"},
        {"metrics": ["count"], "filter": "app="},
        {"table": "events", "dimensions": ["*"], "since": BEGIN, "until": BEGIN + 3600, "limit": 3},
        "no question",
        {"metrics": ["clients"], "bucket": 600, "since": BEGIN, "until": BEGIN + 3600},
    ]
    async with api.client(await api.token("analytics:read", accounts=["acme"])) as client:
        answer = await client.post(QUERIES, json={"questions": asked})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        lines = {one["index"]: one for one in map(json.loads, answer.text.splitlines())}
        assert sorted(lines) == [0, 1, 2, 3, 4]
        for number, one in enumerate(asked):
            alone = await client.post(QUERY, json=one)
            told = lines[number]
            assert told["status"] == alone.status_code == (400 if number in (1, 3) else 200)
            expected = alone.json()
            for answered in (told["answer"], expected):
                (answered["result"] or {}).pop("data_lag", None)  # it is of now
            assert told["answer"] == expected
        assert lines[1]["answer"]["errors"][0]["source"] == {"pointer": "/filter"}
    async with api.client(await api.token("analytics:read", accounts=["other"])) as client:
        assert (await client.post(QUERIES, json={"questions": asked})).status_code == 403


@pytest.mark.parametrize("body", [{}, [], {"questions": {}}, {"questions": []}, {"questions": [{}] * 33}])
async def test_how_many_questions_may_be_asked_at_once(api, body):
    async with api.client() as client:
        answer = await client.post(QUERIES, json=body)
        assert answer.status_code == 400
        assert "questions" in answer.json()["errors"][0]["message"]


async def test_a_fault_of_one_of_several_questions_is_its_own(api, monkeypatch, caplog):
    async with api.client() as client:
        monkeypatch.setattr("spectrum.api.routes.analytics.shift_of", lambda compare, question: 1 / 0)
        asked = [{"metrics": ["count"], "compare": "day"}, {"metrics": ["count"]}]
        answer = await client.post(QUERIES, json={"questions": asked})
        found = {one["index"]: one["status"] for one in map(json.loads, answer.text.splitlines())}
        assert found == {0: 500, 1: 200}
        assert "one of its questions failed" in caplog.text


async def test_several_questions_end_when_their_client_leaves(api, monkeypatch):
    """Two are asked of the store and interrupted; the others are never asked."""
    running, left, statuses = [], asyncio.Event(), []

    def ask(question, timeout_s, cancellation):
        ended = threading.Event()
        running.append(question)
        with cancellation.interrupting(ended.set):
            assert ended.wait(10)
        statuses.append(cancellation.is_set)
        raise QuestionTooLarge("it was interrupted")

    monkeypatch.setattr(api.asking.service, "ask", ask)
    body = json.dumps({"questions": [{"metrics": ["count"]}] * 5}).encode()
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if parts:
            return parts.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    path = f"/client/v4{QUERIES}"
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"api")], "client": ("192.0.2.7", 1),
        "server": ("api", 80), "state": {"peer": Peer(1, 0)},
    }  # fmt: skip
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(api.app(scope, receive, send))
        await asyncio.to_thread(eventually, lambda: len(running) == AT_ONCE)
        left.set()
    await asyncio.to_thread(eventually, lambda: statuses == [True] * AT_ONCE)
    await asyncio.sleep(0.05)
    assert len(running) == AT_ONCE
