from types import SimpleNamespace

import pytest

from spectrum.api.access import Call
from spectrum.api.analytics.visible import AppNames, field_of, visible_to
from spectrum.api.caller import Caller
from spectrum.core.analytics.columns import EVENTS
from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import Author
from spectrum.store.objects import file_id
from tests.api.serving import Api

FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "acme.test": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "a": {"protocol": "tcp/1", "zone": "example.com"},
        "b": {"protocol": "tcp/2", "zone": "acme.test"},
        "c": {"protocol": "tcp/3", "zone": "other.test"},
    },
    "pools": {"p": {"account": "acme"}, "q": {"account": "other"}},
}
SINGLE = {"accounts": {"acme": {}}, "zones": {"example.com": {}}, "apps": {"a": {"protocol": "tcp/1"}}}


@pytest.fixture
async def api(tmp_path):
    async with Api(tmp_path, FILE) as running:
        yield running


def call(api, account="acme", zone=None, **policy):
    limits = None
    if policy:
        denied = policy.pop("deny", None)
        policies = [{"permissions": ["analytics:read"], **policy}]
        policies += [{"effect": "deny", "permissions": ["analytics:read"], "zones": [denied]}] if denied else []
        limits = Token.model_validate({"hash": "sha256:" + "0" * 64, "policies": policies})
    caller = Caller(Author("token", "t", "t"), limits=limits)
    catalogue = api.catalogue
    return Call(
        SimpleNamespace(),
        caller,
        SimpleNamespace(catalogue=catalogue),
        catalogue.named("accounts", account),
        zone and catalogue.named("zones", zone),
    )


async def test_an_account_sees_its_own(api):
    assert visible_to(call(api)).names == {"app": {"a": 0.0, "b": 0.0}, "pool": {"p": 0.0}, "load_balancer": {}}
    assert visible_to(call(api, "other", accounts=["other"])).names["app"] == {"c": 0.0}


async def test_a_zone_sees_its_apps(api):
    assert visible_to(call(api, zone="acme.test")).names == {"app": {"b": 0.0}}


async def test_a_zone_that_is_denied_is_not_in_its_account(api):
    found = visible_to(call(api, accounts=["acme"], deny="acme.test"))
    assert found.names["app"] == {"a": 0.0}


async def test_an_app_is_somebodys_since_it_was_made(api):
    async with api.client() as client:
        zone = file_id("zones", "example.com")
        body = {
            "protocol": "tcp/99",
            "dns": {"type": "CNAME", "name": "new.example.com"},
            "origin_direct": ["tcp://192.0.2.1:1"],
        }
        made = (await client.post(f"/zones/{zone}/spectrum/apps", json=body)).json()["result"]
    (name,) = set(visible_to(call(api)).names["app"]) - {"a", "b"}
    stored = api.catalogue.get("apps", made["id"])
    assert (stored.name, stored.created_on) == (name, visible_to(call(api)).names["app"][name])
    assert stored.created_on > 0


async def test_who_may_read_all_accounts_sees_all_of_the_only_one(tmp_path):
    async with Api(tmp_path, SINGLE) as api:
        assert visible_to(call(api)) is None
        assert visible_to(call(api, zones=[])) is None
        assert visible_to(call(api, accounts=["acme"])).names["app"] == {"a": 0.0}
        assert visible_to(call(api, zones=[], deny="example.com")).names["app"] == {}


async def test_names_and_ids(api):
    names = AppNames(call(api))
    assert names.name_of(file_id("apps", "a")) == "a"
    assert names.name_of(file_id("apps", "c")) == names.name_of("nothing") == "\0"
    assert names.id_of("a") == file_id("apps", "a") and names.id_of("gone") == file_id("apps", "gone")


async def test_filters_name_apps_by_id(api):
    names = AppNames(call(api))
    field = field_of(EVENTS, "appID", names)
    assert field.name == "app"
    assert field.read(file_id("apps", "a"), "=") == ("=", "a")
    assert field.write("a") == file_id("apps", "a")
    assert field_of(EVENTS, "app", names).read("c", "=") == ("=", "c")
    with pytest.raises(ValueError, match="appID is an id"):
        field.read("x", ">")
