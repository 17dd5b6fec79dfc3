import asyncio
import json

import pytest

from spectrum.api.connection import Connection
from spectrum.store.objects import file_id
from tests.api.test_live import Supervisor, counted, trouble

PATH = f"/client/v4/accounts/{file_id('accounts', 'acme')}/live"


class Stream:
    """A client of the application that reads a stream; httpx would wait for its end."""

    def __init__(self, app, token):
        self.status, self.headers, self.parts, self._gone = 0, {}, asyncio.Queue(), asyncio.Event()
        headers = [(b"authorization", b"Bearer " + token.encode())]
        scope = {
            "type": "http",
            "method": "GET",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": headers,
        }
        scope |= {
            "state": {"peer": None},
            "client": ("192.0.2.7", 1),
            "server": None,
            "scheme": "http",
            "http_version": "1.1",
        }
        self._task = asyncio.get_running_loop().create_task(app(scope | {"root_path": ""}, self._receive, self._send))
        self._asked = False

    async def _receive(self):
        if self._asked:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.parts.put_nowait(message["body"])

    async def next(self):
        return await asyncio.wait_for(self.parts.get(), 10)

    async def close(self):
        self._gone.set()
        await self._task


@pytest.fixture
def follow(api):
    api.live._supervisor = Supervisor()
    return lambda token: Stream(api.app, token)


async def test_a_stream_of_events(api, follow):
    api.live._supervisor.apps["ssh.example.com"] = counted(opened=2)
    stream = follow(await api.token("all:edit"))
    first = await stream.next()
    assert stream.status == 200 and stream.headers["content-type"].startswith("text/event-stream")
    assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
    message = json.loads(first.removeprefix(b"data: "))
    assert (message["totals"]["open"], message["workers"]) == (2, {"wanted": 2, "serving": 2})
    await stream.next()
    await stream.close()
    assert api.live.listeners == 0


async def test_what_a_token_may_see(api, follow):
    few = follow(await api.token("apps:read", zones=["example.com"]))
    message = json.loads((await few.next()).removeprefix(b"data: "))
    assert message["workers"] is None
    await few.close()
    refused = follow(await api.token("apps:read", zones=["example.net"]))
    assert b"9109" in await refused.next() and refused.status == 403
    await refused.close()


async def test_who_may_look_at_one_account_is_not_told_of_the_machine(api, follow):
    supervisor = api.live._supervisor
    supervisor.troubles = [trouble("reload_refused", "degraded", why="f.yaml:7: apps.game: ...")]
    for accounts, count in ((["acme"], 0), (None, 1)):
        stream = follow(await api.token("all:read", **({"accounts": accounts} if accounts else {})))
        message = json.loads((await stream.next()).removeprefix(b"data: "))
        assert message["workers"] is not None
        assert message["finding_count"] == count
        await stream.close()


async def test_a_token_that_is_deleted_ends_its_stream(api, follow):
    text = await api.token("apps:read")
    stream = follow(text)
    await stream.next()
    await api.tokens.delete(api.tokens.find(text), (), 0.0)
    async with asyncio.timeout(10):
        while await stream.next():
            pass
    assert api.live.listeners == 0
    await stream.close()


async def test_half_of_all_connections_are_left_for_requests(api, follow, monkeypatch):
    monkeypatch.setattr(Connection, "most", 2)
    token = await api.token("apps:read")
    one = follow(token)
    await one.next()
    other = follow(token)
    assert b"max_connections" in await other.next() and (other.status, other.headers["x-should-retry"]) == (503, "true")
    await one.close()
    await other.close()


@pytest.mark.parametrize(("permission", "status"), [("apps:read", 404), ("pools:read", 403)])
async def test_an_account_that_is_not_there(api, permission, status):
    answer = await api.client(await api.token(permission)).get(f"/accounts/{'0' * 32}/live")
    assert answer.status_code == status
