"""A worker process: the composition root of the data path.

The supervisor starts it with one end of a channel, through which it gets snapshot and listening sockets. When the
supervisor is gone, it continues and waits for a new one, which takes it over: see decision 006.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import uvloop

from spectrum.child import begin_child
from spectrum.core.life.service import ServiceLife
from spectrum.garbage import collect_every
from spectrum.kernel import signals
from spectrum.kernel.scheduling import take_short_turns
from spectrum.kernel.seccomp import forbid
from spectrum.link.messages import (
    Ask,
    Challenges,
    Configure,
    HealthUpdate,
    Message,
    Offloading,
    Refused,
    Started,
    TicketKeysUpdate,
    Watching,
)
from spectrum.link.takeover import Drain, FindSessions, Names, RecordsKept, Release, Sockets, Take
from spectrum.log import log_spare_signals
from spectrum.plane.outbox import Outbox
from spectrum.plane.processes.arrival import WorkerStart, arrive
from spectrum.plane.processes.finder import Finder
from spectrum.plane.processes.generations import Generations, reason
from spectrum.plane.processes.link import Link, LinkEvent
from spectrum.plane.processes.planes import Planes
from spectrum.plane.processes.reports import Reports
from spectrum.plane.processes.sender import Sender
from spectrum.plane.processes.service import WorkerService
from spectrum.plane.processes.succession import Succession
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

# Environment variable of a worker: whether it installs a seccomp filter.
SECCOMP_VARIABLE = "SPECTRUM_SECCOMP"


class Worker:
    """Serves the configurations that the supervisor sends over the link.

    Args:
        link: The link to the supervisor.
        life: The worker's state.
        arrival: The messages received so far.

    Raises:
        OSError: If the shared memory cannot be used.
    """

    def __init__(self, link: Link, life: ServiceLife, arrival: WorkerStart) -> None:
        memory, files, inherited, self._told = arrival
        self._link, self._life = link, life
        self._outbox = outbox = Outbox(f"{memory.worker}/{time.time_ns() // 1000:x}")
        self._sender = sender = Sender(link, life, outbox)
        self._planes = planes = Planes(
            memory, files, inherited, sender.emit, lambda: self._reports.report_outcomes_soon()
        )
        self._generations = generations = Generations(link, life, planes, outbox)
        self._reports = reports = Reports(link, life, planes, outbox)
        succession = Succession(link, planes, generations, reports, sender, memory, files[0])
        self._service = WorkerService(life, link, planes, generations, sender, reports, succession)
        self._finder = Finder(link, planes)
        self._tasks = Tasks()

    async def run(self) -> None:
        """Serve until the worker has ended."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._service.terminate)
        signals.release({signal.SIGTERM})
        self._planes.begin()
        self._reports.begin()
        listening = self._tasks.start(self._listen(), "listen to the supervisor")
        await self._service.ended.wait()
        listening.cancel()

    async def _listen(self) -> None:
        for message, descriptors in self._told:
            self._take(message, descriptors)
        while True:
            match await self._link.receive():
                case LinkEvent.LOST:
                    self._service.lost()
                case LinkEvent.SENT:
                    self._service.sent()
                case message, descriptors:
                    self._take(message, descriptors)

    def _take(self, message: Message, descriptors: list[int]) -> None:
        try:
            self._received(message, descriptors)
        except Exception:  # The next event is independent of this one.
            log.exception("a message of the supervisor is lost: %s", type(message).__name__)

    def _received(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Sockets(keys):
                self._generations.take_sockets(keys, descriptors)
            case Configure():
                self._generations.configure(message, descriptors)
            case TicketKeysUpdate(keys):
                self._planes.tls.tickets.set_keys(keys)
            case Challenges(challenges):
                self._planes.tls.take_challenges(challenges)
            case Offloading():
                self._planes.take_offload(message, descriptors, self._life.has_served)
            case Watching():
                self._planes.take_watching(message, descriptors)
            case Names(addresses):
                self._planes.resolve(addresses)
            case HealthUpdate():
                self._planes.take_health(message)
            case Ask(number):
                self._planes.tcp.relay.tell_sums()
                self._sender.flush()
                self._reports.report(number)
            case FindSessions():
                self._finder.find(message)
            case Drain(timeout_s):
                self._service.drain(timeout_s)
            case RecordsKept(end):
                self._outbox.kept(end)
            case Take():
                self._service.asked()
            case Release(timeout_s):
                self._service.release(timeout_s, descriptors)
            case _:
                raise AssertionError(f"unexpected message for a serving worker: {message}")


async def work(link: Link) -> None:
    """Run a worker, from the first message of the supervisor on."""
    log_spare_signals(asyncio.get_running_loop())
    link.send(Started())
    life = ServiceLife()
    try:
        if (arrival := await arrive(link, life)) is None:
            return
        try:
            worker = Worker(link, life, arrival)
        except Exception as exc:
            log.exception("this worker does not serve: the shared memory cannot be used")
            why = f"the memory that workers share cannot be used: {reason(exc)}"
            link.send(Refused(arrival.generation, why, 0))
            return
        await worker.run()
    finally:
        link.close()


def main() -> None:
    """Run a worker: the arguments are the channel's descriptor, the path of the control socket, and a descriptor for
    log messages after the start. Messages before go to standard error, which the supervisor reads if the start fails.
    """
    begin_child("this worker", "spectrum-worker")
    # Records of sessions are short-lived tuples: the default of 700 would collect hundreds of times a second.
    collect_every(50_000)
    # If the supervisor or another worker computes on the same processor, sessions have priority.
    take_short_turns()
    channel, control, errors = sys.argv[1:]
    if os.environ.get(SECCOMP_VARIABLE) == "True":
        forbid()

    async def serve() -> None:
        link = Link(socket.socket(fileno=int(channel)), Path(control))
        os.dup2(int(errors), 2)
        os.close(int(errors))
        await work(link)
        signals.hold_all()  # Without a handler a late signal would decide how this process ends.

    uvloop.run(serve())


if __name__ == "__main__":
    main()
