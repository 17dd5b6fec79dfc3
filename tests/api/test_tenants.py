"""Two accounts: whatever call there is, neither reaches what is the other's, nor learns that it is there."""

import re

import httpx
import pytest

from spectrum.store.objects import file_id, new_id
from tests.api.calls import operations
from tests.api.serving import Api

FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "secret.example": {"account": "other"}},
    "apps": {
        "ours": {"protocol": "tcp/22", "zone": "example.com", "origin_direct": ["tcp://192.0.2.1:22"]},
        "secret-app": {"protocol": "tcp/23", "zone": "secret.example", "origin_direct": ["tcp://192.0.2.2:22"]},
    },
    "monitors": {"secret-monitor": {"account": "other", "type": "tcp"}},
    "pools": {
        "secret-pool": {
            "account": "other",
            "monitor": "secret-monitor",
            "origins": [{"name": "o", "address": "192.0.2.3", "port": 22}],
        }
    },
    "load_balancers": {"secret-lb": {"zone": "secret.example", "default_pools": ["secret-pool"]}},
    "lists": {"secret_list": {"account": "other", "kind": "ip", "items": ["192.0.2.0/24"]}},
    "access_rules": {"secret-rule": {"account": "other", "target": "ip", "value": "192.0.2.9", "action": "block"}},
}
THEIRS = {"account_id": file_id("accounts", "other"), "zone_id": file_id("zones", "secret.example")}
OURS = {"account_id": file_id("accounts", "acme"), "zone_id": file_id("zones", "example.com")}
# What of theirs has an id: it is asked for in our account and zone, too.
IDS = [file_id(section, name) for section, objects in FILE.items() for name in objects]
OPERATIONS = operations()


@pytest.fixture
async def api(tmp_path):
    async with Api(tmp_path, FILE) as running:
        running.rates.requests = 0
        yield running


def filled(path, known, rest):
    return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], rest), path)


async def test_no_call_enters_another_account_or_zone(api):
    client = api.client(await api.token("all:edit", accounts=["acme"]))
    before = dict(api.daemon.live)
    for method, path in OPERATIONS:
        if not path.startswith(("/accounts/{", "/zones/{")) or path.endswith("/tokens/verify"):
            continue
        answers = []
        for known in (THEIRS, {"account_id": new_id(), "zone_id": new_id()}):
            answer = await client.request(method.upper(), filled(path, known, IDS[0]), json={})
            answers.append((answer.status_code, re.sub("[0-9a-f]{32}", "ID", answer.text)))
        assert answers[0][0] == 403, (method, path, answers[0])
        assert answers[0] == answers[1], (method, path)
    assert api.daemon.live == before


async def test_no_call_in_our_account_or_zone_takes_their_ids(api):
    client = api.client(await api.token("all:edit", accounts=["acme"]))
    for method, path in OPERATIONS:
        if path.count("{") < 2 or not path.startswith(("/accounts/{", "/zones/{")):
            continue
        for theirs in IDS:
            if theirs in OURS.values() or theirs in (file_id("apps", "ours"),):
                continue
            answer = await client.request(method.upper(), filled(path, OURS, theirs), json={})
            if method != "get" and answer.status_code == 400:
                continue  # the body is looked at first
            assert answer.status_code == 404, (method, path, answer.text)
    assert api.daemon.live == {}


async def test_no_answer_names_what_is_theirs(api):
    client = api.client(await api.token("all:edit", accounts=["acme"]))
    names = [name for objects in FILE.values() for name in objects if "secret" in name] + ["192.0.2.2", "192.0.2.3"]
    for method, path in OPERATIONS:
        if method == "get" and not path.endswith("/live"):  # which has no end
            answer = await client.get(
                filled(path, OURS, IDS[0]), params={"since": "2020-01-01", "before": "2999-01-01"}
            )
            assert not [word for word in (*names, *THEIRS.values()) if word in answer.text], path


async def test_nothing_is_answered_without_a_token(api):
    transport = httpx.ASGITransport(api.app, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api/client/v4") as client:
        for method, path in OPERATIONS:
            answer = await client.request(method.upper(), filled(path, OURS, IDS[0]), json={})
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 9106), (method, path)
