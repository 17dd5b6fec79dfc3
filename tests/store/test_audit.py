import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.store.audit import changed_part, replaced, secret_places, without_secrets

SECRET = "correct horse"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"protocol": "tcp/22"}, {"protocol": "tcp/22"}),
        (
            {"header": {"Host": ["a.example"], "Authorization": [f"Bearer {SECRET}"]}},
            {"header": {"Host": ["a.example"], "Authorization": ["(hidden)"]}},
        ),
        ({"header": {"X-Key": SECRET}}, {"header": {"X-Key": "(hidden)"}}),
        ({"origins": [{"header": {"cookie": SECRET}}]}, {"origins": [{"header": {"cookie": "(hidden)"}}]}),
        ({"key": "/etc/a.pem"}, {"key": "/etc/a.pem"}),
        ({"key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"}, {"key": "(hidden)"}),
        ({"dns": {"tsig_key": SECRET}, "password": SECRET}, {"dns": {"tsig_key": "(hidden)"}, "password": "(hidden)"}),
        ({"password": "", "token": None}, {"password": "", "token": None}),
        ({"monitor": "password"}, {"monitor": "password"}),
        ({"client_secret": {"a": [SECRET, 1]}}, {"client_secret": {"a": ["(hidden)", 1]}}),
    ],
)
def test_secrets_are_hidden(value, shown):
    before = json.dumps(value)
    assert without_secrets(value) == shown
    assert SECRET not in json.dumps(without_secrets(value))
    assert json.dumps(value) == before


VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["a", SECRET, ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "header", "password", "Host", "X-Key"]), inner, max_size=3)
    ),
)


@given(VALUES)
def test_only_what_may_be_secret_is_replaced(value):
    places = list(secret_places(value))
    shown = without_secrets(value)
    assert len(set(places)) == len(places)
    assert replaced(shown, {place: at(value, place) for place in places}) == value


MANY = [{"ip": f"192.0.2.{number}"} for number in range(100)]


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (None, {"items": MANY}, (None, {"items": MANY})),
        ({"items": MANY}, None, ({"items": MANY}, None)),
        ({"a": 1, "items": [1, 2]}, {"a": 2, "items": [1]}, ({"a": 1, "items": [1, 2]}, {"a": 2, "items": [1]})),
        ({"items": MANY}, {"items": MANY}, ({"items": ["(100 unchanged)"]}, {"items": ["(100 unchanged)"]})),
        (
            {"kind": "ip", "items": MANY},
            {"kind": "ip", "items": [*MANY, "new"]},
            ({"kind": "ip", "items": ["(100 unchanged)"]}, {"kind": "ip", "items": ["(100 unchanged)", "new"]}),
        ),
        (
            {"items": MANY},
            {"items": [*MANY[:40], *MANY[41:]]},
            ({"items": ["(99 unchanged)", MANY[40]]}, {"items": ["(99 unchanged)"]}),
        ),
        (
            {"items": MANY},
            {"items": [*MANY[:40], "other", *MANY[41:]]},
            ({"items": ["(99 unchanged)", MANY[40]]}, {"items": ["(99 unchanged)", "other"]}),
        ),
        ({"items": MANY}, {"items": "none"}, ({"items": MANY}, {"items": "none"})),
        (
            {"items": [1] * 100},
            {"items": [1] * 98},
            ({"items": ["(98 unchanged)", 1, 1]}, {"items": ["(98 unchanged)"]}),
        ),
    ],
)
def test_what_stayed_of_long_lists_is_counted(before, after, shown):
    assert changed_part(before, after) == shown


def at(value, place):
    for step in place:
        value = value[step]
    return value
