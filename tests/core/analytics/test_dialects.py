from ipaddress import ip_address, ip_network

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum.core.analytics.columns import EVENTS
from spectrum.core.analytics.dialects import ClickHouse, DuckDb, Statement, named, plain_pattern


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


@settings(max_examples=200)
@given(PREFIXES, st.data())
def test_an_address_is_in_a_prefix_or_not(connection, prefix, data):
    highest = prefix.num_addresses - 1
    inside = prefix[data.draw(st.integers(0, highest))]
    other = data.draw(st.ip_addresses())
    for address in (inside, other):
        is_in = true(connection, lambda statement: DuckDb().in_prefix(statement, "x", str(prefix)), str(address))
        assert is_in == (address in prefix), (address, prefix)


@pytest.mark.parametrize("text", ["", "x", "::ffff:10.0.0.1"])
def test_what_is_no_address_of_a_family_is_in_none_of_its_prefixes(connection, text):
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
