import asyncio
import errno
import resource
import socket
import time

import pytest
from aiohttp import web

from spectrum.control.http.listener import Bounds, HttpListener
from spectrum.kernel.sockets import descriptor_limit
from spectrum.tasks import Tasks

IDLE_S = 0.4
FEW = Bounds(4, 16, 0.6)
GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 8 * 2**20


@pytest.fixture
async def serve():
    """Serve /page, /large, /body and /fault; return the listener and its address."""
    listeners = []

    async def page(_):
        return web.Response(text="a page\n")

    async def large(_):
        return web.Response(body=bytes(LARGE))

    async def body(request):
        return web.Response(text=str(len(await request.read())))

    async def fault(_):
        raise RuntimeError("secret")

    async def begin(bounds=FEW, family=socket.AF_INET, address=("127.0.0.1", 0)):
        app = web.Application()
        app.add_routes([web.get("/page", page), web.get("/large", large), web.get("/fault", fault)])
        app.add_routes([web.post("/body", body)])
        listener = HttpListener("test", app, bounds, IDLE_S)
        sock = socket.socket(family)
        sock.bind(address)
        await listener.start(sock)
        listeners.append(listener)
        return listener, sock.getsockname()

    yield begin
    for listener in listeners:
        await listener.stop()


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, data=GET):
        self.writer.write(data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return head.decode(), (await self.reader.readexactly(size)).decode()

    async def closed_after(self):
        """Wait until the other side closes; return how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(5):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        return time.monotonic() - began


@pytest.fixture
async def connect():
    clients = []

    async def make(address, data=b""):
        opened = (
            asyncio.open_connection(*address) if isinstance(address, tuple) else asyncio.open_unix_connection(address)
        )
        clients.append(Client(*await opened))
        clients[-1].writer.write(data)
        return clients[-1]

    yield make
    for client in clients:
        client.writer.close()


@pytest.mark.parametrize("head", [b"", b"GET /page HT", b"GET /page HTTP/1.1\r\nHost: x\r\nX: "])
async def test_a_head_has_a_deadline(serve, connect, head):
    _, address = await serve()
    client = await connect(address, head)
    trickle = Tasks()

    async def write():
        while True:
            await asyncio.sleep(0.05)
            client.writer.write(b"a" if head else b"")

    trickle.start(write(), "trickle")
    assert await client.closed_after() < IDLE_S + 1
    await trickle.stop()


async def test_a_connection_is_kept_for_another_request_but_not_for_long(serve, connect):
    _, address = await serve()
    client = await connect(address)
    for _ in range(3):
        head, text = await client.ask()
        assert (head.split("\r\n")[0], text) == ("HTTP/1.1 200 OK", "a page\n")
        assert "Server: spectrum\r\n" in head
        await asyncio.sleep(IDLE_S / 2)
    assert await client.closed_after() < IDLE_S + 1


async def test_an_answer_that_nobody_reads_has_a_deadline(serve, connect):
    listener, (host, port) = await serve()
    client = await connect((host, port), b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    client.writer.transport.pause_reading()
    async with asyncio.timeout(5):
        while not listener._connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while listener._connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "data", [b"", b"GET /page HTTP/1.1\r\nX: ", GET, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 3]
)
async def test_a_new_client_takes_the_place_of_another_one(serve, connect, caplog, data):
    listener, address = await serve(Bounds(4, 16, None))
    others = [await connect(address, data) for _ in range(12)]
    for other in others:
        other.writer.transport.pause_reading()
    assert (await (await connect(address)).ask())[1] == "a page\n"
    assert len(listener._connections) <= 4
    assert caplog.text.count("closed to make room") == 1


async def test_who_is_answered_is_closed_last(serve, connect):
    _, address = await serve(Bounds(3, 16, None))
    scraper = await connect(address, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    for _ in range(10):
        await connect(address)
    _, text = await scraper.ask(b"")
    assert len(text) == LARGE


MALFORMED = {
    "two lengths": b"GET /page HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "long header": b"GET /page HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET /page HTTP/1.1\r\n" + b"X: b\r\n" * 1000 + b"\r\n",
    "long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "no method": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no length": b"GET /page HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    "no version": b"GET /page HTTP/9.x\r\n\r\n",
    "bad chunk": b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_request_is_a_line_a_minute(serve, connect, caplog, data):
    _, address = await serve(Bounds(64, 16, None))
    for _ in range(20):
        head, text = await (await connect(address)).ask(data)
        assert head.split()[1] == "400"
        assert "Server: spectrum\r\n" in head
        assert text == "bad request\n"
    lines = [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]
    assert len(lines) == 1
    assert lines[0].startswith("test: malformed requests: 1, the latest: 127.0.0.1: ")
    assert "\n" not in lines[0]
    assert "Traceback" not in caplog.text


async def test_a_bad_chunk_behind_an_answer_is_the_clients_fault(serve, connect, caplog):
    _, address = await serve()
    client = await connect(address)
    head, _ = await client.ask(b"GET /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ")
    client.writer.write(b"rubbish\r\n\r\n")
    assert await client.closed_after() < 5
    assert "Traceback" not in caplog.text


async def test_a_body_is_not_waited_for(serve, connect):
    _, address = await serve()
    _, text = await (await connect(address)).ask(
        b"GET /page HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
    )
    assert text == "a page\n"


async def test_an_internal_error_is_in_the_log_and_not_in_the_answer(serve, connect, caplog):
    _, address = await serve()
    for _ in range(3):
        head, text = await (await connect(address)).ask(b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith("HTTP/1.1 500 ")
        assert text == "internal error, see the log\n"
    assert caplog.text.count("RuntimeError: secret") == 1


async def test_descriptors_are_left_to_others(serve, connect, caplog):
    _, address = await serve(Bounds(64, descriptor_limit() - 10, None))
    for _ in range(3):
        assert await (await connect(address)).closed_after() < 5
    assert caplog.text.count("test: clients turned away: 1, the latest: too many open files") == 1


async def test_accepting_rests_when_there_are_no_descriptors(serve, connect, caplog):
    _, address = await serve(Bounds(64, 0, None))
    client = await connect(address)
    assert (await client.ask())[1] == "a page\n"
    waiting = socket.socket()
    waiting.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):  # noqa: PT012
            while True:
                held.append(socket.socket())
        assert waiting.connect_ex(address) == errno.EINPROGRESS
        async with asyncio.timeout(5):
            while "the latest: too many open files" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(waiting, GET)
    async with asyncio.timeout(5):
        assert b"a page" in await loop.sock_recv(waiting, 1000)
    waiting.close()


async def test_a_unix_socket(serve, connect, tmp_path):
    path = str(tmp_path / "sock")
    await serve(family=socket.AF_UNIX, address=path)
    client = await connect(path)
    assert (await client.ask())[1] == "a page\n"
    assert await client.closed_after() < IDLE_S + 1
