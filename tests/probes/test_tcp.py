import asyncio

import pytest

from spectrum.probes import tcp
from spectrum.probes.target import ProbeFailure
from tests.probes.servers import closed_port, saying, serving, target


async def test_established_and_closed_cleanly():
    ends = []

    async def handle(reader, writer):
        ends.append(await reader.read())  # raises where the probe resets instead

    async with serving(handle) as port:
        result = await tcp.probe(target(port, type="tcp"))
        assert result.ok
        assert 0 < result.rtt_s < 1
        async with asyncio.timeout(5):
            while not ends:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert ends == [b""]


async def test_refused():
    with pytest.raises(ConnectionRefusedError):
        await tcp.probe(target(closed_port(), type="tcp"))


async def test_send_and_expect():
    async def handle(reader, writer):
        asked = await reader.readuntil(b"\n")
        for part in (b"+PO", b"NG\r\n" if asked == b"PING\n" else b"WHAT"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(handle) as port:
        assert (await tcp.probe(target(port, type="tcp", send="PING\n", expect="+PONG"))).ok
        with pytest.raises(ProbeFailure, match=r"said b'.POWHAT', not what is expected"):
            await tcp.probe(target(port, type="tcp", send="HELLO\n", expect="+PONG"))


async def test_an_answer_without_end():
    async def handle(reader, writer):
        while True:
            writer.write(b"x" * 9999)
            await writer.drain()

    async with serving(handle) as port:
        with pytest.raises(ProbeFailure, match="not what is expected"):
            await tcp.probe(target(port, type="tcp", expect="y"))


@pytest.mark.parametrize(
    ("header", "first"), [("v1", b"PROXY TCP4 127.0.0.1 127.0.0.1 "), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20")]
)
async def test_the_apps_header_comes_first(header, first):
    heard = []

    async def handle(reader, writer):
        heard.append(await reader.read())

    async with serving(handle) as port:
        await tcp.probe(target(port, type="tcp", header=header, send="hello"))
        async with asyncio.timeout(5):
            while not heard:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert heard[0].startswith(first)
    assert heard[0].endswith(b"hello")


async def test_says_nothing_where_nothing_is_asked():
    async with serving(saying(b"220 hello")) as port:
        assert (await tcp.probe(target(port, type="tcp", expect="220"))).ok
