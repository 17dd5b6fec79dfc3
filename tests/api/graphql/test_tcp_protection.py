import pytest

from spectrum.api.graphql.tcp_protection import DERIVED, NODES, compared, merged, only
from spectrum.core.analytics.question import AllOf, AnyOf, Compare
from tests.api.analytics.kept import KeptRows
from tests.api.graphql.test_answers import BEGIN, FILE, asked, groups, in_account
from tests.api.serving import Api
from tests.core.analytics.rows import events, tables

WHOLE = "limit: 10, filter: "
PACKETS = [
    ("tcp_dropped not_found", 1, 10, 1),
    ("tcp_monitored not_found", 2, 20, 1),
    ("tcp_passed not_found", 4, 40, 1),
    ("tcp_dropped challenge_needed", 8, 80, 2),
    ("passed", 100, 100, 1),
    ("rule tcp_dropped not_found", 100, 100, 1),
]


def test_what_a_verdict_says():
    said = {name: of("tcp_monitored out_of_sequence") for name, of in DERIVED.items()}
    assert said == {"mitigationReason": "OUT_OF_SEQUENCE", "verdict": "drop"}
    assert DERIVED["verdict"]("tcp_passed not_found") == "pass"


def test_filters_by_what_a_verdict_says():
    results = ("tcp_dropped", "tcp_monitored", "tcp_passed")
    expected = Compare("verdict", "=", tuple(f"{result} not_found" for result in results))
    assert compared("mitigationReason", "", "NOT_FOUND") == expected
    assert compared("mitigationReason", "_in", ["NOT_FOUND", "none"]) == expected
    assert len(compared("mitigationReason", "_neq", "NOT_FOUND").values) == 15
    assert len(compared("verdict", "_notin", ["drop"]).values) == 6
    assert compared("verdict", "", "none") == AnyOf(())
    assert only(expected) == AllOf((only(), expected)) and len(only().values) == 18


def test_rows_of_the_same_keys_are_one():
    assert merged([(("a",), (1, 2)), (("b",), (3, 4)), (("a",), (5, 6))]) == [("a", 6, 8), ("b", 3, 4)]


@pytest.fixture
async def client(tmp_path):
    with tables(events()[:1]) as connection:
        for verdict, interval, size, second in PACKETS:
            connection.execute(
                "INSERT INTO packets BY NAME SELECT make_timestamp(CAST(? AS BIGINT)) AS time, 'a' AS app,"
                " ? AS verdict, ? AS sample_interval, ? AS bytes, 'tcp' AS protocol",
                [(BEGIN + second * 60) * 1_000_000, verdict, interval, size],
            )
        async with Api(tmp_path, FILE) as running:
            running.asking.service = KeptRows(connection)
            async with running.client(await running.token("analytics:read", accounts=["acme"])) as opened:
                yield opened


@pytest.mark.parametrize("node", NODES)
async def test_groups_of_packets_that_were_judged(client, node):
    day = '{datetime_geq: "2023-11-14T00:00:00Z", datetime_lt: "2023-11-16T00:00:00Z"}'
    sums = "sum { packets bits } confidence(level: 0.9) { sum { packets { estimate } } }"
    by = f"dimensions {{ mitigationReason verdict }} {sums}"
    found = await groups(client, by, f"{WHOLE}{day}, orderBy: [sum_packets_DESC]", node)
    shown = [(*one["dimensions"].values(), one["sum"]["packets"], one["sum"]["bits"]) for one in found]
    assert shown == [
        ("CHALLENGE_NEEDED", "drop", 8, 640),
        ("NOT_FOUND", "pass", 4, 320),
        ("NOT_FOUND", "drop", 3, 240),
    ]
    assert [one["confidence"]["sum"]["packets"]["estimate"] for one in found] == [8, 4, 3]
    (one,) = await groups(
        client,
        "dimensions { mitigationReason } sum { packets }",
        f"limit: 1, filter: {day}, orderBy: [mitigationReason_DESC]",
        node,
    )
    assert one == {"dimensions": {"mitigationReason": "NOT_FOUND"}, "sum": {"packets": 7}}
    (one,) = await groups(client, "sum { packets }", f"{WHOLE}{day}", node)
    assert one["sum"]["packets"] == 15, "what nobody judged is not there"
    chosen = day.replace("{", '{verdict: "drop", mitigationReason_in: ["NOT_FOUND"], ', 1)
    (one,) = await groups(client, "sum { packets } dimensions { ipProtocolName }", f"{WHOLE}{chosen}", node)
    assert one == {"sum": {"packets": 3}, "dimensions": {"ipProtocolName": "tcp"}}
    by_minute = "dimensions { datetimeMinute mitigationReason } sum { packets }"
    found = await groups(client, by_minute, f"{WHOLE}{day}, orderBy: [datetimeMinute_ASC]", node)
    assert [(one["dimensions"]["mitigationReason"], one["sum"]["packets"]) for one in found] == [
        ("NOT_FOUND", 7),
        ("CHALLENGE_NEEDED", 8),
    ]


async def test_it_tells_of_itself(client):
    told = await asked(client, in_account(f"settings {{ {NODES[0]} {{ enabled availableFields }} }}"))
    fields = told["data"]["viewer"]["accounts"][0]["settings"][NODES[0]]["availableFields"]
    assert "dimensions.verdict" in fields and "sum.packets" in fields
