import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.analytics.columns import EVENTS
from spectrum.core.analytics.dimensions import ColumnFilter
from spectrum.core.analytics.filters import MAX_COMPARISONS, FilterFault, of_json, parse, show
from spectrum.core.analytics.question import AllOf, AnyOf, Compare, Not


def known(name):
    return ColumnFilter.named(EVENTS, name)


def eq(dimension, *values):
    return Compare(dimension, "=", values)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", None),
        ("  ", None),
        ("event==connect", eq("event", "connect")),
        (" event == connect ", eq("event", "connect")),
        ("appID==ssh", eq("app", "ssh")),
        ("edge_port>=1024", Compare("edge_port", ">=", (1024,))),
        ("edge_port<1024", Compare("edge_port", "<", (1024,))),
        ("duration>1.5", Compare("duration", ">", (1500,))),
        ("event!=connect,ipVersion==6", AnyOf((Compare("event", "!=", ("connect",)), eq("ip_version", 6)))),
        ("event==a OR event==b", AnyOf((eq("event", "a"), eq("event", "b")))),
        ("event==a or event==b", AnyOf((eq("event", "a"), eq("event", "b")))),
        ("event==a AND app==b", AllOf((eq("event", "a"), eq("app", "b")))),
        (
            "event==a;app==b,app==c AND node==d",
            AnyOf((AllOf((eq("event", "a"), eq("app", "b"))), AllOf((eq("app", "c"), eq("node", "d"))))),
        ),
        ("app=='a, OR b;'", eq("app", "a, OR b;")),
        (r'app=="a\"b\\"', eq("app", 'a"b\\')),
        ("app==''", eq("app", "")),
        ("app==ORDER", eq("app", "ORDER")),
        ("client_ip==2001:DB8:0::1", eq("client_ip", "2001:db8::1")),
        ("client_ip==10.1.2.3/8", Compare("client_ip", "prefix", ("10.0.0.0/8",))),
        ("client_ip!=2001:db8::/32", Compare("client_ip", "not_prefix", ("2001:db8::/32",))),
    ],
)
def test_a_filter_states_a_condition(text, condition):
    assert parse(text, known) == condition


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("=connect", 0, "expected the name of a dimension"),
        ("evnt==connect", 0, "events have no 'evnt'; did you mean \"event\"?"),
        ("event=connect", 5, "expected one of == != > < >= <="),
        ("event==", 7, "expected a value"),
        ("event==connect,", 15, "expected the name"),
        ("event==connect;;app==b", 15, "expected the name"),
        ("event==connect app==b", 15, "expected , or ; or OR or AND"),
        ("app=='ssh", 5, "the quote ' is not closed"),
        ("app=='ssh\\", 5, "the quote ' is not closed"),
        ("app==a;edge_port==https", 18, "edge_port is a number, 'https' is not"),
        ("app==a;edge_port==-1", 18, "edge_port is a number from 0"),
        ("client_ip==10.0.0", 11, "client_ip is an address or a prefix"),
        ("client_ip>10.0.0.0/8", 10, "> cannot be used with"),
        ("time==5", 0, "time cannot be compared; since and until limit it"),
        ("app==a;(event==b)", 7, "expected the name of a dimension"),
        (",".join(["app==a"] * (MAX_COMPARISONS + 1)), 7 * MAX_COMPARISONS, "at most 500 comparisons"),
    ],
)
def test_a_fault_says_where_and_what_would_be_right(text, position, message):
    with pytest.raises(FilterFault) as raised:
        parse(text, known)
    assert raised.value.position == position
    assert str(raised.value).startswith(f"at character {position + 1} (")
    assert message in str(raised.value)


def test_a_filter_has_a_length():
    with pytest.raises(FilterFault, match="at most"):
        parse("app==" + "a" * 70_000, known)


TEXTS = st.builds(lambda value: eq("app", value), st.text(max_size=12))
NUMBERS = st.builds(
    lambda operator, value: Compare("edge_port", operator, (value,)),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.integers(0, 65535),
)
DURATIONS = st.builds(lambda value: Compare("duration", ">", (value,)), st.integers(0, 2**50))
ADDRESSES = st.builds(lambda value: eq("client_ip", str(value)), st.ip_addresses())
COMPARISONS = st.one_of(TEXTS, NUMBERS, DURATIONS, ADDRESSES)


