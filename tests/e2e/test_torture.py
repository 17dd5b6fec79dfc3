"""Hundreds of sessions at once with random sizes, pauses, half-closes, resets and slow readers; contents by hash.

The plan of every session is drawn from a seed that a failure prints. `make soak` runs more of them, for longer.
"""

import asyncio
import hashlib
import os
import random
import socket
import struct
import time
from dataclasses import dataclass

from tests.e2e.daemon import Daemon

SOAK = bool(os.environ.get("SPECTRUM_SOAK"))
SESSIONS = 2000 if SOAK else 300
CONCURRENT = 400 if SOAK else 200
MINUTES = 5 if SOAK else 0


@dataclass
class Plan:
    """What one session does; the origin gets it in the first bytes, the client keeps to it as well."""

    seed: int
    upload: int
    download: int
    slow_client: bool
    slow_origin: bool
    client_first: bool  # half-close by the client before the origin answers
    reset: str  # "", "client" or "origin": who resets in the middle

    LAYOUT = struct.Struct("!QII????")

    def pack(self) -> bytes:
        flags = (self.slow_client, self.slow_origin, self.client_first, self.reset == "origin")
        return self.LAYOUT.pack(self.seed, self.upload, self.download, *flags)


def draw(rng: random.Random) -> Plan:
    sizes = [0, 1, 100, 4096, 65536, 65537, 300_000, 2_000_000]
    return Plan(
        seed=rng.getrandbits(60),
        upload=rng.choice(sizes),
        download=rng.choice(sizes),
        slow_client=rng.random() < 0.1,
        slow_origin=rng.random() < 0.1,
        client_first=rng.random() < 0.5,
        reset=rng.choices(["", "client", "origin"], [8, 1, 1])[0],
    )


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


async def send(writer, data, rng):
    """Write in random pieces with random pauses."""
    at = 0
    while at < len(data):
        piece = rng.choice([1, 10, 1000, 65536, 1_000_000])
        writer.write(data[at : at + piece])
        at += piece
        await writer.drain()
        if rng.random() < 0.2:
            await asyncio.sleep(rng.random() * 0.01)


async def receive(reader, slow, rng):
    """Read to the end; a slow reader takes little and waits."""
    digest, size = hashlib.sha256(), 0
    while data := await reader.read(rng.choice([1000, 65536]) if slow else 1 << 20):
        digest.update(data)
        size += len(data)
        if slow and rng.random() < 0.3:
            await asyncio.sleep(0.005)
    return size, digest.hexdigest()


def abort(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def origin_session(reader, writer):
    """Answer by the client's plan: the download, then 4 + 32 bytes that tell what was received."""
    downloading = None
    try:
        plan = Plan(*Plan.LAYOUT.unpack(await reader.readexactly(Plan.LAYOUT.size)))
        rng = random.Random(plan.seed + 1)
        if plan.reset:
            await reader.read(100)
            await asyncio.sleep(rng.random() * 0.02)
            abort(writer)
            return
        data = content(plan.seed + 2, plan.download)
        if not plan.client_first:
            downloading = asyncio.get_running_loop().create_task(send(writer, data, rng))
        size, digest = await receive(reader, plan.slow_origin, rng)
        if downloading:
            await downloading
        else:
            await send(writer, data, rng)
        writer.write(size.to_bytes(4, "big") + bytes.fromhex(digest))
        await writer.drain()
        writer.close()
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.close()
    finally:
        if downloading:
            await asyncio.wait([downloading])
            downloading.exception()


async def client_session(port, plan, outcomes):
    rng = random.Random(plan.seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = content(plan.seed + 3, plan.upload)
    try:
        writer.write(plan.pack())
        if plan.reset == "client":
            await send(writer, data[:100_000], rng)
            await asyncio.sleep(rng.random() * 0.02)
            abort(writer)
            outcomes["client reset"] += 1
            return
        sending = asyncio.get_running_loop().create_task(_upload(writer, data, rng))
        try:
            received = bytearray()
            while piece := await reader.read(rng.choice([1000, 65536]) if plan.slow_client else 1 << 20):
                received += piece
                if plan.slow_client and rng.random() < 0.3:
                    await asyncio.sleep(0.005)
        finally:
            await asyncio.wait([sending])
            failure = sending.exception()
        if failure:
            raise failure
        assert plan.reset != "origin", "a reset origin must not look like an end"
        trailer = bytes(received[plan.download :])
        assert received[: plan.download] == content(plan.seed + 2, plan.download), plan
        assert int.from_bytes(trailer[:4], "big") == plan.upload, plan
        assert trailer[4:] == hashlib.sha256(data).digest(), plan
        outcomes["whole"] += 1
    except ConnectionError:
        assert plan.reset == "origin", plan
        outcomes["origin reset"] += 1
    finally:
        writer.close()


async def _upload(writer, data, rng):
    await send(writer, data, rng)
    writer.write_eof()


async def test_torture(tmp_path, free_port):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    edge, origin = free_port(), free_port()
    server = await asyncio.start_server(origin_session, "127.0.0.1", origin, backlog=4096)
    text = f"apps: {{x: {{protocol: tcp/{edge}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
    outcomes = {"whole": 0, "client reset": 0, "origin reset": 0}
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(plan):
        async with gate, asyncio.timeout(120):
            await client_session(edge, plan, outcomes)

    with Daemon(tmp_path, text + "\nlog: {sessions_per_second: 0}", workers=2) as daemon:
        async with server:
            ends_at = time.monotonic() + 60 * MINUTES
            count = 0
            while True:
                plans = [draw(rng) for _ in range(SESSIONS)]
                await asyncio.gather(*(one(plan) for plan in plans))
                count += SESSIONS
                if time.monotonic() >= ends_at:
                    break
            events = await asyncio.to_thread(daemon.wait_for_events, count, 30)
        assert sum(outcomes.values()) == count
        assert outcomes["whole"] > count / 2
        reasons = {event["Reason"] for event in events}
        assert reasons <= {
            "client_closed",
            "origin_closed",
            "client_reset",
            "origin_reset",
            "client_pipe",
            "origin_pipe",
        }
        app = await asyncio.to_thread(daemon.app, "x")
        assert (app["sessions"], app["sessions_started"]) == (0, count)
        print(outcomes, {reason: sum(e["Reason"] == reason for e in events) for reason in reasons})
