import pytest

from spectrum.api.envelope import BodyFault
from spectrum.api.kinds.permissions import BY_WORD
from spectrum.api.kinds.tokens import TenantLookup, from_token, pointer_of, to_value
from spectrum.store.objects import StoredObject, file_id
from spectrum.store.tokens import StoredToken

A, Z = "com.cloudflare.api.account.", "com.cloudflare.api.account.zone."
OBJECTS = {
    (section, name): StoredObject(section, file_id(section, name), name, {}, 0, 0)
    for section, name in (("accounts", "a"), ("accounts", "b"), ("zones", "z"))
}
ACCOUNT, ZONE = file_id("accounts", "a"), file_id("zones", "z")


def get(section, object_id):
    return next((one for one in OBJECTS.values() if (one.section, one.id) == (section, object_id)), None)


OWNED = TenantLookup(get, lambda *key: OBJECTS.get(key), lambda one: "a" if one.section == "zones" else one.name)


def policy(resources, *words, **rest):
    groups = [{"id": BY_WORD[word].id} for word in words or ("apps:edit",)]
    return {"effect": "allow", "permission_groups": groups, "resources": resources, **rest}


@pytest.mark.parametrize(
    ("resources", "words", "policies"),
    [
        ({f"{A}{ACCOUNT}": "*"}, ["apps:edit"], {"accounts": ["a"]}),
        ({f"{Z}{ZONE}": "*"}, ["apps:edit", "zones:read"], {"zones": ["z"]}),
        ({f"{A}*": "*"}, ["tokens:edit"], {}),
        ({f"{Z}*": "*"}, ["apps:edit"], {}),
    ],
)
def test_a_policy_comes_back_as_it_was_given(resources, words, policies):
    value = to_value({"policies": [policy(resources, *words)]}, OWNED, None)
    assert value == {"policies": [{"permissions": words, **policies}]}
    token = StoredToken("1" * 32, "ci", "", value, 0, 0)
    (shown,) = from_token(token, OWNED, "active", None)["policies"]
    assert shown["resources"] == resources and shown["effect"] == "allow"
    assert [group["id"] for group in shown["permission_groups"]] == [BY_WORD[word].id for word in words]


@pytest.mark.parametrize(
    ("resources", "account", "policies"),
    [
        ({f"{A}{ACCOUNT}": {f"{Z}*": "*"}}, None, {"accounts": ["a"]}),
        ({f"{A}{ACCOUNT}": {f"{Z}{ZONE}": "*"}}, None, {"zones": ["z"]}),
        ({f"{A}*": {f"{Z}*": "*"}}, None, {}),
        ({f"{Z}*": "*"}, "a", {"accounts": ["a"]}),
        ({f"{A}*": "*"}, "b", {"accounts": ["b"]}),
        ({f"{Z}{ZONE}": "*"}, "a", {"zones": ["z"]}),
        ({"com.cloudflare.api.user.1": "*", f"{A}{ACCOUNT}": "*"}, None, {"accounts": ["a"]}),
    ],
)
def test_other_ways_to_say_it(resources, account, policies):
    value = to_value({"policies": [policy(resources, effect="deny")]}, OWNED, account)
    assert value["policies"] == [{"permissions": ["apps:edit"], "effect": "deny", **policies}]
    assert value.get("account") == account


@pytest.mark.parametrize(
    ("body", "account", "pointer"),
    [
        ({}, None, "/policies"),
        ({"policies": []}, None, "/policies"),
        ({"policies": ["x"]}, None, "/policies/0"),
        ({"policies": [policy({f"{A}{ACCOUNT}": "*"}, effect="maybe")]}, None, "/policies/0/effect"),
        ({"policies": [{"permission_groups": []}]}, None, "/policies/0/permission_groups"),
        ({"policies": [{"permission_groups": ["x"]}]}, None, "/policies/0/permission_groups/0/id"),
        ({"policies": [{"permission_groups": [{"id": ["x"]}]}]}, None, "/policies/0/permission_groups/0/id"),
        ({"policies": [policy(None)]}, None, "/policies/0/resources"),
        ({"policies": [policy({"com.cloudflare.api.user.1": "*"})]}, None, "/policies/0/resources"),
        ({"policies": [policy({"x": "*"})]}, None, "/policies/0/resources/x"),
        ({"policies": [policy({f"{A}1": "*"})]}, None, f"/policies/0/resources/{A}1"),
        ({"policies": [policy({f"{A}{ACCOUNT}": "?"})]}, None, f"/policies/0/resources/{A}{ACCOUNT}"),
        ({"policies": [policy({f"{A}{ACCOUNT}": {}})]}, None, f"/policies/0/resources/{A}{ACCOUNT}"),
        ({"policies": [policy({f"{A}{ACCOUNT}": "*"})]}, "b", f"/policies/0/resources/{A}{ACCOUNT}"),
        ({"policies": [policy({f"{Z}{ZONE}": "*"})]}, "b", f"/policies/0/resources/{Z}{ZONE}"),
        ({"policies": [policy({f"{A}*": "*"})], "condition": [1]}, None, "/condition"),
        ({"policies": [policy({f"{A}*": "*"}) | {"efect": "deny"}]}, None, "/policies/0/efect"),
        *(
            ({"policies": [policy({f"{A}*": "*"})], "condition": condition}, None, pointer)
            for condition, pointer in (
                ("", "/condition"),
                ({"request_ips": {"in": ["192.0.2.1"]}}, "/condition/request_ips"),
                ({"request_ip": 1}, "/condition/request_ip"),
                ({"request_ip": {"ip": ["192.0.2.1"]}}, "/condition/request_ip/ip"),
                ({"request_ip": {"in": "192.0.2.1"}}, "/condition/request_ip/in"),
                ({"request_ip": {"in": {}}}, "/condition/request_ip/in"),
                ({"request_ip": {"not_in": 0}}, "/condition/request_ip/not_in"),
            )
        ),
    ],
)
def test_invalid_requests(body, account, pointer):
    with pytest.raises(BodyFault) as caught:
        to_value(body, OWNED, account)
    assert caught.value.details[0].pointer == pointer


def test_the_rest_of_a_token():
    body = {
        "policies": [policy({f"{A}*": "*"})],
        "status": "disabled",
        "not_before": "2026-01-01T00:00:00Z",
        "expires_on": "2027-01-01T00:00:00Z",
        "condition": {"request_ip": {"in": ["192.0.2.0/24"], "not_in": ["192.0.2.1/32"]}},
    }
    value = to_value(body, OWNED, None)
    assert value["addresses"] == ["192.0.2.0/24"] and value["not_addresses"] == ["192.0.2.1/32"]
    shown = from_token(StoredToken("1" * 32, "ci", "", value, 0, 1), OWNED, "disabled", 5)
    assert {key: shown[key] for key in body if key != "policies"} == {
        key: item for key, item in body.items() if key != "policies"
    }
    assert (shown["issued_on"], shown["last_used_on"]) == ("1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:05.000000Z")
    assert from_token(StoredToken("1" * 32, "ci", "", value, 0, 1), OWNED, "not_yet", None)["status"] == "active"


def test_where_a_fault_is_in_the_body():
    assert pointer_of(("addresses", 0)) == "/condition/request_ip/in/0"
    assert pointer_of(("expires_on",)) == "/expires_on"
