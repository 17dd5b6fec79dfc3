import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.store.audit import replaced, secret_places, without_secrets

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


def at(value, place):
    for step in place:
        value = value[step]
    return value
