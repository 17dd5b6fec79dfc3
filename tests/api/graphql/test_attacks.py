from datetime import UTC, datetime

import pytest

from spectrum.api.graphql.attacks import FIELDS, NODE, attack_groups
from spectrum.core.analytics.columns import ATTACKS
from spectrum.store.objects import file_id
from tests.api.analytics.kept import KeptRows
from tests.api.serving import Api
from tests.core.analytics.rows import tables

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
AT_US = int(AT.timestamp() * 1e6)
FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "game": {"protocol": "udp/1", "zone": "example.com"},
        "theirs": {"protocol": "tcp/3", "zone": "other.test"},
    },
}
SPAN = 'datetime_geq: "2026-11-26T11:00:00Z", datetime_lt: "2026-11-26T14:00:00Z"'


def row(second, **own):
    values = {
        "attack": "a1",
        "app": "game",
        "vector": "NTP",
        "managed_rule": "f" * 32,
        "rule": "ddos-1",
        "action": "block",
        "destination": "192.0.2.1",
        "protocol": "udp",
        "began": AT_US,
        "time": datetime.fromtimestamp(AT.timestamp() + second, UTC).replace(tzinfo=None),
    } | own
    empty = {"VARCHAR": "", "BLOB": b""}
    return [values.get(column.name, empty.get(column.duckdb, 0)) for column in ATTACKS.columns]


ROWS = [
    row(1, packets=10, bytes=1000, dropped_packets=10, dropped_bytes=1000, packets_per_second=500),
    row(2, packets=30, bytes=3000, dropped_packets=30, dropped_bytes=3000, destination="192.0.2.0/24"),
    row(60, ended=AT_US + 60_000_000, destination="192.0.2.0/24"),
    row(3, vector="SYN flood", protocol="tcp", rule="ddos-2", action="log", packets=5, bytes=300),
    row(4, attack="a2", began=AT_US + 1_000_000, packets=50, bytes=1),
    row(5, attack="a3", app="theirs", packets=70, bytes=1),
]


@pytest.fixture
async def client(tmp_path):
    with tables([]) as connection:
        places = ", ".join("?" * len(ATTACKS.columns))
        connection.executemany(f"INSERT INTO attacks VALUES ({places})", ROWS)
        async with Api(tmp_path, FILE) as api:
            api.asking.service = KeptRows(connection)
            async with api.client(await api.token("analytics:read", accounts=["acme"])) as opened:
                yield opened


async def asked(client, node, fields, arguments):
    query = (
        f'{{ viewer {{ accounts(filter: {{accountTag: "{file_id("accounts", "acme")}"}})'
        f" {{ {node}({arguments}) {{ {fields} }} }} }} }}"
    )
    answer = (await client.post("/graphql", json={"query": query})).json()
    return answer["errors"] or answer["data"]["viewer"]["accounts"][0][node]


async def test_a_flat_object_for_each_attack_and_vector(client):
    found = await asked(client, NODE, " ".join(FIELDS), f"filter: {{{SPAN}}}, limit: 10, orderBy: [packets_DESC]")
    assert [(one["attackId"], one["attackVector"], one["packets"]) for one in found] == [
        ("a2", "NTP", 50),
        ("a1", "NTP", 40),
        ("a1", "SYN flood", 5),
    ]
    assert found[1] | {"rulesetId": ""} == {
        "attackId": "a1",
        "attackType": "NTP",
        "attackVector": "NTP",
        "applicationTag": "game",
        "bits": 32_000,
        "packets": 40,
        "droppedBits": 32_000,
        "droppedPackets": 40,
        "destinationIp": "192.0.2.0/24",
        "destinationPort": 0,
        "ipProtocol": 17,
        "ipProtocolName": "UDP",
        "startDatetime": "2026-11-26T12:00:00Z",
        "endDatetime": "2026-11-26T12:01:00Z",
        "mitigationReason": "",
        "mitigationScope": "local",
        "mitigationType": "block",
        "ruleId": "f" * 32,
        "ruleName": "ddos-1",
        "rulesetId": "",
        "rulesetOverrideId": "",
    }
    assert (found[0]["endDatetime"], found[2]["droppedPackets"]) == (None, 0)
    latest = await asked(client, NODE, "attackId", f'filter: {{{SPAN}, attackVector: "NTP"}}, limit: 1')
    assert latest == [{"attackId": "a2"}]


async def test_groups_of_what_matched(client):
    fields = "sum { packets droppedBits } avg { packetRate } max { packetRate } dimensions { attackId ruleName }"
    arguments = f"filter: {{{SPAN}}}, limit: 10, orderBy: [sum_packets_DESC]"
    found = await asked(client, "dosdNetworkAnalyticsAdaptiveGroups", fields, arguments)
    assert [one["sum"]["packets"] for one in found] == [50, 40, 5]
    assert found[1]["dimensions"] == {"attackId": "a1", "ruleName": "ddos-1"}
    assert found[1]["max"]["packetRate"] == 500
    assert found[1]["avg"]["packetRate"] == pytest.approx(40 / 10_800)
    fields = "dimensions { attackId } confidence(level: 0.9) { sum { packets { estimate lower upper sampleSize } } }"
    found = await asked(client, "dosdNetworkAnalyticsAdaptiveGroups", fields, arguments)
    assert found[1]["confidence"]["sum"]["packets"] == {"estimate": 45, "lower": 45, "upper": 45, "sampleSize": 45}


async def test_what_makes_no_sense(client):
    assert "is not from 1" in (await asked(client, NODE, "packets", f"filter: {{{SPAN}}}, limit: 0"))[0]["message"]
    wrong = f"filter: {{{SPAN}, destinationPort: 1e99}}, limit: 1"
    assert "destinationPort" in (await asked(client, NODE, "packets", wrong))[0]["message"]


def test_without_rows():
    assert attack_groups([[], [], []], [], 10) == []
