import asyncio

import pytest

from spectrum.origin import read_proxy_header
from spectrum.wire import ProxyHeaderError
from tests.wire.test_proxy_protocol import CASES


def stream(*pieces, end=True):
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    if end:
        reader.feed_eof()
    return reader


@pytest.mark.parametrize(("header", "data"), CASES)
async def test_reads_the_header_and_no_more(header, data):
    reader = stream(data, b"payload")
    assert await read_proxy_header(reader) == header
    assert await reader.read() == b"payload"


@pytest.mark.parametrize(("header", "data"), CASES[:4])
async def test_byte_by_byte(header, data):
    reader = asyncio.StreamReader()

    async def feed():
        for i in range(len(data)):
            reader.feed_data(data[i : i + 1])
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read_proxy_header(reader))
        group.create_task(feed())
    assert reading.result() == header


@pytest.mark.parametrize("data", [b"", b"PROXY TCP4 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1", CASES[3][1][:20]])
async def test_a_stream_that_ends_early(data):
    with pytest.raises(ProxyHeaderError, match="the stream ended"):
        await read_proxy_header(stream(data))


async def test_something_else():
    with pytest.raises(ProxyHeaderError, match="not a PROXY header"):
        await read_proxy_header(stream(b"GET / HTTP/1.1\r\n\r\n"))


async def test_a_deadline():
    with pytest.raises(TimeoutError):
        await read_proxy_header(stream(b"PROXY ", end=False), timeout_s=0.01)
