"""Compared with what DuckDB makes of the same lines by the expressions of `core.analytics.rows`."""

import os
import re
from datetime import UTC, datetime

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics.client_numbers import NUMBERED_EVENTS
from spectrum.core.analytics.record_columns import RecordColumns
from spectrum.core.analytics.rows import OTHER_EVENTS, query_of, reader_of, with_numbers
from spectrum.core.records.events import Attempt
from spectrum.core.records.reasons import Reason
from tests.analytics.records import NOON, SOURCE, batch, record

DATABASE = duckdb.connect()


def number_of(address):
    return len(address)


def of_line(line):
    return number_of(msgspec.json.decode(line).get("ClientIP", "").encode())


def read(lines, source=SOURCE, skipped=0):
    """The rows of lines, and the lines that are left to DuckDB."""
    columns = RecordColumns()
    left = columns.add(source, 5, lines, skipped, number_of)
    DATABASE.register("columns", columns)
    rows = DATABASE.execute("FROM columns").fetchall()
    DATABASE.unregister("columns")
    assert len(columns) == len(rows)
    return rows, left


def expected(lines, source=SOURCE):
    descriptor = os.memfd_create("lines")
    try:
        for line in with_numbers(source, enumerate(lines.splitlines(keepends=True), 5), of_line):
            os.write(descriptor, line)
        return DATABASE.execute(query_of(NUMBERED_EVENTS, reader_of(descriptor, NUMBERED_EVENTS))).fetchall()
    finally:
        os.close(descriptor)


def assert_same(lines, source=SOURCE):
    rows, left = read(lines, source)
    assert left == []
    assert rows == expected(lines, source)


def encoded(*records):
    return batch(records).lines


def test_sessions():
    assert_same(
        encoded(
            record(),
            record(1, Event="connect", Status=0, Reason="", DisconnectTimestamp=None),
            record(2, Event="progress", DisconnectTimestamp=None, ClientBytesSince=30, OriginBytesSince=40),
            record(3, ClientDatagrams=3, OriginDatagrams=4, ClientDatagramsSince=1, OriginDatagramsSince=2),
            record(4, Pool="p", OriginName="a", LoadBalancer="lb"),
            record(5, Pool="p", OriginIP="2001:db8::5"),
            record(6, OriginIP="", OriginPort=0, ConnectTimestamp=None),
            record(7, ConnectTimestamp=None, ConnectDuration=0),
            record(8, SampledOneIn=4, ClientDatagrams=9),
            record(9, Event="clientFiltered", Reason="client_rate", Sessions=5, SampledOneIn=2**31),
            record(10, Event="clientFiltered", Reason="client_rate", Sessions=70, Clients=9, ClientIP=""),
            record(11, Attempts=[Attempt(Origin="10.0.0.4:22", Reason="connect_refused")]),
            record(12, ConnectTimestamp=NOON.replace(year=2030)),
        )
    )


def test_skipped_lines():
    lines = encoded(record(0), record(1), record(2))
    rows, left = read(lines, skipped=2)
    assert left == []
    assert rows == expected(lines)[2:]


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.label)
def test_outcomes(reason):
    assert_same(encoded(record(Event=reason.event, Reason=reason.label)))


@pytest.mark.parametrize("name", sorted(OTHER_EVENTS))
def test_records_of_other_tables(name):
    lines = encoded(record(), record(Event=name), record())
    rows, left = read(lines)
    assert [row[1] for row in rows] == [5, 7]
    assert left == [(6, lines.splitlines(keepends=True)[1])]


