"""A worker that is asked for its sessions, and is to end some of them."""

import asyncio

from spectrum.core.live_sessions import Selection
from spectrum.link.takeover import SESSIONS_PER_PACKET, Events, FindSessions, FoundSessions
from tests.plane.workers import echo, proxy, worker


async def ask(supervisor, number, selection=None, order="age", limit=1000, ends=False):
    """Return all parts of an answer."""
    supervisor.channel.send(FindSessions(number, selection or Selection(), order, limit, ends))
    await supervisor.wait_for(FoundSessions, lambda part: part.number == number and part.last)
    return [part for part in supervisor.messages if isinstance(part, FoundSessions) and part.number == number]


async def test_finds_and_ends_sessions(free_port):
    port, origin = free_port(), free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server, worker(proxy(port, origin)) as (supervisor, _):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SESSIONS_PER_PACKET + 1)]
        for reader, writer in clients:
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        parts = await ask(supervisor, 1)
        assert [len(part.sessions) for part in parts] == [SESSIONS_PER_PACKET, 1]
        found = [one for part in parts for one in part.sessions]
        assert parts[-1].total == len({one.name for one in found}) == len(clients)
        assert {(one.app, one.state, one.origin_port, one.from_client) for one in found} == {
            ("x", "relaying", origin, 5)
        }
        assert [one.age_ms for one in found] == sorted((one.age_ms for one in found), reverse=True)
        (part,) = await ask(supervisor, 2, Selection(apps=("y",)), order="of a later version")
        assert (part.sessions, part.total) == ([], 0)
        names = {"tcp": tuple(one.name for one in found[:3])}
        (part,) = await ask(supervisor, 3, Selection(names=names), limit=0, ends=True)
        assert (part.sessions, part.total) == ([], 3)
        events = await supervisor.wait_for(Events)
        assert events.lines.count(b'"killed"') == events.count
        assert (await ask(supervisor, 4, limit=0))[-1].total == len(clients) - 3
        for _, writer in clients:
            writer.close()