def several(kind, parts):
    return st.one_of(parts, st.lists(parts, min_size=2, max_size=4).map(lambda some: kind(tuple(some))))


@given(several(AnyOf, several(AllOf, COMPARISONS)))
def test_what_is_shown_is_read_back(condition):
    assert parse(show(condition, known), known) == condition


@given(st.text(alphabet="app=!<>;, '\"\\ORAND1.", max_size=30))
def test_any_text_is_a_filter_or_has_a_fault_with_a_place(text):
    try:
        condition = parse(text, known)
    except FilterFault as exc:
        place, condition = exc.position, None
    else:
        place = 0
    assert 0 <= place <= len(text)
    assert condition is None or parse(show(condition, known), known) == condition


@pytest.mark.parametrize(
    "condition",
    [Not(eq("app", "a")), eq("app", "a", "b"), Compare("app", "like", ("a%",)), AllOf((AnyOf((eq("app", "a"),)),))],
)
def test_what_no_filter_says_is_not_shown(condition):
    with pytest.raises(ValueError, match="no filter can express"):
        show(condition, known)


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        (None, None),
        ([], None),
        ("event==a", eq("event", "a")),
        ([{"dimension": "app", "values": ["a", "b"]}], eq("app", "a", "b")),
        ([{"dimension": "appID", "op": "not_in", "values": ["a", "b"]}], Compare("app", "!=", ("a", "b"))),
        ([{"dimension": "edge_port", "op": ">", "values": [22]}], Compare("edge_port", ">", (22,))),
        ([{"dimension": "edge_port", "op": "==", "values": ["22"]}], eq("edge_port", 22)),
        ([{"dimension": "app", "op": "like", "values": ["a%"]}], Compare("app", "like", ("a%",))),
        (
            [{"dimension": "client_ip", "op": "in", "values": ["10.0.0.0/8", "192.0.2.1"]}],
            AnyOf((Compare("client_ip", "prefix", ("10.0.0.0/8",)), eq("client_ip", "192.0.2.1"))),
        ),
        (
            {"any": [{"dimension": "app", "values": ["a"]}, {"not": {"dimension": "node", "values": ["b"]}}]},
            AnyOf((eq("app", "a"), Not(eq("node", "b")))),
        ),
        (
            {"all": [{"dimension": "app", "values": ["a"]}, {"dimension": "node", "values": ["b"]}]},
            AllOf((eq("app", "a"), eq("node", "b"))),
        ),
    ],
)
def test_a_filter_in_json_states_a_condition(given, condition):
    assert of_json(given, known) == condition


@pytest.mark.parametrize(
    ("given", "pointer", "message"),
    [
        (5, (), "expected"),
        ([5], (0,), "expected"),
        ([{"dimension": "app"}], (0,), "expected"),
        ([{"dimension": "app", "values": ["a"], "x": 1}], (0,), "expected"),
        ({"any": []}, (), "expected"),
        ([{"dimension": "aap", "values": ["a"]}], (0, "dimension"), "did you mean"),
        ([{"dimension": "app", "op": "~", "values": ["a"]}], (0, "op"), "not one of = != <"),
        ([{"dimension": "app", "op": [], "values": ["a"]}], (0, "op"), "not one of = != <"),
        ({"any": [{"dimension": "app", "values": ["a", 5]}]}, ("any", 0, "values", 1), "app is a text, 5 is not"),
        ([{"dimension": "app", "values": ["a"] * 1001}], (0, "values"), "at most 1000"),
        ([{"dimension": "app", "values": ["a"]}] * 501, (500,), "at most 500"),
        ([{"dimension": "app", "op": "prefix", "values": ["a"]}], (0, "values", 0), "no addresses"),
        ([{"dimension": "edge_port", "op": "like", "values": ["a"]}], (0, "values", 0), "not a text"),
    ],
)
def test_a_fault_in_json_says_where(given, pointer, message):
    with pytest.raises(FilterFault, match=message) as raised:
        of_json(given, known)
    assert raised.value.pointer == pointer


def test_conditions_are_nested_so_deep():
    condition = {"dimension": "app", "values": ["a"]}
    for _ in range(20):
        condition = {"not": condition}
    with pytest.raises(FilterFault, match="deeper"):
        of_json(condition, known)
