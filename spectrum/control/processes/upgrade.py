"""Upgrades: a successor is started, receives the state, and then this daemon leaves."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.served import Served
from spectrum.control.http.admin import AdminServer, Upgraded
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.life import Life
from spectrum.control.processes.succession import Successor, arguments
from spectrum.control.processes.systemd import Notifier
from spectrum.kernel import init, signals
from spectrum.link.succession import Handover, SuccessionError

log = logging.getLogger(__name__)

# Delay so that an upgrade is answered before this daemon leaves.
LEAVE_DELAY_S = 0.05


@dataclass(frozen=True, slots=True)
class Upgrades:
    """Upgrades this daemon.

    Attributes:
        life: The daemon's life cycle.
        served: What is served.
        reloads: No reload runs meanwhile.
        fleet: The workers.
        admin: The control socket and the metrics.
        actors: The actors of all features.
        systemd: Is notified.
    """

    life: Life
    served: Served
    reloads: Reloads
    fleet: Fleet
    admin: AdminServer
    actors: Sequence[Actor]
    systemd: Notifier

    async def upgrade(self, python: str) -> Upgraded:
        """Start a successor, with another interpreter if `python` names one, and hand everything over to it."""
        life = self.life
        if busy := life.busy_with():
            return Upgraded([busy])
        async with self.reloads.changing:
            if busy := life.busy_with():  # Counted from the request.
                return Upgraded([busy])
            life.upgrading = successor = Successor()
            try:
                await successor.start(python or sys.executable, arguments())
                await self._give(successor)
                if life.stopping.is_set():
                    await successor.end()
                    raise SuccessionError(life.busy_with())
            except SuccessionError as exc:
                why = life.busy_with() or str(exc)
                log.error("upgrade refused: %s", why)
                return Upgraded(why.splitlines())
            finally:
                life.upgrading = None
            life.successor = successor
        log.info("upgrade: pid %d is ready and takes over", successor.pid)
        # The answer is sent first.
        asyncio.get_running_loop().call_later(LEAVE_DELAY_S, life.stopping.set)
        return Upgraded(pid=successor.pid)

    async def _give(self, successor: Successor) -> None:
        """Hand over to a successor, and wait until it is ready; continue as before if it does not become ready.

        Raises:
            SuccessionError: If it does not become ready.
        """
        try:
            await self.fleet.hold()
            with ExitStack() as opened:
                handover = Handover(self.fleet.give(opened), self.fleet.flows, servers=self.admin.give())
                for actor in self.actors:
                    await actor.give(handover, opened)
                await successor.give(handover)
        except (SuccessionError, OSError) as exc:
            self.fleet.keep()
            await successor.end()
            await self._restore()
            if isinstance(exc, OSError):
                raise SuccessionError(f"nothing can be handed over: {(exc.strerror or str(exc)).lower()}") from exc
            raise

    async def _restore(self) -> None:
        """Restore shared state that a successor may have changed, unless this daemon ends."""
        if self.life.stopping.is_set():
            return
        for actor in self.actors:
            try:
                await actor.restore(self.served.plan)
            except Exception as exc:
                log.error("after a refused upgrade not everything was restored: %s", exc)

    async def leave(self, successor: Successor) -> None:
        """Leave everything to a successor, and end this process; continue if the successor is gone."""
        await self.fleet.ask()  # It brings the records of sessions that ended.
        if not successor.lives:
            log.error("upgrade: pid %d has ended; staying", successor.pid)
            self.fleet.keep()
            self.life.stay()
            return
        # Each step releases only what this process no longer needs: none that fails is a reason to stay.
        status = 1
        try:
            self.admin.leave(successor.control)
            signals.hold_all()
            self.fleet.detach()
            # A parent process that stays, systemd or the like, knows the new main process.
            if not init.followed_by(successor.pid):
                self.systemd.followed_by(successor.pid)
            await successor.leave()
            status = 0
        except SuccessionError:
            # The unit's Restart= starts another daemon, which takes the workers over.
            log.error("upgrade: pid %d has ended; the workers wait for a new start", successor.pid)
        except Exception:
            log.exception("upgrade: leaving in spite of an error")
        try:
            await self.admin.stop()
        except Exception:
            log.exception("upgrade: clients of the control socket or the metrics were cut")
        for actor in self.actors:
            try:
                actor.leave()
            except Exception:
                log.exception("upgrade: records of sessions may be lost")
        logging.shutdown()
        for number in signal.sigpending() & {*signals.STOP, signal.SIGHUP}:
            successor.signal(number)
        # Not by a normal exit: it would end the workers, which are children of this process.
        os._exit(status)
