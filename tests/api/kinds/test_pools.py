import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.pools import POOLS
from spectrum.store.objects import file_id
from tests.api.kinds.references import Known, has, stored

REFS = Known(monitors=["tcp"], monitor_groups=["both"])
TCP = file_id("monitors", "tcp")
BOTH = file_id("monitor_groups", "both")
POOL = {"name": "eu", "origins": [{"name": "a", "address": "192.0.2.1"}]}


def answer(body):
    return POOLS.from_value(stored("pools", "eu", POOLS.checked(body, REFS)), REFS)


def test_an_answer_has_every_default():
    told = answer(POOL)
    stamps = {"id", "created_on", "modified_on"}
    assert {key: item for key, item in told.items() if key not in stamps} == {
        "name": "eu",
        "enabled": True,
        "minimum_origins": 1,
        "load_shedding": {
            "default_percent": 0,
            "default_policy": "random",
            "session_percent": 0,
            "session_policy": "hash",
        },
        "origin_steering": {"policy": "random"},
        "origins": [
            {"name": "a", "address": "192.0.2.1", "enabled": True, "weight": 1, "port": 0, "flatten_cname": True}
        ],
    }


def test_what_was_configured_is_answered():
    body = {
        "name": "eu_1-a",
        "description": "",
        "enabled": False,
        "monitor": TCP,
        "check_regions": ["WEU", "ALL_REGIONS"],
        "notification_email": "",
        "notification_filter": {"origin": {"disable": True}, "pool": {"healthy": False}},
        "latitude": 52.5,
        "longitude": 13,
        "load_shedding": {"default_percent": 5.5, "default_policy": "hash"},
        "origin_steering": {"policy": "least_connections"},
        "minimum_origins": 1,
        "slow_start": "30s",
        "outlier_detection": {"consecutive_failures": 3},
        "origins": [
            {"name": "b", "address": "b.example", "weight": 0.5, "enabled": False, "header": {"Host": ["x.example"]}},
            {"name": "a", "address": "2001:db8::1", "port": 22, "flatten_cname": True, "max_sessions": 7},
        ],
    }
    told = answer(body)
    assert has(told, body)
    assert told["disabled_at"] == told["modified_on"] == told["origins"][0]["disabled_at"]
    assert "disabled_at" not in told["origins"][1]
    assert POOLS.checked(told, REFS)["monitor"] == "tcp"  # an answer is a body


def test_nothing_is_made_of_what_says_that_it_is_not_wanted():
    value = POOLS.checked(
        {**POOL, "monitor": "", "latitude": None, "origins": [{**POOL["origins"][0], "virtual_network_id": ""}]}, REFS
    )
    assert value == POOL


@pytest.mark.parametrize(
    ("more", "pointer", "words"),
    [
        ({"name": None}, "/name", "missing"),
        ({"name": ""}, "/name", "printable"),
        ({"name": " "}, "/name", "printable"),
        ({"name": "a\0"}, "/name", "printable"),
        ({"origins": None}, "/origins", "missing"),
        ({"origins": []}, "/origins", "at least one"),
        ({"origins": [1]}, "/origins/0", "mapping"),
        ({"origins": "a"}, "/origins", "list"),
        ({"origins": [{"name": "a", "address": "not a host"}]}, "/origins/0/address", "host name"),
        ({"origins": [{"address": "192.0.2.1"}]}, "/origins/0/name", "missing"),
        ({"origins": [{**POOL["origins"][0], "colour": 1}]}, "/origins/0/colour", "unknown field"),
        ({"origins": [{**POOL["origins"][0], "virtual_network_id": "v"}]}, "/origins/0/virtual_network_id", "virtual"),
        ({"origins": [{**POOL["origins"][0], "flatten_cname": False}]}, "/origins/0/flatten_cname", "true"),
        ({"monitor": "0" * 32}, "/monitor", "could not find"),
        ({"monitor_group": TCP}, "/monitor_group", "could not find"),
        ({"monitor_group": BOTH, "monitor": TCP}, "/monitor_group", "not both"),
        ({"colour": 1}, "/colour", "unknown field"),
        ({"notification_email": "me@example.com"}, "/notification_email", "no mail"),
        ({"check_regions": ["MARS"]}, "/check_regions/0", "WNAM"),
        ({"minimum_origins": 0}, "/minimum_origins", "1"),
        ({"account": "other"}, "/account", "unknown field"),
    ],
)
def test_each_fault_has_its_place(more, pointer, words):
    with pytest.raises(ApiError) as caught:
        POOLS.checked(POOL | more, REFS)
    assert (caught.value.status, caught.value.code, caught.value.details[0].pointer) == (400, 1002, pointer)
    assert words in caught.value.details[0].message


ORIGINS = st.fixed_dictionaries(
    {
        "name": st.text("abc", min_size=1, max_size=3),
        "address": st.sampled_from(["192.0.2.1", "2001:db8::1", "o.example"]),
    },
    optional={
        "enabled": st.booleans(),
        "weight": st.sampled_from([0, 0.25, 1]),
        "port": st.integers(0, 65535),
        "max_sessions": st.integers(1, 10),
    },
)
BODIES = st.fixed_dictionaries(
    {"name": st.text("abc_-1", min_size=1), "origins": st.lists(ORIGINS, min_size=1, max_size=4)},
    optional={
        "description": st.text(max_size=5),
        "enabled": st.booleans(),
        "load_shedding": st.fixed_dictionaries({}, optional={"default_percent": st.integers(0, 100)}),
        "outlier_detection": st.sampled_from(["off", {"interval": "3s"}]),
    },
)
PROBED_BY = st.sampled_from([{}, {"monitor": TCP}, {"monitor_group": BOTH}])


@given(BODIES, PROBED_BY)
def test_value_and_body_are_the_same_thing(body, probed_by):
    body |= probed_by
    value = POOLS.checked(body, REFS)
    assert has(answer(body), body)
    assert POOLS.checked(POOLS.to_body(value, REFS), REFS) == value
