from ipaddress import ip_address, ip_network

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics.columns import EVENTS, PACKETS
from spectrum.core.analytics.dialects import ClickHouse, DuckDb, Statement, named, plain_pattern
from tests.properties import examples


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        yield opened


def true(connection, condition, value):
    """Return whether a condition holds for a text, in DuckDB; `condition` is of a statement and the column `x`."""
    statement = Statement()
    text = condition(statement)
    statement.text = f"SELECT {text} FROM (SELECT {DuckDb().value(statement, value)}::VARCHAR AS x)"
    return bool(connection.execute(statement.text, statement.parameters).fetchone()[0])


PREFIXES = st.one_of(
    st.builds(lambda a, n: ip_network((int(a), n), strict=False), st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda a, n: ip_network((a.packed, n), strict=False), st.ip_addresses(v=6), st.integers(0, 128)),
)


@examples(200)
@given(PREFIXES, st.data())
def test_an_address_is_in_a_prefix_or_not(connection, prefix, data):
    highest = prefix.num_addresses - 1
    inside = prefix[data.draw(st.integers(0, highest))]
    other = data.draw(st.ip_addresses())
    for address in (inside, other):
        is_in = true(connection, lambda statement: DuckDb().in_prefix(statement, "x", str(prefix)), str(address))
        assert is_in == (address in prefix), (address, prefix)


@pytest.mark.parametrize("text", ["", "x", "::ffff:10.0.0.1"])
def test_invalid_address_of_a_family_is_in_none_of_its_prefixes(connection, text):
    for prefix in ("10.0.0.0/9", "0.0.0.0/0", "2001::/16"):
        assert not true(connection, lambda s, prefix=prefix: DuckDb().in_prefix(s, "x", prefix), text)


def test_addresses_are_compared_as_python_does(connection):
    assert str(ip_address("2001:db8:0:0:1::")) == "2001:db8:0:0:1::"
    assert true(connection, lambda s: DuckDb().in_prefix(s, "x", "2001:db8::/64"), "2001:db8::1:0:0:0")


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("a%", ["a", "abc"], ["ba", ""]),
        ("a_c", ["abc"], ["ac"]),
        (r"a\%", ["a%"], ["ab"]),
        ("a\\", ["a\\"], ["a"]),
        (r"\a", [r"\a"], ["a"]),
        (r"\\%", ["\\", r"\a"], ["a"]),
    ],
)
def test_a_text_fits_a_pattern(connection, pattern, fits, fits_not):
    for text in (*fits, *fits_not):
        found = true(connection, lambda statement: DuckDb().like(statement, "x", pattern), text)
        assert found == (text in fits), text


@given(st.text(alphabet="a%_\\", max_size=8))
def test_patterns_end_no_escape_early(pattern):
    assert plain_pattern(plain_pattern(pattern)) == plain_pattern(pattern)


def test_values_are_never_in_the_text():
    evil = "'; DROP TABLE events; --"
    app, port = EVENTS.by_name["app"], EVENTS.by_name["edge_port"]
    for dialect in (DuckDb(), ClickHouse()):
        statement = Statement()
        text = dialect.value(statement, evil)
        text += dialect.like(statement, "app", evil)
        text += dialect.among(statement, [app], [(evil,)]) + dialect.among(statement, [app, port], [(evil, 1)])
        text += dialect.in_prefix(statement, "client_ip", "10.0.0.0/9")
        assert "DROP" not in text
        assert str(statement.parameters).count("DROP") == 4


def test_parameters_of_clickhouse_are_text():
    values = {"a": "x\t'\\\n", "b": ["it's", "\\"], "c": [("a", 1)], "d": 5}
    assert named(values) == {
        "param_a": "x\\t'\\\\\\n",
        "param_b": r"['it\'s','\\']",
        "param_c": "[('a',1)]",
        "param_d": "5",
    }


def test_clickhouse_has_words_of_its_own():
    dialect, statement = ClickHouse(), Statement()
    app, port = EVENTS.by_name["app"], EVENTS.by_name["edge_port"]
    assert dialect.value(statement, "a") + dialect.value(statement, 1) == "{p0:String}{p1:Int64}"
    assert dialect.among(statement, [app], [("a",)]) == "app IN {p2:Array(String)}"
    assert dialect.among(statement, [app, port], [("a", 1)]) == "(app, edge_port) IN {p3:Array(Tuple(String, Int64))}"
    assert dialect.moment(statement, 5) == "fromUnixTimestamp64Micro({p4:Int64}, 'UTC')"
    assert dialect.start("time", 60) == "intDiv(toUnixTimestamp64Micro(time), 60000000) * 60"
    assert dialect.start("time", "week") == "toUnixTimestamp(toDateTime(date_trunc('week', time), 'UTC'))"
    assert dialect.quantile("duration", 0.5) == "quantileExactInclusiveOrNull(0.5)(duration)"
    assert dialect.shown(app) == "app" and dialect.shown(EVENTS.by_name["time"]) == "toUnixTimestamp64Micro(time)"
    assert dialect.histogram_of("duration").startswith("if(isNull(duration), CAST(map(), 'Map(Int16, UInt64)'), map(")
    assert (
        dialect.unnested(["app"], "h", "s") == "(SELECT app, b, n FROM s ARRAY JOIN mapKeys(h) AS b, mapValues(h) AS n)"
    )


def test_duckdb_has_words_of_its_own(connection):
    dialect = DuckDb()
    for bucket, start in ((60, 1_700_006_400), ("month", 1_698_796_800)):
        text = f"SELECT {dialect.start('time', bucket)} FROM (SELECT make_timestamp(1700006459000000) AS time)"
        assert connection.execute(text).fetchone() == (start,)
    assert connection.execute(f"SELECT {dialect.quantile('x', 0.5)} FROM range(4) AS r (x)").fetchone() == (1.5,)
    one = dialect.histogram_of("x")
    source = f"(SELECT 'a' AS k, {one} AS h FROM (VALUES (5::UBIGINT), (NULL)) AS v (x))"
    assert connection.execute(f"SELECT k, n FROM {dialect.unnested(['k'], 'h', source)}").fetchall() == [("a", 1)]
    statement = Statement()
    rows = dialect.among(statement, [EVENTS.by_name["app"], EVENTS.by_name["edge_port"]], [("a", 1), ("b", 2)])
    text = f"SELECT app FROM (VALUES ('a', 1), ('b', 1)) AS v (app, edge_port) WHERE {rows}"
    assert connection.execute(text, statement.parameters).fetchall() == [("a",)]
    moment = Statement()
    shown = dialect.shown(EVENTS.by_name["time"])
    text = f"SELECT {shown} FROM (SELECT {dialect.moment(moment, 7)} AS time)"
    assert connection.execute(text, moment.parameters).fetchone() == (7,)
    assert dialect.shown(PACKETS.by_name["header"]) == "lower(hex(header))"
