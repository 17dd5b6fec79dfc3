"""The messages that a worker needs before it can serve, up to its first snapshot."""

import logging
import socket
from typing import NamedTuple

from spectrum.core.life.service import ServiceEvent, ServiceLife
from spectrum.kernel.descriptors import close_all
from spectrum.link.flow_sockets import receive_sockets
from spectrum.link.messages import Configure, Inherit, Memory, Message
from spectrum.link.takeover import Drain, Release
from spectrum.plane.processes.link import Link, LinkEvent

log = logging.getLogger(__name__)


class WorkerStart(NamedTuple):
    """The initial state of a worker.

    Attributes:
        memory, files: The memory that it shares with the others, and the descriptors of its files.
        inherited: The sockets of flows of the former worker, by index.
        told: The other messages of the supervisor, the first snapshot last, each with its descriptors.
    """

    memory: Memory
    files: list[int]
    inherited: dict[int, int]
    told: list[tuple[Message, list[int]]]

    @property
    def generation(self) -> int:
        """The number of the first snapshot."""
        last, _ = self.told[-1]
        assert isinstance(last, Configure), "the snapshot is the last message"
        return last.generation


async def arrive(link: Link, life: ServiceLife) -> WorkerStart | None:
    """Wait for the first snapshot; return None if the worker ends before it."""
    memory: list[tuple[Memory, list[int]]] = []
    inherited: dict[int, int] = {}
    told: list[tuple[Message, list[int]]] = []
    while not life.ended:
        news = await link.receive()
        if news is LinkEvent.LOST:
            log.warning("the supervisor is gone before this worker served anything: it ends")
            life.handle(ServiceEvent.LOST)
        if isinstance(news, LinkEvent):
            continue
        message, descriptors = news
        match message:
            case Memory():
                memory.append((message, descriptors))
            case Inherit():
                # Without a descriptor it was lost at the descriptor limit: the flows of the former worker end.
                for descriptor in descriptors:
                    with socket.socket(fileno=descriptor) as way:
                        inherited = await receive_sockets(way)
            case Drain():
                life.handle(ServiceEvent.DRAIN)
            case Release():
                close_all(descriptors)
                life.handle(ServiceEvent.RELEASE)
            case Configure():
                told.append(news)
                return WorkerStart(*memory[0], inherited, told)
            case _:
                told.append(news)
    return None
