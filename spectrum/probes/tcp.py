"""The tcp monitor: a connection that is established and closed, with something said and heard if the file asks."""

import asyncio
import socket

from spectrum.core.balancing.health import ProbeResult
from spectrum.probes.target import ProbeFailure, ProbeTarget, connect

# An answer that is not there within so much is not looked for further.
MAX_ANSWER_BYTES = 65536


async def probe(target: ProbeTarget) -> ProbeResult:
    """Probe once. The round trip is that of the handshake.

    Raises:
        OSError: If it cannot be connected.
        ProbeFailure: If it does not say what is expected.
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
