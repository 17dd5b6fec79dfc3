"""The supervisor: the composition root of everything but the data path.

It creates the parts of a daemon, and starts and ends them; their logic, and the list of features, are elsewhere.
Nothing on the data path waits for it.
"""

import asyncio
import logging
import signal
from pathlib import Path

from spectrum.control.configuration.plan import Planner
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.rollout import Rollout
from spectrum.control.configuration.served import Served
from spectrum.control.configuration.source import Source
from spectrum.control.features import Features, FeatureServices
from spectrum.control.http.admin import AdminServer, MetricsActor, metrics_app
from spectrum.control.http.pages import Pages
from spectrum.control.listeners import ListenerBank
from spectrum.control.paths import control_path, state_folder
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.helper_actor import enlarger
from spectrum.control.processes.life import Life
from spectrum.control.processes.snapshots import Snapshots, WorkersActor
from spectrum.control.processes.starting import Start
from spectrum.control.processes.succession import Predecessor
from spectrum.control.processes.systemd import Notifier
from spectrum.control.processes.upgrade import Upgrades
from spectrum.control.records.totals import Totals
from spectrum.core.configuration.config import Config
from spectrum.kernel import signals
from spectrum.kernel.cgroups import usable_processors
from spectrum.kernel.pins import PinError
from spectrum.log import log_spare_signals
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Shared, Tasks

log = logging.getLogger(__name__)

# Added to workers' own drain timeout.
EXIT_GRACE_S = 5.0


