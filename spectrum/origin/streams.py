"""Read the PROXY header of a TCP connection in an asyncio program.

    async def handle(reader, writer):
        header = await read_proxy_header(reader)
        client = header.source or writer.get_extra_info("peername")

Call it only if every connection comes from the edge: a host that can connect directly could claim any address.
"""

import asyncio
from typing import Protocol

from spectrum.wire.proxy_protocol import MAX_V1_BYTES, MAX_V2_BYTES, Header, ProxyHeaderError, parse

# The shortest header of either version is 15 bytes ("PROXY UNKNOWN" CR LF), so reading this many never takes payload.
_FIRST_BYTES = 15


class ExactReader(Protocol):
    """The method of a stream that is needed; `asyncio.StreamReader` has it."""

    async def readexactly(self, n: int, /) -> bytes:
        """Return exactly `n` bytes, or raise `asyncio.IncompleteReadError`."""
        ...


async def read_proxy_header(reader: ExactReader, timeout_s: float = 5.0) -> Header:
    """Return the header at the start of a stream, without reading beyond it.

    Args:
        reader: A stream of which nothing has been read.
        timeout_s: The timeout of the whole header.

    Raises:
        ProxyHeaderError: If the stream does not begin with a header, or ends within it.
        TimeoutError: If it takes longer.
    """
    async with asyncio.timeout(timeout_s):
        try:
            return await _read(reader)
        except asyncio.IncompleteReadError as exc:
            raise ProxyHeaderError(f"the stream ended after {exc.partial!r}, before the PROXY header did") from exc


async def _read(reader: ExactReader) -> Header:
    data = await reader.readexactly(_FIRST_BYTES)
    while (parsed := parse(data)) is None:
        if data.startswith(b"P"):
            # A version 1 line has no length: it is read byte by byte, at most 107, from the reader's buffer.
            data += await reader.readexactly(1)
            assert len(data) <= MAX_V1_BYTES, "parse refuses a longer line"
        else:
            data += await reader.readexactly(_missing_v2(data))
    return parsed[0]


def _missing_v2(data: bytes) -> int:
    """Return how many bytes a version 2 header still lacks, as far as `data` says."""
    if len(data) < 16:
        return 16 - len(data)
    whole = 16 + int.from_bytes(data[14:16], "big")
    assert len(data) < whole <= MAX_V2_BYTES, "parse returns or refuses everything else"
    return whole - len(data)
