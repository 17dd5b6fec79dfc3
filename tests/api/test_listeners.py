import asyncio
import socket
import ssl

import httpx
import pytest

from spectrum.api import listeners
from spectrum.api.envelope import success
from spectrum.api.listeners import Listeners
from spectrum.tasks import Tasks
from tests.certificates import Authority


async def app(scope, receive, send):
    peer = scope["state"]["peer"]
    await success({"scheme": scope["scheme"], "peer": peer and peer.uid})(scope, receive, send)


@pytest.fixture
def sock():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


async def test_sockets_of_both_families(sock, tmp_path):
    path = tmp_path / "api.sock"
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(path))
    local.listen()
    serving = Listeners(app, [local, sock])
    await serving.start()
    try:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            assert (await client.get("http://api/")).json()["result"] == {"scheme": "http", "peer": 0}
            assert serving.connections == 1
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            assert (await client.get(url)).json()["result"] == {"scheme": "http", "peer": None}
    finally:
        await serving.stop()
    assert serving.connections == 0


async def test_a_renewed_certificate_is_for_the_next_handshake(sock):
    serving = Listeners(app, [sock])
    seen = []
    authority = Authority()
    with pytest.raises(ssl.SSLError):
        serving.set_certificate("nothing", "of that kind")
    for name in ("first.example", "second.example"):
        issued = authority.issue(name)
        serving.set_certificate(issued.chain.decode(), issued.key.decode())
        if not seen:
            await serving.start()
        context = ssl.create_default_context(cadata=authority.pem.decode())
        _, writer = await asyncio.open_connection(*sock.getsockname(), ssl=context, server_hostname=name)
        seen.append(writer.get_extra_info("peercert")["subjectAltName"][0][1])
        writer.close()
    await serving.stop()
    assert seen == ["first.example", "second.example"]


async def test_the_end_waits_for_answers_but_not_for_ever(sock, monkeypatch):
    monkeypatch.setattr(listeners, "DRAIN_S", 0.2)
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await go.wait()
        await app(scope, receive, send)

    for ends in (True, False):
        begun.clear()
        go.clear()
        with socket.create_server(("127.0.0.1", 0)) as own:
            serving = Listeners(slow, [own])
            await serving.start()
            reader, writer = await asyncio.open_connection(*own.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await begun.wait()
            stopping = Tasks().start(serving.stop(), "stop")
            await asyncio.sleep(0)
            if ends:
                go.set()
            await stopping
            assert (await reader.read()).startswith(b"HTTP/1.1 200" if ends else b"")
            writer.close()
