import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.load_balancers import LOAD_BALANCERS
from spectrum.store.objects import file_id
from tests.api.kinds.references import Known, has, stored

REFS = Known(pools=["eu", "us"])
EU, US = file_id("pools", "eu"), file_id("pools", "us")
BODY = {"name": "lb.example.com", "default_pools": [EU, US], "fallback_pool": US}


def answer(body):
    return LOAD_BALANCERS.from_value(stored("load_balancers", "lb", LOAD_BALANCERS.checked(body, REFS)), REFS)


def test_an_answer_has_every_default():
    told = answer(BODY)
    assert has(
        told,
        {
            **BODY,
            "enabled": True,
            "proxied": False,
            "session_affinity": "none",
            "session_affinity_ttl": 1800,
            "session_affinity_attributes": {
                "zero_downtime_failover": "temporary",
                "samesite": "Auto",
                "secure": "Auto",
                "require_all_headers": False,
            },
            "steering_policy": "",
            "region_pools": {},
            "country_pools": {},
            "pop_pools": {},
            "rules": [],
            "adaptive_routing": {"failover_across_pools": False},
            "location_strategy": {"mode": "pop", "prefer_ecs": "proximity"},
            "random_steering": {"default_weight": 1},
        },
    )
    assert "description" not in told


def test_what_was_configured_is_answered():
    body = {
        **BODY,
        "description": "",
        "region_pools": {"WEU": [EU], "ENAM": [US, EU]},
        "country_pools": {"DE": [EU]},
        "pop_pools": {"FRA": [EU]},
        "proxied": True,
        "ttl": 30.0,
        "networks": ["cloudflare"],
        "steering_policy": "random",
        "random_steering": {"default_weight": 0.2, "pool_weights": {EU: 0.5, US: 1}},
        "session_affinity": "ip_cookie",
        "session_affinity_ttl": 3600,
        "session_affinity_attributes": {"drain_duration": 60, "headers": [], "samesite": "Lax", "secure": "Always"},
        "adaptive_routing": {"failover_across_pools": True},
        "location_strategy": {"mode": "resolver_ip"},
        "rules": [],
        "queue": {"size": 10},
    }
    value = LOAD_BALANCERS.checked(body, REFS)
    assert value["region_pools"] == {"WEU": ["eu"], "ENAM": ["us", "eu"]}
    assert value["random_steering"]["pool_weights"] == {"eu": 0.5, "us": 1}
    assert has(answer(body), body)


def test_one_of_the_file_answers_its_fallback():
    told = LOAD_BALANCERS.from_value(stored("load_balancers", "lb", {"default_pools": ["eu", "us"]}), REFS)
    assert has(told, {"name": "lb", "default_pools": [EU, US], "fallback_pool": US})


@pytest.mark.parametrize(
    ("more", "pointer", "words"),
    [
        ({"name": None}, "/name", "missing"),
        ({"default_pools": None}, "/default_pools", "missing"),
        ({"fallback_pool": None}, "/fallback_pool", "missing"),
        ({"default_pools": []}, "/default_pools", "at least one"),
        ({"default_pools": [EU, "x"]}, "/default_pools/1", "could not find pool 'x'"),
        ({"fallback_pool": "x"}, "/fallback_pool", "could not find pool"),
        ({"country_pools": {"DE": [EU, "x"]}}, "/country_pools/DE/1", "could not find pool"),
        ({"country_pools": {"Germany": [EU]}}, "/country_pools/Germany", "country"),
        ({"region_pools": {"MARS": [EU]}}, "/region_pools/MARS", "WNAM"),
        ({"random_steering": {"pool_weights": {"x": 1}}}, "/random_steering/pool_weights/x", "could not find pool"),
        ({"session_affinity": "cookie"}, "/session_affinity", "needs HTTP"),
        ({"session_affinity_attributes": {"headers": ["x"]}}, "/session_affinity_attributes/headers", "0"),
        ({"steering_policy": "luck"}, "/steering_policy", "luck"),
        ({"rules": [{"name": "r"}]}, "/rules", "not supported"),
        ({"networks": ["mars"]}, "/networks/0", "cloudflare"),
        ({"colour": 1}, "/colour", "unknown field"),
    ],
)
def test_each_fault_has_its_place(more, pointer, words):
    with pytest.raises(ApiError) as caught:
        LOAD_BALANCERS.checked(BODY | more, REFS)
    assert (caught.value.status, caught.value.code) == (400, 1002)
    assert caught.value.details[0].pointer.startswith(pointer)
    assert words in caught.value.details[0].message


POOLS = st.lists(st.sampled_from([EU, US]), min_size=1, max_size=2, unique=True)
BODIES = st.fixed_dictionaries(
    {"name": st.just("lb.example.com"), "default_pools": POOLS, "fallback_pool": st.sampled_from([EU, US])},
    optional={
        "country_pools": st.dictionaries(st.sampled_from(["DE", "US"]), POOLS),
        "pop_pools": st.dictionaries(st.text("abc", min_size=1, max_size=3), POOLS),
        "steering_policy": st.sampled_from(["", "off", "geo", "random", "dynamic_latency"]),
        "session_affinity": st.sampled_from(["none", "ip", "ip_cookie", "ip_port"]),
        "session_affinity_ttl": st.integers(1, 604800),
        "enabled": st.booleans(),
    },
)


@given(BODIES)
def test_value_and_body_are_the_same_thing(body):
    value = LOAD_BALANCERS.checked(body, REFS)
    assert has(answer(body), body)
    assert LOAD_BALANCERS.checked(LOAD_BALANCERS.to_body(value, REFS), REFS) == value
