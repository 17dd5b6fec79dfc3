"""Asked for the sessions of a worker, and to end some of them; in the test's process, with real sessions and flows."""

import socket
from contextlib import ExitStack, asynccontextmanager

from spectrum.core.live_sessions import Selection
from spectrum.link.takeover import SESSIONS_PER_PACKET, Events, FindSessions, FoundSessions
from spectrum.plane.processes.finder import Finder
from tests.control.keepers import until
from tests.engine.test_datagrams import datagrams
from tests.plane.processes.parts import process_parts
from tests.plane.processes.test_planes import serve

APPS = """
apps:
  x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ["tcp://127.0.0.1:{origin}"]}}
  y: {{protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: ["udp://127.0.0.1:{origin}"]}}
"""


class Asker:
    """Asks a finder, as a supervisor does."""

    def __init__(self, parts):
        self.parts, self.supervisor = parts, parts.supervisor
        self._finder = Finder(parts.link, parts.planes)
        self._number = 0

    async def ask(self, selection=None, order="age", limit=1000, ends=False):
        """Return all parts of an answer."""
        self._number += 1
        self._finder.find(FindSessions(self._number, selection or Selection(), order, limit, ends))
        number = self._number
        await self.supervisor.wait_for(FoundSessions, lambda part: part.number == number and part.last)
        return [part for part in self.supervisor.messages if isinstance(part, FoundSessions) and part.number == number]


@asynccontextmanager
async def asker(tmp_path, port, origin):
    with ExitStack() as opened:
        async with process_parts(tmp_path / "control") as parts:
            serve(parts.planes, opened, APPS.format(port=port, origin=origin))
            parts.serve()
            yield Asker(parts)
            parts.planes.close_sessions()


async def test_finds_and_ends_sessions(tmp_path, free_port):
    port, count = free_port(), SESSIONS_PER_PACKET + 1
    with ExitStack() as opened:
        origin = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * count)).getsockname()[1]
        async with asker(tmp_path, port, origin) as asks:
            for _ in range(count):
                client = opened.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                client.sendall(b"hello")
            relay = asks.parts.planes.tcp.relay
            await until(lambda: [one[10] for one in relay.look(0, 2 * count)[0]] == [5] * count)
            parts = await asks.ask()
            assert [len(part.sessions) for part in parts] == [SESSIONS_PER_PACKET, 1]
            found = [one for part in parts for one in part.sessions]
            assert parts[-1].total == len({one.name for one in found}) == count
            assert {(one.transport, one.app, one.state, one.origin_port, one.from_client) for one in found} == {
                ("tcp", "x", "relaying", origin, 5)
            }
            assert [one.age_ms for one in found] == sorted((one.age_ms for one in found), reverse=True)
            (part,) = await asks.ask(Selection(apps=("y",)), order="of a later version")
            assert (part.sessions, part.total) == ([], 0)
            names = {"tcp": tuple(one.name for one in found[:3])}
            (part,) = await asks.ask(Selection(names=names), limit=0, ends=True)
            assert (part.sessions, part.total) == ([], 3)
            events = await asks.supervisor.wait_for(Events)
            assert events.lines.count(b'"killed"') == events.count
            assert (await asks.ask(limit=0))[-1].total == count - 3


async def test_flows(tmp_path, free_port):
    port = free_port()
    with datagrams() as origin, datagrams() as client:
        async with asker(tmp_path, port, origin.getsockname()[1]) as asks:
            client.sendto(b"hello", ("127.0.0.1", port))
            await until(lambda: asks.parts.planes.udp.engine.active)
            (one,) = (await asks.ask())[0].sessions
            assert (one.transport, one.app, one.client_port) == ("udp", "y", client.getsockname()[1])
            assert (await asks.ask(ends=True))[0].total == 1
            assert (await asks.ask())[0].sessions == []
