"""The smtp monitor: a greeting, HELO answered by 250, QUIT answered by 221 (RFC 5321)."""

import asyncio
import re

from spectrum.core.balancing.health import ProbeResult
from spectrum.probes.target import ProbeFailure, ProbeTarget, connect

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -])")
# RFC 5321, section 4.5.3.1.5, limits a line to 512 bytes; greetings have some of them.
MAX_LINES = 50


async def probe(target: ProbeTarget) -> ProbeResult:
    """Probe once. The round trip is that of the TCP handshake.

    Raises:
        OSError: If it cannot connect.
        ProbeFailure: If a reply has another code.
    """
    sock, rtt_s = await connect(target)
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    try:
        await _reply(reader, "greeting", 220)
        for command, code in (("HELO spectrum-monitor.invalid", 250), ("QUIT", 221)):
            writer.write(f"{command}\r\n".encode())
            await _reply(reader, command.split()[0], code)
    finally:
        writer.close()
    return ProbeResult(True, rtt_s=rtt_s, code=221)


async def _reply(reader: asyncio.StreamReader, to: str, expected: int) -> None:
    for _ in range(MAX_LINES):
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as exc:
            raise ProbeFailure(f"{to}: a line without an end") from exc
        match = _REPLY_LINE.match(line)
        if match is None:
            raise ProbeFailure(f"{to}: {line[:40]!r} is no reply of SMTP")
        if int(match[1]) != expected:
            raise ProbeFailure(f"{to}: {line[:60].decode('ascii', 'replace').strip()}", int(match[1]))
        if match[2] == b" ":
            return
    raise ProbeFailure(f"{to}: more than {MAX_LINES} lines")
