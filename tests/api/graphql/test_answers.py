from datetime import UTC, datetime

import numpy as np
import pytest

from spectrum.api.analytics.asking import QueryBudget
from spectrum.store.objects import file_id
from tests.api.analytics.kept import UNREACHABLE, KeptRows
from tests.api.serving import Api
from tests.core.analytics.rows import BEGIN, events, tables

FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "more.test": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "a": {"protocol": "tcp/1", "zone": "example.com"},
        "b": {"protocol": "tcp/2", "zone": "more.test"},
        "c": {"protocol": "tcp/3", "zone": "other.test"},
    },
}
ACME, OTHER = (file_id("accounts", name) for name in ("acme", "other"))
ZONE, MORE, THEIRS = (file_id("zones", name) for name in ("example.com", "more.test", "other.test"))


def stamp(at):
    return datetime.fromtimestamp(BEGIN + at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


HOUR = f'datetime_geq: "{stamp(0)}", datetime_lt: "{stamp(3600)}"'


@pytest.fixture(scope="module")
def connection():
    with tables(events()) as opened:
        yield opened


@pytest.fixture
async def api(tmp_path, connection):
    async with Api(tmp_path, FILE) as running:
        running.asking.service = KeptRows(connection)
        yield running


@pytest.fixture
async def client(api):
    async with api.client(await api.token("analytics:read", accounts=["acme"])) as opened:
        yield opened


async def asked(client, query, status=200, **variables):
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == status, answer.text
    return answer.json()


WHOLE_HOUR = f"filter: {{{HOUR}}}, limit: 100"


async def groups(client, fields, arguments=WHOLE_HOUR, node="spectrumEventsAdaptiveGroups", kind="string!"):
    account = f"accounts(filter: {{accountTag: $tag}}) {{ {node}({arguments}) {{ {fields} }} }}"
    answer = await asked(client, f"query ($tag: {kind}) {{ viewer {{ {account} }} }}", tag=ACME)
    assert answer["errors"] is None
    return answer["data"]["viewer"]["accounts"][0][node]


def in_account(fields, tag=ACME):
    return f'{{ viewer {{ accounts(filter: {{accountTag: "{tag}"}}) {{ {fields} }} }} }}'


def of(apps="ab", since=BEGIN, until=BEGIN + 3600, **values):
    return [
        row
        for row in events()
        if row["app"] in apps
        and since <= row["time"] < until
        and all(row[name] == value for name, value in values.items())
    ]


async def test_groups_are_sums_of_events(client):
    fields = """count sum { bytes refused } uniq { connections } avg { duration } quantiles { durationP50 durationP99 }
                min { duration } dimensions { app event } __typename"""
    found = await groups(client, fields)
    assert len(found) == 8
    for one in found:
        rows = of(**one["dimensions"])
        assert one["count"] == sum(row["weight"] for row in rows)
        assert one["sum"]["bytes"] == sum(row["client_bytes"] + row["origin_bytes"] for row in rows)
        durations = np.array([row["duration"] for row in rows if row["duration"] is not None]) / 1000
        if len(durations):
            exact = {"durationP50": np.percentile(durations, 50), "durationP99": np.percentile(durations, 99)}
            assert one["quantiles"] == pytest.approx(exact)
            assert one["avg"]["duration"] == pytest.approx(durations.mean())
        else:
            assert one["quantiles"] == {"durationP50": None, "durationP99": None}


async def test_variables_may_be_declared_either_way(client):
    assert await groups(client, "count", kind="String!") == await groups(client, "count")


async def test_groups_are_ordered(client):
    arguments = f"filter: {{{HOUR}}}, limit: 3, orderBy: [sum_bytes_DESC]"
    found = await groups(client, "sum { bytes } dimensions { clientIp }", arguments)
    octets = [one["sum"]["bytes"] for one in found]
    assert len(octets) == 3 and octets == sorted(octets, reverse=True)
    # By what is not shown, too.
    assert [one["dimensions"] for one in await groups(client, "dimensions { clientIp }", arguments)] == [
        one["dimensions"] for one in found
    ]


async def test_groups_by_time(client):
    arguments = f"filter: {{{HOUR}}}, limit: 100, orderBy: [datetimeFifteenMinutes_ASC, count_DESC]"
    found = await groups(client, "count dimensions { datetimeFifteenMinutes date app }", arguments)
    assert [one["dimensions"]["datetimeFifteenMinutes"] for one in found[::2]] == [*map(stamp, range(0, 3600, 900))]
    for one in found:
        since = datetime.fromisoformat(one["dimensions"]["datetimeFifteenMinutes"]).timestamp()
        assert one["count"] == sum(row["weight"] for row in of(one["dimensions"]["app"], since, since + 900))
        assert one["dimensions"]["date"] == "2023-11-15"
    assert found[0]["count"] >= found[1]["count"]
    few = await groups(
        client, "count dimensions { datetimeFifteenMinutes app }", arguments.replace("limit: 100", "limit: 3")
    )
    assert [one["count"] for one in few] == [one["count"] for one in found[:3]]


async def test_filters(client):
    arguments = (
        f'filter: {{{HOUR}, app: "a", OR: [{{edgePort: 22}}, {{ipVersion: 6, event_neq: "connect"}}]}}, limit: 1'
    )
    (found,) = await groups(client, "count", arguments)
    rows = [row for row in of("a") if row["edge_port"] == 22 or (row["ip_version"] == 6 and row["event"] != "connect")]
    assert found == {"count": sum(row["weight"] for row in rows)}


async def test_fragments_and_aliases(client):
    first, second = (f'spectrumEventsAdaptiveGroups(limit: 1, filter: {{{HOUR}, app: "{app}"}})' for app in "ab")
    query = in_account(
        f"first: {first} {{ ...G }} second: {second} {{ ... on spectrumEventsAdaptiveGroups {{ n: count }} }}"
    )
    query += " fragment G on spectrumEventsAdaptiveGroups { sum { bytes } sum { refused } }"
    account = (await asked(client, query))["data"]["viewer"]["accounts"][0]
    assert set(account["first"][0]["sum"]) == {"bytes", "refused"}
    assert account["second"][0]["n"] == sum(row["weight"] for row in of("b"))


async def test_zones(api, client):
    node = f"spectrumEventsAdaptiveGroups(limit: 9, filter: {{{HOUR}}}) {{ dimensions {{ app }} }}"
    query = f"query ($filter: ZoneFilter) {{ viewer {{ zones(filter: $filter) {{ zoneTag {node} }} }} }}"

    async def zones(**given):
        found = (await asked(client, query, filter=given or None))["data"]["viewer"]["zones"]
        apps = [[group["dimensions"]["app"] for group in one["spectrumEventsAdaptiveGroups"]] for one in found]
        return dict(zip([one["zoneTag"] for one in found], apps, strict=True))

    assert await zones() == {ZONE: ["a"], MORE: ["b"]}
    assert await zones(zoneTag=MORE) == {MORE: ["b"]}
    assert await zones(zoneTag_in=[MORE, ZONE]) == {ZONE: ["a"], MORE: ["b"]}
    assert set(await zones(zoneTag_gt=min(ZONE, MORE))) == {max(ZONE, MORE)}
    for theirs in (THEIRS, "0" * 32):
        answer = await asked(client, query, 403, filter={"zoneTag": theirs})
        assert answer["errors"][0]["message"] == "not authorized for that zone"


async def test_packets_of_a_network(api, connection, client):
    connection.execute(
        "INSERT INTO packets (time, app, protocol, sample_interval, bytes, outcome)"
        " SELECT make_timestamp(?::BIGINT), unnest(['a', 'c']), 'tcp', 100, 6000, 'drop'",
        [BEGIN * 1_000_000],
    )
    fields = "sum { bits packets } avg { bitRate packetRateTenSeconds } dimensions { outcome ipProtocolName }"
    (found,) = await groups(client, fields, node="spectrumNetworkAnalyticsAdaptiveGroups")
    assert found["sum"] == {"bits": 48_000, "packets": 100}
    assert found["avg"] == pytest.approx({"bitRate": 48_000 / 3600, "packetRateTenSeconds": 10})
    assert found["dimensions"] == {"outcome": "drop", "ipProtocolName": "tcp"}
    interval = "{ estimate lower upper sampleSize }"
    fields = f"confidence(level: 0.95) {{ level sum {{ packets {interval} bits {interval} }} }}"
    (found,) = await groups(client, fields, node="spectrumNetworkAnalyticsAdaptiveGroups")
    assert found["confidence"]["level"] == 0.95
    assert found["confidence"]["sum"] == {
        "packets": pytest.approx({"estimate": 100, "lower": 0, "upper": 295.01, "sampleSize": 1}, abs=0.01),
        "bits": pytest.approx({"estimate": 48_000, "lower": 0, "upper": 141_606.1, "sampleSize": 1}, abs=1),
    }
    without = "sum { packets } confidence { level }"
    (found,) = await groups(client, without, node="spectrumNetworkAnalyticsAdaptiveGroups")
    assert found == {"sum": {"packets": 100}, "confidence": None}


async def test_settings_and_budget(client):
    told = "enabled maxPageSize maxNumberOfFields maxDuration notOlderThan availableFields"
    query = in_account(f"accountTag settings {{ spectrumEventsAdaptiveGroups {{ {told} }} }}")
    query = query.replace("viewer {", "viewer { budget organizations { organizationTag }")
    viewer = (await asked(client, query))["data"]["viewer"]
    assert viewer["budget"] == 150 and viewer["organizations"] == []
    assert viewer["accounts"][0]["accountTag"] == ACME
    assert viewer["accounts"][0]["settings"]["spectrumEventsAdaptiveGroups"]["maxPageSize"] == 10_000


def node(arguments, fields="count"):
    return in_account(f"spectrumEventsAdaptiveGroups({arguments}) {{ {fields} }}")


FAULTS = {
    "level": (
        in_account(
            f"spectrumNetworkAnalyticsAdaptiveGroups(limit: 1, filter: {{{HOUR}}})"
            " { confidence(level: 95) { level } }"
        ),
        400,
        "confidence: level: 95 is not between 0 and 1",
    ),
    "syntax": ("{", 400, "Syntax Error"),
    "field": ("{ nothing }", 400, "Cannot query field 'nothing'"),
    "long": ("{ a }" + " { b }" * 3000, 400, "Document contains more"),
    "deep": ("{" * 2000, 400, ""),
    "no filter": (node("limit: 1"), 400, "of type 'spectrumEventsAdaptiveGroups_filter!' is required"),
    "no limit": (node("filter: {}"), 400, "of type 'uint64!' is required"),
    "small limit": (node("filter: {}, limit: 0"), 400, "limit: 0 is not from 1 to 10000"),
    "large limit": (node("filter: {}, limit: 10001"), 400, "limit: 10001 is not from 1 to 10000"),
    "typo": (node("filter: {appp: 1}, limit: 1"), 400, "Did you mean"),
    "value": (node('filter: {clientIp: "x"}, limit: 1'), 400, "client_ip is an address or a prefix"),
    "future": (node('filter: {datetime_geq: "2999-01-01T00:00:00Z"}, limit: 1'), 400, "since is not before until"),
    "order": (node("filter: {}, limit: 1, orderBy: [app_ASC]"), 400, "app is not among the dimensions"),
    "buckets": (
        node('filter: {date_geq: "2020-01-01"}, limit: 1', "dimensions { datetimeMinute }"),
        400,
        "10000 buckets",
    ),
    "account": (in_account("accountTag", OTHER), 403, "not authorized for that account"),
    "no account": (in_account("accountTag", "0" * 32), 403, "not authorized for that account"),
    "zones": ("{ viewer { zones(limit: 11) { zoneTag } } }", 400, "limit: 11 is not from 1 to 10"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_faults_have_the_documented_form(client, name):
    query, status, message = FAULTS[name]
    answer = await asked(client, query, status)
    assert answer["data"] is None
    fault = answer["errors"][0]
    assert message in fault["message"]
    assert set(fault) == {"message", "path", "extensions"} and fault["extensions"]["timestamp"].endswith("Z")


async def test_a_query_has_so_many_nodes(client):
    nodes = " ".join(f"n{at}: spectrumEventsAdaptiveGroups(limit: 1, filter: {{}}) {{ count }}" for at in range(21))
    answer = await asked(client, in_account(nodes), 400)
    assert "at most 20 nodes" in answer["errors"][0]["message"]


async def test_limits_and_a_store_that_does_not_answer(api, client):
    api.asking.budget = QueryBudget(0.0)
    assert "please wait" in (await asked(client, node("filter: {}, limit: 1"), 429))["errors"][0]["message"]
    assert (await asked(client, "{ viewer { budget } }"))["data"]["viewer"]["budget"] == 0
    api.asking.budget = QueryBudget()
    api.asking.service.fault = UNREACHABLE
    assert "no route to host" in (await asked(client, node("filter: {}, limit: 1"), 503))["errors"][0]["message"]
    api.asking.service.fault = RuntimeError("secret")
    answer = await asked(client, node("filter: {}, limit: 1"), 500)
    assert answer["errors"][0]["message"] == "Internal error"


NO_QUERIES = (
    None,
    [],
    {},
    {"query": 5},
    {"query": "{cost}", "variables": []},
    {"query": "{cost}", "operationName": 1},
)


async def test_invalid_queries(client):
    for body in NO_QUERIES:
        answer = await client.post("/graphql", json=body)
        assert answer.status_code == 400 and answer.json()["data"] is None, body


async def test_fragments_count_as_often_as_they_are_spread(client):
    kind = "spectrumEventsAdaptiveGroups"

    def doubled(times):
        spread = [f"fragment f{at} on {kind} {{ ...f{at + 1} ...f{at + 1} }}" for at in range(times)]
        node = f"{kind}({WHOLE_HOUR}) {{ ...f0 }}"
        return f"{in_account(node)} {' '.join(spread)} fragment f{times} on {kind} {{ count }}"

    found = await asked(client, doubled(3))
    assert found["data"]["viewer"]["accounts"][0][kind][0]["count"] > 0
    refused = await asked(client, doubled(10), 400)
    assert "at most 1000 fields" in refused["errors"][0]["message"]


async def test_a_fragment_in_itself_is_refused(client):
    found = await asked(client, "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a ...a }", 400)
    assert "Cannot spread fragment" in found["errors"][0]["message"]
