"""Normal traffic beside a flood: real sessions and flows through an edge to an echo server.

Established ones send a token, wait until it comes back, and send the next one; new ones are opened all the time, each
for one token. Tokens that do not come back are lost. Clients retransmit unanswered openings as usual: TCP by its stack,
a datagram once after a second.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

ESTABLISHED = 10
PAUSE_S = 0.02
OPENINGS_PER_S = 20.0
OPENING_TIMEOUT_S = 4.0
ANSWER_TIMEOUT_S = 2.0
TOLD_EVERY_S = 0.25
TOKEN_BYTES = 32


class ProbePlan(msgspec.Struct, frozen=True):
    """The traffic.

    Attributes:
        transport: tcp or udp.
        address: The edge's address.
        port: The app's port.
        sources: Addresses of clients; none for any.
        seconds: The duration.
        header: The first bytes of a new session, which are echoed, too: as the app's protocol has them.
    """

    transport: str
    address: str
    port: int
    sources: list[str]
    seconds: float
    header: bytes = b""


@dataclass(slots=True)
class Probed:
    """The counts of normal traffic since the begin.

    Attributes:
        sent: Tokens of established sessions.
        answered: Those that came back.
        broken: Established sessions that ended. UDP flows never end: their tokens are lost, and they continue.
        opened: New sessions that got their token back.
        failed: Those that did not.
        trips_s: Round trips of established sessions, in seconds.
        opening_s: Durations of new sessions, in seconds.
    """

    sent: int = 0
    answered: int = 0
    broken: int = 0
    opened: int = 0
    failed: int = 0
    trips_s: list[float] = field(default_factory=list)
    opening_s: list[float] = field(default_factory=list)


class Probes:
    """Keeps sessions and opens new ones.

    Args:
        plan: The traffic.
    """

    def __init__(self, plan: ProbePlan) -> None:
        self._plan = plan
        self.probed = Probed()
        self._number = 0
        self._until = 0.0

    async def run(self) -> None:
        """Run for the duration of the plan."""
        self._until = time.monotonic() + self._plan.seconds
        async with asyncio.TaskGroup() as tasks:
            for _ in range(ESTABLISHED):
                tasks.create_task(self._keep())
            while time.monotonic() < self._until:
                tasks.create_task(self._open())
                await asyncio.sleep(1 / OPENINGS_PER_S)

    def _source(self) -> tuple[str, int] | None:
        self._number += 1
        sources = self._plan.sources
        return (sources[self._number % len(sources)], 0) if sources else None

    async def _connect(self) -> "_ProbeSession":
        plan = self._plan
        if plan.transport == "udp":
            loop = asyncio.get_running_loop()
            _, flow = await loop.create_datagram_endpoint(
                _ProbeFlow, remote_addr=(plan.address, plan.port), local_addr=self._source()
            )
            return flow
        reader, writer = await asyncio.open_connection(plan.address, plan.port, local_addr=self._source())
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _ProbeStream(reader, writer)

    async def _keep(self) -> None:
        while time.monotonic() < self._until:
            try:
                async with asyncio.timeout(OPENING_TIMEOUT_S):
                    session = await self._connect()
            except OSError:  # TimeoutError is one
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                await self._talk(session)
            except (OSError, EOFError):
                self.probed.broken += 1
            finally:
                session.close()

    async def _talk(self, session: "_ProbeSession") -> None:
        is_flow = self._plan.transport == "udp"
        while time.monotonic() < self._until:
            token = self._token()
            self.probed.sent += 1
            began = time.perf_counter()
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await session.exchange(token)
            except TimeoutError:
                if not is_flow:
                    raise
            else:
                self.probed.answered += 1
                self.probed.trips_s.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_S)

    async def _open(self) -> None:
        began = time.perf_counter()
        session: _ProbeSession | None = None
        try:
            async with asyncio.timeout(OPENING_TIMEOUT_S):
                session = await self._connect()
                token = self._token()
                if self._plan.transport == "udp":
                    try:
                        async with asyncio.timeout(1.0):
                            await session.exchange(token)
                    except TimeoutError:
                        await session.exchange(token)
                else:
                    await session.exchange(token)
        except (OSError, EOFError):
            self.probed.failed += 1
        else:
            self.probed.opened += 1
            self.probed.opening_s.append(time.perf_counter() - began)
        finally:
            if session is not None:
                session.close()

    def _token(self) -> bytes:
        return self._plan.header + os.urandom(TOKEN_BYTES)


class _ProbeSession:
    async def exchange(self, token: bytes) -> None:
        """Send a token and wait until it comes back; other bytes are skipped."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class _ProbeStream(_ProbeSession):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def exchange(self, token: bytes) -> None:
        self._writer.write(token)
        got = b""
        while token not in got:
            data = await self._reader.read(4096)
            if not data:
                raise EOFError("the session has ended")
            got += data

    def close(self) -> None:
        self._writer.transport.abort()


class _ProbeFlow(asyncio.DatagramProtocol, _ProbeSession):
    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[None]] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        for token, answered in self._waiting.items():
            if data.endswith(token) and not answered.done():
                answered.set_result(None)

    def error_received(self, exc: Exception) -> None:
        """Continue: an ICMP message does not end a flow."""

    async def exchange(self, token: bytes) -> None:
        self._waiting[token] = answered = asyncio.get_running_loop().create_future()
        try:
            self._transport.sendto(token)
            await answered
        finally:
            del self._waiting[token]

    def close(self) -> None:
        self._transport.close()


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile; 0 without values."""
    found = sorted(values)
    return found[min(int(len(found) * share), len(found) - 1)] if found else 0.0


async def main(text: str) -> None:
    """Run a plan as JSON; print its counts as a line of JSON, four times a second and at the end."""
    probes = Probes(msgspec.json.decode(text, type=ProbePlan))

    def tell() -> None:
        sys.stdout.write(json.dumps(asdict(probes.probed)) + "\n")
        sys.stdout.flush()
        probes.probed.trips_s, probes.probed.opening_s = [], []

    async def tell_always() -> None:
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            tell()

    telling = asyncio.get_running_loop().create_task(tell_always())
    try:
        await probes.run()
    finally:
        telling.cancel()
        tell()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
