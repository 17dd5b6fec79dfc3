import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.yaml_faults import Position
from spectrum.control.configuration.yaml_marks import Document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("22:22", "22:22"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("'5'", "5"),
        ('"true"', "true"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("a: 1\nb: [x, 2]", {"a": 1, "b": ["x", 2]}),
        ("on: 1\n8080: x", {"on": 1, "8080": "x"}),
        ("a: &x {k: 1}\nb: *x", {"a": {"k": 1}, "b": {"k": 1}}),
        ("a: &x {k: 1, l: 2}\nb: {l: 3, <<: *x}", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ("a: {<<: [{k: 1}, {k: 2, l: 2}]}", {"a": {"k": 1, "l": 2}}),
        (
            "a: &x {k: 1}\nb: &y {<<: *x, l: 2}\nc: {<<: *y, m: 3}\nd: *y",
            {"a": {"k": 1}, "b": {"k": 1, "l": 2}, "c": {"k": 1, "l": 2, "m": 3}, "d": {"k": 1, "l": 2}},
        ),
        ("a: {<<: {k: {x: 1}}, k: {y: 2}}", {"a": {"k": {"y": 2}}}),
        ("a: {'<<': 5}", {"a": {"<<": 5}}),
        ("a: {<<: {}}", {"a": {}}),
        ("a: <<", {"a": "<<"}),
    ],
)
def test_yaml_1_2(text, value):
    document = Document(text)
    assert document.value == value
    assert document.faults == []


def test_places():
    document = Document("a:\n  b: [x,\n    y]\n  cc: {d: 5}\n")
    assert document.place(("a", "b")) == Position(2, 6)
    assert document.place(("a", "b", 1)) == Position(3, 5)
    assert document.place(("a", "cc"), at_key=True) == Position(4, 3)
    assert document.place(("a", "cc", "d")) == Position(4, 11)
    assert document.place(("a", "zz")) == Position(2, 3)  # the nearest that exists
    assert Document("").place(("a",)) == Position(1, 1)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a: 1\nb: 2\na: 3", Position(3, 1), '"a" stands here twice, first at line 1'),
        ("? [x]\n: 1", Position(1, 3), "a key is text"),
        ("a: b: c", Position(1, 5), "not YAML"),
        ("a: &x [*x]", Position(1, 4), "contains itself"),
        ("a: &x {<<: *x}", Position(1, 4), "contains itself"),
        ("a: {<<: 5}", Position(1, 9), "a merge key takes a mapping"),
        ("a: {<<: [{b: 1}, 5]}", Position(1, 18), "a merge key takes a mapping"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", Position(1, 17), "first at line 1; one merge key takes a list"),
    ],
)
def test_faults(text, place, says):
    (fault,) = Document(text).faults
    assert says in fault.message
    assert fault.place == place


@given(st.text(max_size=200))
def test_no_text_surprises(text):
    document = Document(text)
    document.place(("a", 1))


def test_places_of_keys():
    document = Document("a:\n  - x\n  - {b: 1}\nc: &k {d: 2}\ne: *k\n")
    assert document.place(("a", 1, "b"), at_key=True) == Position(3, 6)
    assert document.place(("a", 1), at_key=True) == Position(1, 1)  # a list's item has none: that of the list
    assert document.place(("a", 7)) == Position(2, 3)
    assert document.place(("a", "x")) == Position(2, 3)
    assert document.place(("e", "d"), at_key=True) == Position(4, 8)
    assert document.place((), at_key=True) == Position(1, 1)
    assert document.place(("zz",), at_key=True) == Position(1, 1)


def test_places_of_what_is_merged():
    document = Document("a: &x\n  k: 1\nb:\n  <<: [*x, {l: [5]}]\n  m: 2\n")
    assert document.place(("b", "k")) == Position(2, 6)
    assert document.place(("b", "k"), at_key=True) == Position(2, 3)
    assert document.place(("b", "l", 0)) == Position(4, 17)
    assert document.place(("b", "m")) == Position(5, 6)
    assert document.place(("b", "<<")) == Position(4, 3)
