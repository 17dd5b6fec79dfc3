"""Lists the open sessions and flows of a worker, and ends them, on request of an operator."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from spectrum.core.live_sessions import ORDERS, FirstSessions, LiveSession
from spectrum.core.records.reasons import Reason
from spectrum.link.takeover import FindSessions, FoundSessions
from spectrum.plane.processes.link import Link
from spectrum.plane.processes.planes import Planes
from spectrum.tasks import Tasks

if TYPE_CHECKING:
    from spectrum.engine.sessions import Seen

log = logging.getLogger(__name__)

# Sessions examined at once: it takes half a millisecond, after which other events get a turn.
PLACES_AT_ONCE = 128


class Finder:
    """Answers `FindSessions`.

    Args:
        link: Sends the answers.
        planes: The planes with the sessions.
    """

    def __init__(self, link: Link, planes: Planes) -> None:
        self._link = link
        self._planes = planes
        self._tasks = Tasks()

    def find(self, asked: FindSessions) -> None:
        """Answer in the background: the engine continues meanwhile."""
        self._tasks.start(self._answer(asked), "find sessions")

    async def _answer(self, asked: FindSessions) -> None:
        matches = asked.selection.matcher()
        first = FirstSessions(asked.order if asked.order in ORDERS else "age", asked.limit)
        tcp, udp = self._planes.tcp, self._planes.udp
        for transport, engine, app_name in (("tcp", tcp.relay, tcp.app_name), ("udp", udp.engine, udp.app_name)):
            place = 0
            while True:
                seen, place = engine.look(place, PLACES_AT_ONCE)
                found = [one for one in _told(transport, app_name, seen) if matches(one)]
                first.add(found)
                if asked.ends and found:
                    for one in found:
                        engine.close(one.name, Reason.KILLED)
                    self._planes.engine.process()  # Their records are due now.
                if not place:
                    break
                await asyncio.sleep(0)
        if asked.ends:
            log.info("%d sessions and flows ended: killed by an operator", first.total)
        for part in FoundSessions.packets(asked.number, first.sorted(), first.total):
            self._link.send(part)
            await asyncio.sleep(0)


def _told(transport: str, app_name: Callable[[int], str], seen: "list[Seen]") -> Iterator[LiveSession]:
    for name, listener, state, client, client_port, edge, edge_port, target, *numbers in seen:
        host, port, number = (target.host, target.port, target.number) if target is not None else ("", 0, 0)
        app = app_name(listener)
        yield LiveSession(
            transport, name, app, state, client, client_port, edge, edge_port, host, port, number, *numbers
        )