class Supervisor:
    """One daemon.

    Args:
        source: The source of configurations.
        config: The first one.
        workers: Overrides its number of workers.
        predecessor: The supervisor whose workers this one takes over, if it is an upgrade.
        helper: The privileged helper; without one it is started when it is needed.

    Attributes:
        served: What is served.
        life: The daemon's life cycle.
        fleet: The workers.
        features: The features.
        reloads: Reloads of the configuration.
        upgrades: Upgrades to a successor.
        pages: Metrics, status and resources.
    """

    def __init__(
        self,
        source: Source,
        config: Config,
        workers: int | None = None,
        predecessor: Predecessor | None = None,
        helper: Helper | None = None,
    ) -> None:
        path, count = control_path(config), workers or config.workers or usable_processors()
        helper = helper or Helper(Path(config.kernel.bpffs))
        bank, totals = ListenerBank(helper.enlarge), Totals()
        self._source = source
        self._tasks, self._systemd, self._admin = Tasks(), Notifier(), AdminServer()
        self._memory = memory = shared_memory(config, count)
        self.served = served = Served(config)
        self.life = life = Life(served)

        snapshots = Snapshots(served, bank, count)
        self.fleet = fleet = Fleet(
            path,
            count,
            memory,
            totals,
            snapshots.tell,
            lambda message: self.features.heard(message),
            lambda: served.config.handover_timeout_s,
            lambda: served.config.worker_timeout_s,
            enlarger(helper, self._tasks),
        )
        planner = Planner(source.reading, lambda number: memory.loads.open(number) > 0)
        metrics = metrics_app(
            Shared(lambda: self.pages.metrics()),
            Shared(lambda: self.pages.metrics(is_open=True)),
            lambda: self.pages.ready(),
        )
        self.features = features = Features(
            FeatureServices(
                served=served,
                planner=planner,
                count=count,
                bank=bank,
                totals=totals,
                helper=helper,
                memory=memory,
                running=fleet.workers.values,
                all=fleet.all,
                has_former_workers=fleet.has_former_workers,
                tell_kept=fleet.tell_kept,
                metrics=MetricsActor(self._admin, metrics),
                replan=lambda change, undo: self.reloads.again(change, undo),
                state=state_folder(path),
                ask=fleet.ask,
                control=path,
                source=source,
                serve=lambda make: self.reloads.serve(make),
                refuses_changes=life.refuses_changes,
                resources=lambda: self.pages.resources(),
            )
        )
        # Workers abort last: they return to the former configuration after everything else that they were sent is
        # restored.
        self._actors = actors = (WorkersActor(fleet, snapshots, life.stopping.is_set), *features.actors)
        snapshots.actors = planner.actors = actors

        rollout = Rollout(served, actors, bank.fit)
        self.reloads = Reloads(
            source,
            planner,
            rollout,
            served,
            life.busy_with,
            self._systemd.reloading,
            self._tell_ready,
            lambda occasion, changes: features.records.add_configuration(
                occasion, served.snapshot.generation, "", changes
            ),
        )
        self.upgrades = Upgrades(life, served, self.reloads, fleet, self._admin, actors, self._systemd)
        self.pages = Pages(source.name, life, served, self.reloads, fleet, totals, helper, actors)
        self._start = Start(
            path=path,
            control=self.pages.control(self.upgrades.upgrade),
            predecessor=predecessor,
            life=life,
            served=served,
            reloads=self.reloads,
            fleet=fleet,
            totals=totals,
            bank=bank,
            admin=self._admin,
            actors=actors,
            tasks=self._tasks,
        )

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            ListenError: If the control socket is not available; nothing is left running.
            StartError: If anything else fails, or the workers do not serve.
        """
        self._handle_signals()
        try:
            await self._start.run()
            self._tell_ready()
            signals.release({signal.SIGHUP})
            self._keep_jobs()
            await self.life.stopping.wait()
            while self.life.successor is not None:
                await self.upgrades.leave(self.life.successor)
                await self.life.stopping.wait()
            await self._drain()
        finally:
            await self.close()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in signals.STOP:
            loop.add_signal_handler(number, self.stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_on_signal)
        log_spare_signals(loop)
        loop.add_signal_handler(signal.SIGUSR1, self.features.records.reopen)
        signals.release(signals.STOP)

    def _keep_jobs(self) -> None:
        async def reload(reads_source: bool) -> bool:
            return not (await self.reloads.reload(reads_source)).errors

        self._tasks.keep(self._systemd.feed_watchdog, "watchdog")
        self._tasks.keep(lambda: self._source.watch(lambda: self.served.config, reload), "watch the configuration")
        for actor in self._actors:
            for name, job in actor.jobs().items():
                self._tasks.keep(job, name)

    def _tell_ready(self) -> None:
        snapshot = self.served.snapshot
        self._systemd.ready(f"serving {len(snapshot.apps)} apps, generation {snapshot.generation}")

    def _reload_on_signal(self) -> None:
        if self.life.pass_on(signal.SIGHUP):
            return

        async def reload() -> None:
            if errors := (await self.reloads.reload()).errors:
                log.error("SIGHUP: refused: %s", errors[0])

        self._tasks.start(reload(), "reload on SIGHUP")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End: the first call lets sessions drain, the second ends them at once. A successor that follows already gets
        the signal instead.
        """
        if self.life.pass_on(number):
            return
        if self.life.stopping.is_set():
            log.info("stopping at once")
            self.fleet.hurry()
            return
        self.life.stop()
        for actor in self._actors:
            actor.halt()

    async def _drain(self) -> None:
        """Accept nothing more, wait for sessions to end, then end them."""
        await self.reloads.stop()
        timeout_s = self.served.config.drain_timeout_s
        self._systemd.stopping(f"draining for up to {timeout_s:g} s")
        workers = self.fleet.all()
        sessions = sum(worker.sessions for worker in workers)
        log.info("draining: %d sessions have %g s; a second signal ends them at once", sessions, timeout_s)
        self.fleet.drain(timeout_s)
        for actor in reversed(self._actors):
            try:
                await actor.drain()
            except PinError as exc:
                log.error("programs and tables stay in the kernel, `spectrum kernel detach` removes them: %s", exc)
        if not workers:
            return
        try:
            await asyncio.wait_for(self.fleet.empty.wait(), timeout_s + EXIT_GRACE_S)
        except TimeoutError:
            log.warning("workers did not end in time and are killed")
        log.info("stopped")

    async def close(self) -> None:
        """End at once, and release everything."""
        # If this one never served, the workers of the previous daemon wait for another supervisor.
        await self.fleet.end(ends_former_workers=self.served.is_live)
        await self._admin.stop()
        await self._tasks.stop()
        for actor in reversed(self._actors):
            await actor.close()
        self.fleet.close()
        self._memory.close()


def shared_memory(config: Config, workers: int) -> SharedMemory:
    """Return the memory that the workers of a configuration share."""
    client, prefix = config.limits.client_prefix, config.limits.prefix_length
    bits = (client.ipv4, client.ipv6), (prefix.ipv4, prefix.ipv6)
    return SharedMemory(workers, config.max_affinities, *bits, config.max_flows)
