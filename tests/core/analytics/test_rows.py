from ipaddress import ip_address, ip_network

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics.columns import ATTACKS, CHANGES, EVENTS, HEALTH
from spectrum.core.analytics.rows import CHANGE_EVENTS, HEALTH_EVENTS, fields_of, numbered, prefix_of, query_of, sifted
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.ddos.attack_records import records_of
from spectrum.core.records.reasons import Reason
from tests.analytics.records import NOON, SOURCE, batch, record
from tests.core.ddos.attack_samples import NOW, event, rule


@pytest.fixture(scope="module")
def database():
    connection = duckdb.connect(":memory:")
    yield connection
    connection.close()


def rows(database, folder, table, records):
    """The rows of records, by the names of columns."""
    path = folder / "lines.json"
    path.write_bytes(numbered(batch(records)))
    fields = ", ".join(f"'{name}': '{kind}'" for name, kind in fields_of(table).items())
    found = database.execute(
        query_of(
            table, f"read_json('{path}', format = 'newline_delimited', columns = {{{fields}}}, ignore_errors = true)"
        )
    ).fetchall()
    return [dict(zip((column.name for column in table.columns), row, strict=True)) for row in found]


def test_lines_with_their_numbers():
    lines = numbered(batch([record(), record(1), record(2)], sequence=41), skipped=1)
    decoded = [msgspec.json.decode(line) for line in lines.splitlines()]
    assert [one["Sequence"] for one in decoded] == [42, 43]
    assert {one["Source"] for one in decoded} == {"edge1/0/66121c7704295"}
    assert decoded[0]["Event"] == "disconnect"


def test_a_session(database, tmp_path):
    attempt = {"Origin": "10.0.0.4:22", "Reason": "connect_refused"}
    (row,) = rows(
        database, tmp_path, EVENTS, [msgspec.structs.replace(record(), Attempts=[attempt], Pool="p", OriginName="a")]
    )
    assert row["time"] == NOON.replace(tzinfo=None)
    assert {
        name: row[name] for name in ("source", "sequence", "node", "event", "app", "outcome", "origin", "weight")
    } == {
        "source": "edge1/0/66121c7704295",
        "sequence": 1,
        "node": "edge1",
        "event": "disconnect",
        "app": "ssh",
        "outcome": "passed",
        "origin": "p/a",
        "weight": 1,
    }
    assert (row["client_ip"], row["client_prefix"], row["ip_version"]) == ("203.0.113.7", "203.0.113.0/24", 4)
    assert (row["duration"], row["connect_duration"], row["client_rtt"], row["origin_rtt"]) == (
        2_000_000,
        3000,
        20_000,
        None,
    )
    assert (row["client_bytes"], row["origin_bytes"], row["client_packets"]) == (100, 1000, 0)
    assert msgspec.json.decode(row["attempts"]) == [attempt]
    assert (row["limit_hit"], row["sni"], row["tls_version"]) == ("", "", "none")


OPEN = {"Status": 0, "Reason": "", "DisconnectTimestamp": None}


def test_what_each_record_says_was_moved(database, tmp_path):
    since = {"ClientBytesSince": 30, "OriginBytesSince": 400, "ClientDatagramsSince": 3, "OriginDatagramsSince": 4}
    datagrams = {"ClientDatagrams": 9, "OriginDatagrams": 9}
    found = rows(
        database,
        tmp_path,
        EVENTS,
        [
            record(Event="connect", **OPEN),
            record(Event="progress", **OPEN, **datagrams, **since),
            record(**datagrams, **since),
            record(**datagrams),
        ],
    )
    moved = ("client_bytes", "origin_bytes", "client_packets", "origin_packets")
    assert [tuple(row[name] for name in moved) for row in found] == [
        (0, 0, 0, 0),
        (30, 400, 3, 4),
        (30, 400, 3, 4),
        (100, 1000, 9, 9),
    ]
    assert [row["duration"] for row in found[:2]] == [None, None], "of sessions that ended alone"
    assert [row["client_rtt"] for row in found[:2]] == [None, None]


def test_a_record_that_stands_for_others(database, tmp_path):
    refused = {"Event": "clientFiltered", "Reason": "client_rate", "Status": 403, "ConnectTimestamp": None}
    datagrams = {"ClientDatagrams": 9, "OriginDatagrams": 8}
    found = rows(
        database,
        tmp_path,
        EVENTS,
        [
            record(SampledOneIn=4, **datagrams),
            record(SampledOneIn=8, **refused, Sessions=5),
            record(SampledOneIn=2**31, **refused, Sessions=2**20),
        ],
    )
    moved = ("weight", "client_bytes", "origin_bytes", "client_packets", "origin_packets")
    assert tuple(found[0][name] for name in moved) == (4, 400, 4000, 36, 32)
    assert [row["weight"] for row in found[1:]] == [40, 2**32 - 1]
    assert found[0]["duration"] == 2_000_000


