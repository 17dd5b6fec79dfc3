import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.yaml_faults import Position, explain


def fault(text):
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.compose(text, Loader=yaml.CSafeLoader)
    return explain(text, caught.value)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a:\n\tb: 1\n", (2, 1), "a tab; YAML indents with spaces"),
        ("a:\n  b:\n\t  c: 1\n", (3, 1), "a tab; YAML indents with spaces"),
        ("a:\n  b:\n  \tc: 1\n", (3, 3), "a tab; YAML indents with spaces"),
        ("a:\n  b:\n    c: 1\n   d: 2\n", (4, 4), "indented by 3; the lines above by 0 or 2 or 4"),
        ("a:\n    c: 1\n\n  # so\n  d: 2\n", (5, 3), "indented by 2; the lines above by 0 or 4"),
        (" a: 1\nb: 1\n", (2, 1), "indented by 0; the lines above by 1"),
        ("a:\n  c: 1\n   d: 2\n", (3, 4), "indented by 3, line 2 by 2: keys of one mapping align"),
        ("a:\n  c:1\n  d: 2\n", (2, 3), 'write "c: 1", with a space after the colon'),
        ("a:\n  b: 1\n  c [1]\n", (3, 3), 'followed by a colon and a space, such as "name: value"; found "c [1]"'),
        ("a: {b: 1\n", (2, 1), '"{" of line 1, column 4 is not closed, or a comma is missing'),
        ("a: [1\n", (2, 1), '"[" of line 1, column 4 is not closed, or a comma is missing'),
        ("a: [1\nb: 2\n", (2, 2), '"[" of line 1, column 4 is not closed, or a comma is missing'),
        ('a: "x\n', (1, 4), "this quote is not closed"),
        ("a: @x\n", (1, 4), 'a value cannot begin with "@"; put it in quotes'),
        ("a: `x\n", (1, 4), 'a value cannot begin with "`"; put it in quotes'),
        ("a: [*]\n", (1, 6), 'a value cannot begin with "*" or "&"; put it in quotes'),
        ("a: *b\n", (1, 4), "there is no anchor &b above"),
        ("a: 1\n---\nb: 1\n", (2, 1), "a second document begins here; a configuration is one"),
        ("a: 1\nb: x\x00\n", (2, 5), "the character U+0000 is not allowed"),
        ("a: b: c\n", (1, 5), "mapping values are not allowed"),
    ],
)
def test_messages(text, place, says):
    found = fault(text)
    assert says in found.message
    assert found.place == Position(*place)


@given(st.text(alphabet="ab:-[]{}\"'*&@#\t\n 1,%|>!?", max_size=60))
def test_every_fault_is_on_a_line_of_the_text(text):
    try:
        yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as exc:
        found = explain(text, exc)
        assert 1 <= found.place.line <= text.count("\n") + 2
        assert "\n" not in found.message
