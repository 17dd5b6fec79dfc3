"""The tcp monitor: a connection is established and closed, with an exchange of bytes if configured."""

import asyncio
import socket

from spectrum.core.balancing.health import ProbeResult
from spectrum.probes.target import ProbeFailure, ProbeTarget, connect

# The expected text must be within this many bytes.
MAX_ANSWER_BYTES = 65536


async def probe(target: ProbeTarget) -> ProbeResult:
    """Probe once. The round trip is that of the TCP handshake.

    Raises:
        OSError: If it cannot connect.
        ProbeFailure: If the answer is not as expected.
    """
    sock, rtt_s = await connect(target)
    with sock:
        monitor = target.monitor
        if monitor.send:
            await asyncio.get_running_loop().sock_sendall(sock, monitor.send.encode())
        if monitor.expect:
            await _expect(sock, monitor.expect.encode())
    return ProbeResult(True, rtt_s=rtt_s)


async def _expect(sock: socket.socket, wanted: bytes) -> None:
    loop = asyncio.get_running_loop()
    heard = b""
    while wanted not in heard:
        data = await loop.sock_recv(sock, 4096)
        if not data or len(heard) > MAX_ANSWER_BYTES:
            raise ProbeFailure(f"said {heard[:40]!r}, not what is expected")
        heard += data