def test_sums_of_refusals(database, tmp_path):
    refused = {"Event": "clientFiltered", "Reason": "client_rate", "Status": 403, "ConnectTimestamp": None}
    found = rows(
        database,
        tmp_path,
        EVENTS,
        [record(**refused, Sessions=5), record(**refused, Sessions=70, Clients=9, ClientIP="")],
    )
    assert [(row["weight"], row["clients"], row["ip_version"], row["client_prefix"]) for row in found] == [
        (5, 0, 4, "203.0.113.0/24"),
        (70, 9, 0, ""),
    ]
    assert {row["outcome"] for row in found} == {"refused"}
    assert {(row["duration"], row["connect_duration"], row["client_rtt"]) for row in found} == {(None, None, None)}


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.label)
def test_outcomes(database, reason):
    from spectrum.core.analytics.rows import OUTCOME

    (found,) = database.execute(
        f"SELECT {OUTCOME} FROM (SELECT ? AS Event, ? AS Reason)", [reason.event, reason.label]
    ).fetchone()
    if reason.refused:
        assert found == "refused"
    elif reason.event in ("originError", "resolveOrigin"):
        assert found == "failed"
    elif reason in (Reason.CLIENT_CLOSED, Reason.ORIGIN_CLOSED, Reason.ORIGIN_DRAINED, Reason.CLIENT_RESET):
        assert found == "passed"
    elif reason in (Reason.ORIGIN_RESET, Reason.ORIGIN_TIMEOUT, Reason.INTERNAL_ERROR):
        assert found == "failed"


def test_an_origin_of_ipv6(database, tmp_path):
    (row,) = rows(database, tmp_path, EVENTS, [record(OriginIP="2001:db8::5", ClientIP="2001:db8:7::1")])
    assert (row["origin"], row["client_prefix"], row["ip_version"]) == ("[2001:db8::5]:22", "2001:db8:7::/48", 6)


addresses = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.integers(0, 2**20).map(lambda low: ip_address((0x20010DB8 << 96) + low)),
)


@given(st.lists(addresses, min_size=1, max_size=20))
def test_prefixes(database, many):
    query = f"SELECT {prefix_of('a')} FROM (SELECT unnest(?::VARCHAR[]) AS a)"
    found = database.execute(query, [[str(one) for one in many]]).fetchall()
    bits = {4: 24, 6: 48}
    assert [prefix for (prefix,) in found] == [str(ip_network((one, bits[one.version]), strict=False)) for one in many]


def test_health_and_changes(database, tmp_path):
    health = HealthEvent("originHealth", NOON, False, "refused", "p", "a", "10.0.0.5", "tcp", RTT=5_000_000)
    change = {"Event": "configurationChanged", "Timestamp": NOON, "Revision": 7, "Author": "ops", "Text": "app ssh"}
    records = [health, change, record()]
    (row,) = rows(database, tmp_path, HEALTH, records)
    assert (row["origin"], row["pool"], row["healthy"], row["rtt"], row["node"], row["sequence"]) == (
        "p/a",
        "p",
        False,
        5000,
        "edge1",
        1,
    )
    (row,) = rows(database, tmp_path, CHANGES, records)
    assert (row["revision"], row["author"], row["text"], row["sequence"]) == (7, "ops", "app ssh", 2)
    (row,) = rows(database, tmp_path, EVENTS, records)
    assert row["sequence"] == 3
    assert not set(HEALTH_EVENTS) & set(CHANGE_EVENTS)


def test_attacks(database, tmp_path):
    rules = rule(packets=10, bytes=1000, hits=0.0015), rule("ddos-2", action="log", packets=4)
    made = list(records_of(event("ended", at=NOW + 61, ended=NOW + 60, rules=rules, sources=None), {}))
    one, other = rows(database, tmp_path, ATTACKS, [record(), *made])
    assert (one["attack"], one["app"], one["vector"], one["rule"], one["action"], one["destination"]) == (
        "0000000000000001",
        "game",
        "NTP reflection",
        "ddos-1",
        "block",
        "192.0.2.1",
    )
    assert (one["began"], one["ended"], one["mitigated_after"]) == (NOW * 1e6, (NOW + 60) * 1e6, 200_000)
    assert (one["packets"], one["dropped_packets"], one["hits_ppm"], one["sources"]) == (10, 10, 1500, 0)
    assert (other["rule"], other["packets"], other["dropped_packets"], other["sequence"]) == ("ddos-2", 4, 0, 3)
    assert len(rows(database, tmp_path, EVENTS, [record(), *made])) == 1


def test_other_lines_make_no_row(database, tmp_path):
    path = tmp_path / "lines.json"
    fields = ", ".join(f"'{name}': '{kind}'" for name, kind in fields_of(EVENTS).items())
    path.write_bytes(
        b'broken\n{"Event": "disconnect"}\n{"Timestamp": "2026-11-26T12:00:00Z"}\n' + numbered(batch([record()]))
    )
    found = database.execute(
        query_of(
            EVENTS, f"read_json('{path}', format = 'newline_delimited', columns = {{{fields}}}, ignore_errors = true)"
        )
    ).fetchall()
    assert len(found) == 1


def test_what_comes_again_is_passed_over():
    batches = [batch([record()] * 3), batch([record()] * 3, 3), batch([record()] * 2, 9), batch([record()], 1, "other")]
    fresh, after, repeated, missing = sifted(batches, {SOURCE: 2})
    assert [(one.sequence, skipped) for one, skipped in fresh] == [(1, 1), (3, 1), (9, 0), (1, 0)]
    assert (after, repeated, missing) == ({SOURCE: 11, "other": 2}, 2, 3)
