import asyncio
import json
import logging

import httpx
import pytest

from spectrum.api import intake
from spectrum.api.envelope import ApiError, success
from spectrum.api.intake import LARGE_AT_ONCE, MAX_BODY_BYTES, MAX_DEPTH, Intake, decoded
from spectrum.api.traces import Traces


class Whole:
    """An application that says what it got, or does what a test wants."""

    def __init__(self):
        self.seen = None
        self.fails = None
        self.caller = "somebody"
        self.noted = []

    async def __call__(self, scope, receive, send):
        message = await receive()
        self.seen = (scope["state"]["body"], message["body"], scope["state"]["caller"])
        if self.fails is not None:
            raise self.fails
        await success(scope["state"]["request_id"])(scope, receive, send)

    def refused(self, *told):
        self.noted.append(told)

    def identify(self, scope, headers):
        if isinstance(self.caller, ApiError):
            raise self.caller
        return self.caller


@pytest.fixture
def app():
    return Whole()


@pytest.fixture
def client(app):
    whole = Intake(app, app.identify, lambda caller: {"x-ratelimit-limit": "7"}, Traces(), app.refused)
    return httpx.AsyncClient(transport=httpx.ASGITransport(whole), base_url="http://api/client/v4")


async def test_an_answer_has_a_number_a_date_and_what_counts(app, client, caplog):
    caplog.set_level(logging.INFO)
    answer = await client.post("/x", json={"a": [1]})
    assert app.seen == ({"a": [1]}, b'{"a":[1]}', "somebody")
    assert len(answer.headers["cf-ray"]) == 16 and answer.json()["result"] == answer.headers["cf-ray"]
    assert answer.headers["date"].endswith("GMT")
    assert (answer.headers["cache-control"], answer.headers["x-ratelimit-limit"]) == ("no-store", "7")
    assert f"request {answer.headers['cf-ray']}: POST /client/v4/x by somebody" in caplog.text


async def test_reading_is_not_logged(app, client, caplog):
    caplog.set_level(logging.INFO, "spectrum")
    await client.get("/x")
    assert [record for record in caplog.records if record.name.startswith("spectrum")] == []


async def test_the_application_knows_unauthenticated_callers(app, client):
    app.caller = ApiError(401, 10000, "no")
    assert (await client.get("/x")).status_code == 200
    assert app.seen[2] is app.caller


async def test_an_internal_error_says_which_request_it_was(app, client, caplog):
    app.fails = RuntimeError("secret")
    answer = await client.get("/x")
    assert answer.status_code == 500 and answer.headers["x-should-retry"] == "false"
    assert answer.headers["cf-ray"] in answer.json()["errors"][0]["message"]
    assert "secret" not in answer.text and "secret" in caplog.text


async def test_internal_errors_are_answered(app, client):
    app.fails = ApiError(418, 1000, "a teapot")
    assert (await client.get("/x")).json()["errors"] == [{"code": 1000, "message": "a teapot"}]


async def test_a_body_that_is_too_large(app, client, monkeypatch):
    big = b" " * MAX_BODY_BYTES
    json_type = {"content-type": "application/json"}
    assert (await client.post("/x", content=big + b"1", headers=json_type)).status_code == 413

    async def parts():
        for _ in range(3):
            yield big[: MAX_BODY_BYTES // 2]

    answer = await client.post("/x", content=parts(), headers=json_type)
    assert answer.status_code == 413 and "connection" not in answer.headers, "all of it was read"
    monkeypatch.setattr(intake, "MAX_DISCARDED_BYTES", MAX_BODY_BYTES)
    for content, more in ((parts(), {}), (big + b"1", {})):
        answer = await client.post("/x", content=content, headers=json_type | more)
        assert answer.status_code == 413 and answer.headers["connection"] == "close"
    monkeypatch.undo()
    answer = await client.post("/x", content=big + b"1", headers=json_type | {"expect": "100-continue"})
    assert answer.status_code == 413 and answer.headers["connection"] == "close", "the client has not begun"
    items = f"/accounts/{'a' * 32}/rules/lists/{'b' * 32}/items"
    assert (await client.post(items, content=big + b"1", headers=json_type)).status_code == 200
    app.caller = ApiError(401, 10000, "no")
    answer = await client.post(items, content=big + b"1", headers=json_type)
    assert answer.status_code == 413 and answer.headers["connection"] == "close", "of strangers nothing is read in vain"


@pytest.mark.parametrize(("size", "at_once"), [(10, 2 * LARGE_AT_ONCE), (MAX_BODY_BYTES + 1, LARGE_AT_ONCE)])
async def test_large_bodies_are_processed_a_few_at_once(size, at_once):
    under_way, most = 0, 0

    async def slow(scope, receive, send):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        await success(1)(scope, receive, send)

    whole = Intake(slow, lambda scope, headers: "somebody", lambda caller: {}, Traces(), lambda *told: None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(whole), base_url="http://api/client/v4") as client:
        content, headers = b"1".rjust(size), {"content-type": "application/json"}
        asked = (client.post("/spectrum/import", content=content, headers=headers) for _ in range(2 * LARGE_AT_ONCE))
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200} and most == at_once


async def test_a_client_that_leaves_is_forgotten(app, caplog):
    caplog.set_level(logging.INFO)
    whole = Intake(app, app.identify, lambda caller: {}, Traces(), app.refused)
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": None}

    async def receive():
        return {"type": "http.disconnect"}

    await whole(scope, receive, None)
    assert app.seen is None and ": 499 in" in caplog.text
    await whole({"type": "lifespan"}, None, None)


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"{}", {"content-type": "text/plain"}, 415, "Invalid request headers"),
        (b"{}", {}, 415, "Invalid request headers"),
        (b"{}", {"content-type": "application/json", "content-encoding": "gzip"}, 415, "Invalid request headers"),
        (b"{", {"content-type": "application/json"}, 400, "Malformed JSON"),
        (b'{"a":[{"b":1,"c":2,"b":1}]}', {"content-type": "application/json"}, 400, 'the key "b" is there twice'),
        (b'{"a":1,"\\u0061":1}', {"content-type": "application/json"}, 400, 'the key "a" is there twice'),
        (b'"\\ud800"', {"content-type": "application/json"}, 400, "Malformed JSON"),
        (b"NaN", {"content-type": "application/json"}, 400, "Malformed JSON"),
        (b"\xff", {"content-type": "application/json"}, 400, "Malformed JSON"),
        (b"[" * 100_000, {"content-type": "application/json"}, 400, "nested too deep"),
        (b"[" * 40 + b"]" * 40, {"content-type": "application/json"}, 400, "nested deeper than 32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, {"content-type": "application/json"}, 400, "nested deeper than 32"),
    ],
)
def test_a_body_that_is_not_taken(body, headers, status, message):
    with pytest.raises(ApiError, match=message) as caught:
        decoded(body, headers)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/merge-patch+JSON"]
)
def test_types_of_json(kind):
    assert decoded(b"[1]", {"content-type": kind}) == [1]


def test_wide_bodies_are_not_deep():
    wide = [[{}] for _ in range(50)]
    assert decoded(json.dumps(wide).encode(), {"content-type": "application/json"}) == wide
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert decoded(deep, {"content-type": "application/json"})