@given(
    st.lists(
        st.one_of(
            st.ip_addresses().map(str),
            st.sampled_from(["", "::", "::1", "1::", "1:0:0::", "2001:db8:0:5::2", "10:0::1", "::ffff:1.2.3.4", "0::"]),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_addresses(addresses):
    assert_same(encoded(*(record(ClientIP=one, OriginIP=one) for one in addresses)))


_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=20)
_NUMBERS = st.one_of(st.integers(0, 20), st.integers(0, 2**40))
_TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(
    st.lists(
        st.fixed_dictionaries(
            {"Application": _TEXTS, "Reason": _TEXTS, "Timestamp": _TIMES, "ClientBytes": _NUMBERS},
            optional={
                "ConnectTimestamp": st.none() | _TIMES,
                "DisconnectTimestamp": st.none() | _TIMES,
                "Pool": _TEXTS,
                "OriginName": _TEXTS,
                "Sessions": st.integers(0, 2**32 - 1),
                "Clients": st.integers(0, 2**32 - 1),
                "OriginBytesSince": _NUMBERS,
                "ConnectDuration": _NUMBERS,
                "ClientTcpRtt": _NUMBERS,
                "Status": st.integers(0, 999),
                "ClientTlsClientHelloServerName": _TEXTS,
            },
        ),
        min_size=1,
        max_size=20,
    )
)
def test_values(fields):
    assert_same(encoded(*(record(**one) for one in fields)))


def test_fields_in_another_order_and_missing_ones():
    first, second = (msgspec.json.decode(encoded(record(at))) for at in (0, 1))
    mixed = dict(reversed(second.items()))
    del mixed["Status"], mixed["ClientIP"], mixed["Reason"]
    assert_same(b"\n".join(map(msgspec.json.encode, (first, mixed, first, mixed, second))))


def changed(line, before, after):
    assert before in line
    return line.replace(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"ssh"', b'"s\\u0073h"'),
        (b'"ssh"', '"süß"'.encode()),
        (b'"ssh"', b'"s\tsh"'),
        (b'"ssh"', b"7"),
        (b'"ssh"', b'{"a":1}'),
        (b'"Status":200', b'"Status":65536'),
        (b'"Status":200', b'"Status":-1'),
        (b'"Status":200', b'"Status":2e2'),
        (b'"Status":200', b'"Status":0200'),
        (b'"Status":200', b'"Status":"200"'),
        (b'"Status":200', b'"Status":'),
        (b'"Status":200', b'"Status":200,"Status":201'),
        (b'"Status":200', b'"Status": 200'),
        (b'"Status":200', b'"Stature":200'),
        (b'"ClientBytes":100', b'"ClientBytes":18446744073709551616'),
        (b'"ClientBytes":100', b'"ClientBytes":10000000000000000000'),
        (b'"Event":"disconnect",', b""),
        (b'"Event":"disconnect"', b'"Event":null'),
        (b"T12:00:00Z", b"T12:00:60Z"),
        (b"T12:00:00Z", b"T24:00:00Z"),
        (b"T12:00:00Z", b"T12:00:00+01:00"),
        (b"T12:00:00Z", b"T12:00:00.1234567Z"),
        (b"T12:00:00Z", b"T12:00:00.Z"),
        (b"2026-11-26", b"2026-11-31"),
        (b"2026-11-26", b"2026-02-29"),
        (b"2026-11-26", b"1969-11-26"),
        (b'"OriginPort":22', b'"OriginPort":null'),
        (b'"203.0.113.7"', b'"' + b"1" * 60 + b'"'),
        (b'"ClientBytes":100', b'"SampledOneIn":1000,"ClientBytes":9000000000000000000'),
        (b'"IpFirewall":false', b'"IpFirewall":fals'),
        (b'"IpFirewall":false', b'"IpFirewall":[]'),
        (b"{", b"["),
        (b"}\n", b"\n"),
        (b"}\n", b"} \n"),
        (b"}\n", b"}}\n"),
        (b'"ProxyProtocol":"v2"', b'"ProxyProtocol":"v2","Attempts":[ ]'),
        (b'"ProxyProtocol":"v2"', b'"ProxyProtocol":"v2","Attempts":['),
        (b'"ProxyProtocol":"v2"', b'"ProxyProtocol":"v2","Attempts":["\\n"]'),
        (b'"ProxyProtocol":"v2"', b'"ProxyProtocol":"v2","Attempts":{}'),
    ],
)
def test_lines_that_are_left(before, after):
    """They have no row, and the lines around them have theirs."""
    line = encoded(record())
    odd = changed(line, before, after)
    rows, left = read(line + odd + line)
    assert [row[1] for row in rows] == [5, 7]
    assert left == [(6, odd)]
    assert rows == expected(line + line.replace(b"ssh", b"") + line)[::2]


@pytest.mark.parametrize(
    "time",
    ["1970-01-01T00:00:00", "2000-02-29T23:59:59", "2100-03-01T00:00:00", "2026-12-31T23:59:59", "9999-12-31T00:00:00"],
)
@pytest.mark.parametrize("fraction", ["", ".5", ".000001", ".999999"])
def test_times(time, fraction):
    assert_same(changed(encoded(record()), b"2026-11-26T12:00:00Z", f"{time}{fraction}Z".encode()))


def test_a_time_of_zero_bytes():
    """No minute was read before it."""
    line = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:", b"\0" * 17, encoded(record()))
    assert b"\0" in line
    assert read(line) == ([], [(5, line)])


@given(st.data())
def test_a_line_that_is_cut_off(data):
    line = encoded(record(Attempts=[Attempt(Origin="a", Reason="b")]))
    cut = line[: data.draw(st.integers(0, len(line) - 2))]
    rows, left = read(line + cut)
    assert len(rows) == 1
    assert left == ([(6, cut)] if cut else [])


def test_a_source_that_is_not_ascii():
    assert_same(encoded(record()), "nöde/0/66121c7704295")


def test_many_values():
    """More events and reasons than are known by number are left to DuckDB."""
    lines = encoded(*(record(Reason=f"reason{number}") for number in range(1100)))
    rows, left = read(lines)
    assert 0 < len(left) < 200
    assert len(rows) + len(left) == 1100
