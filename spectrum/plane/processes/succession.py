"""Hand-over of a worker to a new supervisor, and to the next worker."""

import os
import socket

from spectrum.core.records.reasons import Reason
from spectrum.link.channel import MAX_DESCRIPTORS
from spectrum.link.flow_sockets import send_sockets
from spectrum.link.messages import Memory
from spectrum.link.takeover import Names, Released, Sockets, TakenOver
from spectrum.plane.processes.generations import Generations
from spectrum.plane.processes.link import Link
from spectrum.plane.processes.planes import Planes
from spectrum.plane.processes.reports import Reports
from spectrum.plane.processes.sender import Sender


class Succession:
    """Hands over the listeners and flows of this worker.

    Args:
        link: The link to the supervisor that takes it over.
        planes: The planes.
        generations: The listeners.
        reports: Reports open sessions to another supervisor.
        sender: Sends records to it.
        memory: The worker's number.
        flow_file: The memory file of its flows.
    """

    def __init__(
        self,
        link: Link,
        planes: Planes,
        generations: Generations,
        reports: Reports,
        sender: Sender,
        memory: Memory,
        flow_file: int,
    ) -> None:
        self._link = link
        self._planes = planes
        self._generations = generations
        self._reports = reports
        self._sender = sender
        self._number = memory.worker
        self._flow_file = flow_file

    def introduce(self) -> None:
        """Send a new supervisor the listeners and flows, and continue to serve until released."""
        self._tell_who()
        self._link.send(TakenOver(self._number, os.getpid()), [self._flow_file])

    def introduce_released(self) -> None:
        """Report to a new supervisor that this worker was released before."""
        self._tell_who()
        self._link.send(TakenOver(self._number, os.getpid()))
        self.count_anew()

    def _tell_who(self) -> None:
        items = list(self._generations.descriptors.items())
        for i in range(0, len(items), MAX_DESCRIPTORS):
            part = dict(items[i : i + MAX_DESCRIPTORS])
            self._link.send(Sockets(list(part)), list(part.values()))
        for packet in Names.packets(self._planes.names):
            self._link.send(packet)

    async def leave(self, ways: list[int]) -> None:
        """Leave listeners and flows to the next worker; TCP sessions go on here.

        Args:
            ways: The descriptor through which the sockets of flows are sent to that worker; none without one.
        """
        self._planes.tcp.stop_accepting()
        self._planes.tcp.relay.records_per_s = 0  # The next supervisor may have a journal.
        if ways:
            with socket.socket(fileno=ways[0]) as way:
                await send_sockets(way, self._planes.udp.release())
        else:
            self._planes.udp.engine.close_flows(Reason.DRAINED)
            self._planes.udp.release()
        self._generations.close()

    def say_left(self) -> None:
        """Report that listeners and flows are left, and which sessions are not."""
        self._link.send(Released())
        self.count_anew()

    def count_anew(self) -> None:
        """Report open and ended sessions to a supervisor that begins to count."""
        self._reports.count_anew()
        self._sender.flush()
