"""The start of a daemon: takeover from a previous one, workers, the first configuration, and then clients."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from spectrum.control.configuration.actor import Actor, RolloutError
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.served import Served
from spectrum.control.http.admin import AdminServer, control_name
from spectrum.control.listeners import ListenerBank
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.life import Life
from spectrum.control.processes.succession import Predecessor
from spectrum.control.records.totals import Totals
from spectrum.garbage import freeze
from spectrum.kernel.sockets import passed_sockets, raise_descriptor_limit
from spectrum.link.succession import Handover, SuccessionError
from spectrum.tasks import Tasks

START_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)


class StartError(Exception):
    """The daemon cannot serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Start:
    """Starts a daemon.

    Attributes:
        path: The path of its control socket.
        control: The application served there.
        predecessor: The daemon whose workers it takes over, if it is an upgrade.
        life: The daemon's life cycle.
        served: What is served.
        reloads: Serves the first configuration.
        fleet: The workers.
        totals: Count the workers that ended.
        bank: The listening sockets.
        admin: Owns the control socket.
        actors: The actors of all features.
        tasks: Run the workers.
    """

    path: Path
    control: web.Application
    predecessor: Predecessor | None
    life: Life
    served: Served
    reloads: Reloads
    fleet: Fleet
    totals: Totals
    bank: ListenerBank
    admin: AdminServer
    actors: Sequence[Actor]
    tasks: Tasks

    async def run(self) -> None:
        """Serve; a predecessor is told if that fails.

        Raises:
            ListenError: If the control socket is not available.
            StartError: If anything else fails, or the workers do not serve.
        """
        try:
            await self._run()
        except Exception as exc:
            if self.predecessor is not None:
                self.predecessor.refuse((str(exc) or repr(exc)).splitlines())
            raise

    async def _run(self) -> None:
        raise_descriptor_limit()
        handover = await self._inherit()
        # The control socket first: a second daemon with the same file fails with that message, not with "address in
        # use" for each app.
        is_chosen = self.served.config.control is not None
        await self.admin.serve_control(self.control, self.path, is_chosen)
        await self._take(handover)
        # No port is opened before workers run: clients would wait, and be reset if no worker ever runs.
        self.fleet.start(self.tasks, serves=False)
        await self._wait_for_workers(lambda: len(self.fleet.begun()) == self.fleet.count)
        try:
            await self.reloads.start()
        except RolloutError as exc:
            raise StartError(str(exc)) from exc
        # Everything is ready: the previous daemon may end, and its workers be relieved.
        await self._follow(handover)
        await self.fleet.open()
        await self._wait_for_workers(lambda: len(self.fleet.listening()) == self.fleet.count)
        await self.fleet.relieve_the_rest()  # there are fewer workers now; before it may be upgraded itself
        self.reloads.started()
        freeze()
        snapshot = self.served.snapshot
        apps, listeners = len(snapshot.apps), len(snapshot.listener_keys())
        counts = (apps, "app"), (listeners, "listener"), (self.fleet.count, "worker")
        log.info("serving %s on %s with %s", *(f"{count} {what}{'s' * (count != 1)}" for count, what in counts))

    async def _inherit(self) -> Handover:
        """Return what the previous supervisor hands over while it serves; nothing without one.

        Raises:
            StartError: If it does not arrive.
        """
        if self.predecessor is None:
            return Handover(legacy=[])
        try:
            handover = await self.predecessor.inherit()
        except SuccessionError as exc:
            raise StartError(f"the previous daemon does not hand over its state: {exc}") from exc
        if handover.legacy is None:
            given = {where: socket.socket(fileno=descriptor) for where, descriptor in handover.servers.items()}
            self.admin.inherit(given)
        return handover

    async def _take(self, handover: Handover) -> None:
        """Take over workers, sockets, and the state of features."""
        self.bank.adopt_passed(passed_sockets(os.environ))
        if handover.legacy is None:
            self.fleet.inherit(handover.workers, handover.flows)
            for worker, key, descriptor in handover.listeners:
                self.bank.adopt(worker, {key: socket.socket(fileno=descriptor)})
        else:
            await self.fleet.take_over(handover.legacy, self.bank)
        handover.names = {**self.fleet.inherited_names, **handover.names}
        for actor in self.actors:
            await actor.inherit(handover)

    async def _follow(self, handover: Handover) -> None:
        """Let the previous supervisor leave.

        Raises:
            StartError: If it has ended instead.
        """
        if self.predecessor is not None and handover.legacy is None:
            if self.life.stopping.is_set():
                raise StartError("it was told to stop")
            try:
                await self.predecessor.follow(control_name(self.path))
            except SuccessionError as exc:
                raise StartError(f"the previous daemon does not leave: {exc}") from exc
            await self.admin.accept()

    async def _wait_for_workers(self, reached: Callable[[], bool]) -> None:
        """Wait until workers have reached a state.

        Raises:
            StartError: If they keep ending instead, or take too long.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not reached() and not self.life.stopping.is_set():
            if self.totals.worker_restarts + self.fleet.failed_starts >= 2 * self.fleet.count:
                raise StartError(f"workers end as soon as they start{self._why_workers_end()}")
            if time.monotonic() > deadline:
                raise StartError(f"the workers were not ready within {START_TIMEOUT_S:g} s{self._why_workers_end()}")
            await asyncio.sleep(0.01)

    def _why_workers_end(self) -> str:
        return "".join(f"\nworker {place}: {how}" for place, how in sorted(self.fleet.ends.items()))
