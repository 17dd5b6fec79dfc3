"""What clients send that is no request, or too slowly, or too often."""

import asyncio
import json
import socket
import struct

import pytest

from spectrum.api import connection
from spectrum.api.connection import Connection
from spectrum.api.envelope import success
from spectrum.api.listeners import Listeners
from tests.control.keepers import until


class Echo:
    """Says which requests it got, with their bodies."""

    def __init__(self):
        self.got = []
        self.said = asyncio.Event()
        self.holds = None
        self.answer = ""

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.got.append((scope["path"], None))
                self.said.set()
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.got.append((scope["path"], body))
        if self.holds is not None:
            await self.holds.wait()
        await success(self.answer or scope["path"])(scope, receive, send)


@pytest.fixture
async def served():
    app = Echo()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        serving = Listeners(app, [sock])
        await serving.start()
        app.listeners = serving
        yield app, sock.getsockname()
        await serving.stop()


async def talk(where, data, *later):
    """Send, and return all that comes back until the end."""
    reader, writer = await asyncio.open_connection(*where)
    writer.write(data)
    for part in later:
        await asyncio.sleep(0.05)
        writer.write(part)
    async with asyncio.timeout(5):
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
    writer.close()
    return answer


GET = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def post(*headers, body=b""):
    return b"\r\n".join([b"POST /a HTTP/1.1", b"Host: a", b"Connection: close", *headers, b"", body])


SMUGGLING = {
    "both lengths": post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nGET /b HTTP/1.1\r\n\r\n"),
    "two lengths": post(b"Content-Length: 4", b"Content-Length: 5", body=b"abcde"),
    "a list of lengths": post(b"Content-Length: 4, 5", body=b"abcde"),
    "a signed length": post(b"Content-Length: +4", body=b"abcd"),
    "a hex length": post(b"Content-Length: 0x4", body=b"abcd"),
    "another coding": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "a coding that is hidden": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "a coding with a tab": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a folded header without a first": b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
    "a header without a colon": b"GET /a HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n",
    "a zero byte": b"GET /a HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a bad chunk": post(b"Transfer-Encoding: chunked", body=b"-4\r\nabcd\r\n0\r\n\r\n"),
    "a chunk longer than it says": post(b"Transfer-Encoding: chunked", body=b"2\r\nabcd\r\n0\r\n\r\n"),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "headers without end": b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING)
async def test_what_two_servers_could_read_differently_is_refused_and_the_connection_closed(served, data):
    app, where = served
    answer = await talk(where, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert [line for line in answer.splitlines() if line.startswith(b"HTTP/1.1 ")] == [head.splitlines()[0]]
    assert head.startswith(b"HTTP/1.1 400") and b"connection: close" in head.lower()
    assert json.loads(body)["errors"] == [{"code": 6003, "message": "Invalid HTTP request"}]
    assert ("/b", b"") not in app.got


async def test_requests_may_follow_each_other(served):
    app, where = served
    one = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    chunked = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyou\r\n0\r\n\r\n"
    answer = await talk(where, one + chunked, b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert app.got == [("/a", b"hi"), ("/b", b"you"), ("/c", b"")]
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_an_upgrade_is_not_done(served):
    _, where = served
    headers = b"Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    assert (await talk(where, b"GET /a HTTP/1.1\r\nHost: a\r\n" + headers)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /a HTTP/1.1\r\nHo", b"HTTP/1.1 408"),
        (post(b"Content-Length: 10", body=b"abc"), b"HTTP/1.1 408"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b", b"HTTP/1.1 200"),
    ],
    ids=["headers", "body", "a second request"],
)
async def test_a_slow_client_is_given_up(served, monkeypatch, data, status):
    monkeypatch.setattr(connection, "HEADERS_S", 0.2)
    monkeypatch.setattr(connection, "BODY_S", 0.2)
    app, where = served
    assert (await talk(where, data)).startswith(status)
    assert all(body == b"" or body is None for _, body in app.got)


async def test_a_connection_on_which_nothing_was_sent_yet_is_kept_as_long_as_between_requests(served, monkeypatch):
    """As a browser connects in advance; a request on it meets no connection that is just being closed."""
    monkeypatch.setattr(connection, "HEADERS_S", 0.1)
    _, where = served
    assert (await talk(where, b"", b"", b"", b"", b"", b"", GET)).startswith(b"HTTP/1.1 200")
    monkeypatch.setattr(connection, "IDLE_S", 0.1)
    assert await talk(where, b"") == b""


async def test_sending_byte_by_byte_extends_no_deadline(served, monkeypatch):
    monkeypatch.setattr(connection, "HEADERS_S", 0.3)
    _, where = served
    answer = await talk(where, b"GET", *(bytes([byte]) for byte in b" /a HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 408") or answer == b""


async def test_a_client_that_leaves_in_the_middle(served):
    app, where = served
    _, writer = await asyncio.open_connection(*where)
    writer.write(post(b"Content-Length: 10", body=b"abc"))
    await asyncio.sleep(0.05)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    async with asyncio.timeout(5):
        await app.said.wait()
    assert app.got == [("/a", None)]


async def test_there_are_no_more_connections_than_fit(served, monkeypatch, caplog):
    monkeypatch.setattr(Connection, "most", 3)
    app, where = served
    go = app.holds = asyncio.Event()
    busy = []
    for _ in range(3):
        busy.append(await asyncio.open_connection(*where))
        busy[-1][1].write(GET)
    await until(lambda: len(app.got) == 3)
    assert await talk(where, GET) == b""
    assert "more than 3 connections" in caplog.text
    go.set()
    for reader, writer in busy:
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_the_connection_idle_for_longest_is_closed(served, monkeypatch):
    monkeypatch.setattr(Connection, "most", 3)
    _, where = served
    idle = []
    for _ in range(3):
        idle.append(await asyncio.open_connection(*where))
        await asyncio.sleep(0.02)
    assert (await talk(where, GET)).startswith(b"HTTP/1.1 200")
    assert await idle[0][0].read() == b""
    idle[2][1].write(GET)
    assert (await idle[2][0].read()).startswith(b"HTTP/1.1 200")
    for _, writer in idle:
        writer.close()


async def test_a_client_that_does_not_read_its_answer_is_closed(served, monkeypatch):
    monkeypatch.setattr(connection, "TAKE_S", 0.3)
    app, where = served
    app.answer = "x" * 20_000_000
    reader, writer = await asyncio.open_connection(*where)
    writer.write(GET)
    await until(lambda: app.got and not app.listeners.connections)
    size = 0
    try:
        while part := await reader.read(1 << 16):
            size += len(part)
    except ConnectionResetError:
        pass
    assert size < len(app.answer)
    writer.close()
    app.answer = "short"
    assert (await talk(where, GET)).startswith(b"HTTP/1.1 200")


async def test_who_takes_an_answer_slowly_gets_all_of_it(served, monkeypatch):
    monkeypatch.setattr(connection, "TAKE_S", 1.0)
    app, where = served
    app.answer = "x" * 20_000_000
    reader, writer = await asyncio.open_connection(*where)
    writer.write(GET)
    began, size = asyncio.get_running_loop().time(), 0
    while part := await reader.read(1 << 19):
        size += len(part)
        await asyncio.sleep(0.02)
    assert size > len(app.answer)
    assert asyncio.get_running_loop().time() > began + 1.0, "it was slow"
    writer.close()
