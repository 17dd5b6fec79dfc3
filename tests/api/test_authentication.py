import time

import pytest

from spectrum.api.authentication import Authentication
from spectrum.api.envelope import ApiError
from spectrum.api.failures import ATTEMPTS
from spectrum.kernel.peers import Peer

PERMISSION = "apps:read"


def identify(api, headers, peer=None, address="192.0.2.7"):
    scope = {"state": {"peer": peer}, "client": (address, 1) if address else None}
    return Authentication(api.tokens).identify(scope, headers)


def bearer(text):
    return {"authorization": f"Bearer {text}", "user-agent": "x" * 1000}


async def test_a_token_is_known(api):
    text = await api.token(PERMISSION)
    caller = identify(api, bearer(text))
    assert (caller.author.kind, caller.author.name, caller.author.address) == ("token", "test", "192.0.2.7")
    assert len(caller.author.user_agent) == 200
    assert caller.fault is None and caller.may("apps", False) and not caller.may("apps", True)
    assert time.time() - api.tokens.last_used(caller.token) < 60


async def test_callers_on_this_machine(api):
    assert identify(api, {}, Peer(1, 0), "").is_local
    assert str(identify(api, {}, Peer(1, 0), "")) == "user root (0)"
    text = await api.token(PERMISSION)
    assert not identify(api, bearer(text), Peer(1, 0), "").is_local
    with pytest.raises(ApiError):
        identify(api, {}, Peer(1, 12345), "")


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"host": "localhost:8787"}, True),
        ({"host": "127.0.0.1:8787"}, True),
        ({"host": "[::1]:8787"}, True),
        ({"host": "api"}, True),
        ({"host": "localhost", "sec-fetch-site": "same-origin"}, True),
        ({"host": "localhost", "sec-fetch-site": "none"}, True),
        ({"host": "rebound.example.com:8787"}, False),
        ({"host": "127.0.0.1.example.com"}, False),
        ({"host": "127.0.0.1@example.com"}, False),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, False),
        ({"host": "127.0.0.1", "sec-fetch-site": "same-site"}, False),
        ({"host": "192.0.2.1:8787", "origin": "http://192.0.2.1:8787"}, True),
        ({"host": "localhost", "origin": "http://outer.example", "sec-fetch-site": "same-origin"}, True),
        ({"host": "192.0.2.1:8787", "origin": "https://evil.example"}, False),
        ({"host": "192.0.2.1:8787", "origin": "null"}, False),
    ],
)
async def test_pages_of_other_sites_cannot_use_a_forwarded_socket(api, headers, is_own):
    if is_own:
        assert identify(api, headers, Peer(1, 0), "").is_local
        return
    with pytest.raises(ApiError, match="other sites") as caught:
        identify(api, headers, Peer(1, 0), "")
    assert caught.value.status == 403
    text = await api.token(PERMISSION)
    assert not identify(api, {**headers, **bearer(text)}, Peer(1, 0), "").is_local, "a token does"


@pytest.mark.parametrize(
    ("headers", "status", "code", "words"),
    [
        ({}, 400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
        ({"x-auth-email": "a@b.example"}, 400, 9106, "CLOUDFLARE_EMAIL"),
        ({"x-auth-email": "a@b.example", "x-auth-key": "k" * 37}, 403, 9103, "no such keys here"),
        ({"authorization": "Bearer"}, 400, 6003, "Invalid request headers"),
        ({"authorization": "Basic YTpi"}, 400, 6003, "Invalid request headers"),
        ({"authorization": "Bearer short"}, 401, 10000, "Authentication error"),
        ({"authorization": "Bearer " + "x" * 46}, 401, 10000, "Authentication error"),
    ],
)
async def test_unauthenticated_callers(api, headers, status, code, words):
    with pytest.raises(ApiError, match=words) as caught:
        identify(api, headers)
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        ({"status": "disabled"}, "disabled", "is disabled"),
        ({"expires_on": "2020-01-01"}, "expired", "has expired"),
        ({"not_before": "2999-01-01"}, "not_yet", "not valid yet"),
        ({"addresses": ["192.0.2.0/29"]}, "active", None),
        ({"addresses": ["192.0.2.8/29"]}, "active", "location: 192.0.2.7"),
        ({"not_addresses": ["192.0.2.7"]}, "active", "location"),
    ],
)
async def test_a_token_that_is_not_valid_now(api, value, status, words):
    text = await api.token(PERMISSION, **value)
    caller = identify(api, bearer(text))
    assert caller.status == status
    assert caller.fault is None if words is None else words in str(caller.fault) and caller.fault.status == 403


async def test_a_token_for_some_addresses_does_not_work_without_one(api):
    text = await api.token(PERMISSION, addresses=["192.0.2.0/24"])
    assert "this machine" in str(identify(api, bearer(text), address="").fault)


async def test_guessing_of_tokens_is_slowed_down(api, caplog):
    known = Authentication(api.tokens)
    scope = {"state": {"peer": None}, "client": ("192.0.2.9", 1)}
    errors = []
    for _ in range(ATTEMPTS + 2):
        with pytest.raises(ApiError) as caught:
            known.identify(scope, bearer("x" * 46))
        errors.append(caught.value)
    assert [error.status for error in errors] == [401] * ATTEMPTS + [429] * 2
    assert 0 < int(errors[-1].headers["retry-after"]) <= 60
    assert caplog.text.count("192.0.2.9: 11 requests with unknown tokens") == 1
    text = await api.token(PERMISSION)
    assert known.identify(scope, bearer(text)).fault is None
