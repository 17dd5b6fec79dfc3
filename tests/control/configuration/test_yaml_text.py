import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.references import resolve
from spectrum.control.configuration.yaml_marks import Document, Reference
from spectrum.control.configuration.yaml_text import as_written, yaml_text

# What YAML can have at all (YAML 1.2, section 5.1).
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), max_size=20)
WORDS = [
    "on",
    "~",
    "null",
    "0o17",
    "0x1f",
    "1e3",
    "1_000",
    "22:22",
    "<<",
    "a: b",
    "- a",
    "#",
    "$",
    "${A}",
    "$$",
    "*a",
    "&a",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from([*WORDS, "", " ", "a\nb", "a\n", "tcp://[::1]:22", "192.0.2.0/24", "x" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_is_read(value):
    document = Document(yaml_text({"value": as_written(value)}))
    assert document.faults == []
    resolved = resolve(document.value)
    assert resolved.faults == []
    assert same(resolved.value["value"], value)


def same(one, other):
    """Tell whether two values are the same, to the kind; of keys only their text is."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(map(str, other)) and all(map(same, one.values(), other.values()))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("tcp/22", "tcp/22"),
        ("tcp://192.0.2.1:22", "tcp://192.0.2.1:22"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("off", "'off'"),
        ("1e3", '"1e3"'),
        ("0o17", '"0o17"'),
        ("a b", '"a b"'),
        (Reference("${CPUS:-1}", True), "${CPUS:-1}"),
        (Reference("Bearer ${TOKEN}", False), '"Bearer ${TOKEN}"'),
        ({}, "{}"),
        ([], "[]"),
    ],
)
def test_how_it_is_written(value, text):
    assert yaml_text({"key": value}) == f"key: {text}\n"


def test_what_stands_twice_is_written_twice():
    shared = {"a": [1]}
    assert "&" not in yaml_text({"a": shared, "b": shared})
