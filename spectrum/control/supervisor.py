"""The supervisor: the composition root of everything but the data path.

It owns the listening sockets and the workers, applies configurations, adds up what workers count, and answers who asks.
Nothing on the data path waits for it.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import uvloop

from spectrum import __version__
from spectrum.control.balancing.explain import explain
from spectrum.control.balancing.health import HealthActor, HealthKeeper
from spectrum.control.bindings import BindingsActor, BoundApps
from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.plan import Planner
from spectrum.control.configuration.reload import Reloads
from spectrum.control.configuration.rollout import Rollout
from spectrum.control.configuration.served import Served
from spectrum.control.configuration.source import FileSource
from spectrum.control.configuration.watch import FilesRead
from spectrum.control.filter.node import FilterActor, NodeFilter
from spectrum.control.http.admin import AdminServer, MetricsActor, Upgraded, control_app, control_name, metrics_app
from spectrum.control.http.exporter import Exporter, NodeState
from spectrum.control.http.status import apps_status, balancers_status, names_status, pools_status
from spectrum.control.listeners import ListenerBank, ListenersActor
from spectrum.control.names.name_watch import NamesActor, NameWatch, OwnListeners
from spectrum.control.offload import NodeOffload, OffloadActor
from spectrum.control.paths import default_control_socket
from spectrum.control.processes.account import AccountError, leave_root
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.snapshots import Snapshots, WorkersActor
from spectrum.control.processes.succession import Predecessor, Successor, arguments
from spectrum.control.processes.systemd import Notifier
from spectrum.control.records.log import LineWriter
from spectrum.control.records.stream import RecordsActor, RecordStream, record_folders, records_status
from spectrum.control.records.totals import Totals, TotalsActor, named
from spectrum.control.tls.certificates import CertificatesActor
from spectrum.control.tls.tickets import TicketKeyRotation, TicketsActor
from spectrum.core.balancing.events import HealthEvent, as_text
from spectrum.core.balancing.pools import Standing
from spectrum.core.configuration.config import Config
from spectrum.core.snapshot import Snapshot
from spectrum.garbage import collect_every, freeze
from spectrum.kernel import init, installation, seccomp, signals
from spectrum.kernel.cgroups import usable_processors
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import passed_sockets, raise_descriptor_limit
from spectrum.kernel.transparent import may_be_transparent
from spectrum.link.messages import Met
from spectrum.link.succession import Heritage, SuccessionError
from spectrum.link.takeover import Events
from spectrum.plane.log import FORMAT_VARIABLE, LEVEL_VARIABLE, configure_logging, log_spare_signals
from spectrum.plane.memory import ENDED_FLOWS, SharedMemory
from spectrum.plane.worker import SECCOMP_VARIABLE
from spectrum.tasks import Shared, Tasks, in_thread

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
# What threads are at when all else has ended has so long.
THREADS_END_S = 2.0
# An upgrade is answered before this daemon leaves.
LEAVE_DELAY_S = 0.05
# Records that wait for a slow disk then are written for so long.
LEAVE_WRITE_S = 30.0
# The ring buffer of samples holds 7,000: what comes faster than that in this time is counted as lost.
SAMPLES_INTERVAL_S = 0.2
# Refusals that workers summed are added up for so long.
RECORDS_TICK_S = 1.0
SWITCH_INTERVAL_S = 0.0005
# Given to workers beyond their own drain timeout.
EXIT_GRACE_S = 5.0


class StartError(Exception):
    """The daemon can not serve; the message says why."""


def _control_path(config: Config) -> Path:
    return Path(config.control.socket) if config.control else default_control_socket()


class Supervisor:
    """One daemon.

    Args:
        path: The configuration file, read again on every reload; None where `config` is all that there is.
        config: What it holds now.
        workers: Overrides the file's number of workers.
        watch: Reload when the file changes.
        predecessor: The supervisor whose workers this one takes over, if it is an upgrade.
        files: What the files were when `config` was read from them.
        helper: Who changes the kernel's tables; without one it is started when it is needed.
    """

    def __init__(
        self,
        path: Path | None,
        config: Config,
        workers: int | None = None,
        watch: bool = False,
        predecessor: Predecessor | None = None,
        files: FilesRead | None = None,
        helper: Helper | None = None,
    ) -> None:
        self._predecessor = predecessor
        # It has all that it needs; one that has not yet is the other.
        self._successor: Successor | None = None
        self._upgrading: Successor | None = None
        self._control = _control_path(config)
        self._served = Served(config)
        self._source = FileSource(path, config, watch, files)
        self._worker_count = workers or config.workers or usable_processors()
        self._started_at = time.monotonic()
        self._bank = ListenerBank(lambda sockets: self._helper.enlarge(sockets))
        self._helper = helper or Helper(Path(config.kernel.bpffs))
        self._bound = BoundApps(self._helper)
        self._filter = NodeFilter(self._helper)
        flows = self._worker_count * (config.max_flows + ENDED_FLOWS)
        self._offload = NodeOffload(self._helper, flows, self._worker_count)
        self._tasks = Tasks()
        self._totals = Totals()
        self._state = NodeState()
        self._health = HealthKeeper(self._tell_health, self._record_health, self._readdress)
        self._tickets = TicketKeyRotation(self._tell_tickets, config.session_tickets.rotate_s)
        self._admin = AdminServer()
        self._systemd = Notifier()
        own = OwnListeners(config)
        self._names = NameWatch(self._names_changed, own.refuse)
        self._records = RecordStream(config, LineWriter(FileIO(1, "wb", closefd=False)))
        self._exporter = Exporter(self._totals, self._state, self._health, self._names, self._records)
        self._stopping = asyncio.Event()
        self._snapshots = Snapshots(self._served, self._bank, self._worker_count)
        limits = config.limits
        client, prefix = limits.client_prefix, limits.prefix_length
        self._memory = SharedMemory(
            self._worker_count,
            config.max_affinities,
            (client.ipv4, client.ipv6),
            (prefix.ipv4, prefix.ipv6),
        )
        self._fleet = Fleet(
            self._control,
            self._worker_count,
            self._memory,
            self._totals,
            self._snapshots.tell,
            self._heard,
            lambda: self._config.handover_timeout_s,
            lambda: self._config.worker_timeout_s,
            self._enlarge,
        )
        planner = Planner(self._source.reading, lambda number: self._memory.loads.open(number) > 0)
        actors = [
            # It aborts last: workers go back to what they did when all that they are told is as before.
            WorkersActor(self._fleet, self._snapshots, self._stopping.is_set),
            ListenersActor(self._bank, self._worker_count),
            MetricsActor(self._admin, metrics_app(Shared(self.render), self.ready)),
            NamesActor(self._names, own),
            OffloadActor(self._offload, self._fleet.has_veterans),
            BindingsActor(self._bound, self._bank),
            FilterActor(self._filter),
            # From here on without an await between: who asks for the status sees all of it, or none.
            self._served,
            planner,
            TicketsActor(self._tickets),
            CertificatesActor(),
            RecordsActor(self._records),
            TotalsActor(self._totals),
            # Nothing comes after it that may fail: it forgets what it knew of origins that leave.
            HealthActor(self._health, self._names.addresses),
        ]
        self._snapshots.actors = actors
        rollout = Rollout(self._served, actors, self._bank.fit)
        self.reloads = Reloads(
            self._source, planner, rollout, self._served, self._busy, self._systemd.reloading, self._tell_ready
        )

    @property
    def _config(self) -> Config:
        return self._served.config

    @property
    def _snapshot(self) -> Snapshot:
        return self._served.snapshot

    async def _tick_records(self) -> None:
        while True:
            await asyncio.sleep(RECORDS_TICK_S)
            self._records.tick(self._totals.workers.events_dropped)
            self._fleet.tell_kept(self._records.take_kept())
            self._totals.sweep(lambda: named(self._snapshot, self._names.addresses), time.monotonic())

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            ListenError: If an address can not be listened on; nothing is left running.
            StartError: If the workers do not serve.
        """
        loop = asyncio.get_running_loop()
        for number in signals.STOP:
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_on_signal)
        log_spare_signals(loop)
        signals.release(signals.STOP)
        try:
            try:
                await self._start()
            except Exception as exc:
                if self._predecessor is not None:
                    self._predecessor.refuse((str(exc) or repr(exc)).splitlines())
                raise
            self._tell_ready()
            signals.release({signal.SIGHUP})
            self._tasks.keep(self._systemd.feed_watchdog, "watchdog")
            self._tasks.keep(self._watch_source, "watch files")
            self._tasks.keep(self._tickets.run, "rotate the keys of session tickets")
            self._tasks.keep(self._tick_records, "sum refusals, forget what is gone")
            self._tasks.keep(self._collect_samples, "read the filter's samples")
            self._tasks.keep(self._helper.watch, "watch the helper")
            await self._stopping.wait()
            while self._successor is not None:
                await self._leave(self._successor)
                # It is gone: this one stays.
                self._fleet.keep()
                self._successor = None
                self._stopping.clear()
                await self._stopping.wait()
            await self._drain()
        finally:
            # Where this one never served, the workers of the one before wait for another.
            await self._fleet.end(ends_veterans=self._served.is_live)
            await self._health.stop()
            await self._names.stop()
            await self._admin.stop()
            await self._tasks.stop()
            self._helper.close()
            self._bank.close(self._bank.keys())
            self._fleet.close()
            self._memory.close()
            self._records.close()

    async def _start(self) -> None:
        raise_descriptor_limit()
        heritage = await self._inherit()
        # First the control socket: a second daemon with the same file is told so, not "address in use" for each app.
        control = control_app(
            Shared(self.status), self.reloads.reload, self.explain, self.upgrade, self._filter.samples, self._bound
        )
        await self._admin.serve_control(control, self._control, is_chosen=self._config.control is not None)
        self._bank.adopt_passed(passed_sockets(os.environ))
        if heritage.legacy is None:
            self._fleet.inherit(heritage.workers, heritage.flows)
            for worker, key, descriptor in heritage.listeners:
                self._bank.adopt(worker, {key: socket.socket(fileno=descriptor)})
        else:
            await self._fleet.take_over(heritage.legacy, self._bank)
        self._names.remember({**self._fleet.inherited_names, **heritage.names})
        # No port is opened before workers run: clients would wait for nobody, and be reset where none ever does.
        self._fleet.start(self._tasks, serves=False)
        await self._wait_for_workers(lambda: len(self._fleet.begun()) == self._worker_count)
        try:
            await self.reloads.start()
        except RolloutError as exc:
            raise StartError(str(exc)) from exc
        # Nothing is missing any more: the one before may go, and its workers be relieved.
        await self._follow(heritage)
        await self._fleet.open()
        await self._wait_for_workers(self.ready)
        self.reloads.started()
        await self._fleet.relieve_the_rest()  # there are fewer workers now
        freeze()
        apps, listeners = len(self._snapshot.apps), len(self._snapshot.listener_keys())
        counts = (apps, "app"), (listeners, "listener"), (self._worker_count, "worker")
        log.info("serving %s on %s with %s", *(f"{count} {what}{'s' * (count != 1)}" for count, what in counts))

    async def _inherit(self) -> Heritage:
        """Return what the supervisor before this one gives, which serves meanwhile; nothing where there is none.

        Raises:
            StartError: If it does not come.
        """
        if self._predecessor is None:
            return Heritage(legacy=[])
        try:
            heritage = await self._predecessor.inherit()
        except SuccessionError as exc:
            raise StartError(f"what the daemon before this one serves does not come: {exc}") from exc
        if heritage.helper is not None:
            await asyncio.to_thread(self._helper.adopt, heritage.helper)
        if heritage.legacy is None:
            given = {where: socket.socket(fileno=descriptor) for where, descriptor in heritage.servers.items()}
            self._admin.inherit(given)
        return heritage

    async def _follow(self, heritage: Heritage) -> None:
        """Let the supervisor before this one leave.

        Raises:
            StartError: If it has ended instead.
        """
        if self._predecessor is not None and heritage.legacy is None:
            if self._stopping.is_set():
                raise StartError("it was told to stop")
            try:
                await self._predecessor.follow(control_name(self._control))
            except SuccessionError as exc:
                raise StartError(f"the daemon before this one does not leave: {exc}") from exc
            await self._admin.accept()

    def _tell_ready(self) -> None:
        self._systemd.ready(f"serving {len(self._snapshot.apps)} apps, generation {self._snapshot.generation}")

    async def _wait_for_workers(self, reached: Callable[[], bool]) -> None:
        """Wait until workers have got so far.

        Raises:
            StartError: If they keep ending instead, or take too long.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not reached() and not self._stopping.is_set():
            if self._totals.worker_restarts >= 2 * self._worker_count:
                raise StartError(f"workers end as soon as they start{self._why_workers_end()}")
            if time.monotonic() > deadline:
                raise StartError(f"the workers were not ready within {START_TIMEOUT_S:g} s{self._why_workers_end()}")
            await asyncio.sleep(0.01)

    def _why_workers_end(self) -> str:
        return "".join(f"\nworker {place}: {how}" for place, how in sorted(self._fleet.ends.items()))

    def ready(self) -> bool:
        """Tell whether every worker serves on all of its listeners, and gives signs of life."""
        serving = [worker for worker in self._fleet.answering() if not worker.deaf]
        return not self._stopping.is_set() and len(serving) == self._worker_count

    # --- workers --------------------------------------------------------------------------------------------------

    def _heard(self, message: Events | Met) -> None:
        if isinstance(message, Met):
            self._health.met(message.signs)
        else:
            self._records.add(message)

    def _enlarge(self, sockets: list[int]) -> None:
        """Have the helper make queues of a worker's sockets longer; the descriptors are this process's own."""

        async def ask() -> None:
            try:
                await in_thread(self._helper.enlarge, sockets)
            finally:
                close_all(sockets)

        self._tasks.start(ask(), "enlarge queues")

    def _names_changed(self, addresses: dict[str, tuple[str, ...]]) -> None:
        self._health.resolve(self._names.addresses)
        self._readdress(set(addresses))

    # --- health ---------------------------------------------------------------------------------------------------

    def _readdress(self, keys: set[str]) -> None:
        """Tell workers the addresses of names: those that are not down."""
        known = {key: self._names.addresses[key] for key in keys if key in self._names.addresses}
        told = self._health.addresses_for_workers(known)
        for worker in self._fleet.workers.values():
            worker.tell_names(told)

    def _tell_health(self, standings: dict[int, Standing], latencies: dict[str, float]) -> None:
        for worker in self._fleet.workers.values():
            worker.tell_health(standings, latencies)

    def _tell_tickets(self, keys: list[bytes]) -> None:
        for worker in self._fleet.workers.values():
            worker.tell_tickets(keys)

    def _record_health(self, event: HealthEvent) -> None:
        log.log(logging.INFO if event.Healthy else logging.WARNING, "%s", as_text(event))
        self._records.add_health(event)

    # --- reload ---------------------------------------------------------------------------------------------------

    def _passed_on(self, number: int) -> bool:
        """Give a signal to the supervisor that follows this one, once there is one: it takes effect there."""
        if self._successor is None or not self._successor.lives:
            return False
        self._successor.signal(number)
        return True

    def _reload_on_signal(self) -> None:
        if self._passed_on(signal.SIGHUP):
            return

        async def reload() -> None:
            if errors := (await self.reloads.reload()).errors:
                log.error("SIGHUP: refused: %s", errors[0])

        self._tasks.start(reload(), "reload on SIGHUP")

    async def _watch_source(self) -> None:
        async def reload(reads_source: bool) -> bool:
            return not (await self.reloads.reload(reads_source)).errors

        await self._source.watch(lambda: self._config, reload)

    def _busy(self) -> str:
        """Say why what is served cannot be changed now; "" where it can."""
        if not self._served.is_live:
            return "the daemon is not serving yet"
        if self._successor is not None:
            return "the daemon is being upgraded"
        return "the daemon is stopping" if self._stopping.is_set() else ""

    # --- what one sees --------------------------------------------------------------------------------------------

    async def render(self) -> bytes:
        """Return the metrics page."""
        await self._fleet.ask()
        answering = self._fleet.answering()
        self._state.generation = self._snapshot.generation if self._served.is_live else 0
        self._state.last_reload_successful = self.reloads.last_successful
        self._state.restart_needed = bool(self._served.restart_needed())
        self._state.certificates_end_at = {one.name: one.ends_at for one in self._snapshot.tls.certificates}
        self._state.workers_ready = len(answering)
        self._state.pauses = self._fleet.pauses()
        self._state.workers = {
            place: (found.life.generation if found else 0, found in answering)
            for place in range(self._worker_count)
            for found in [self._fleet.workers.get(place)]
        }
        self._state.flows_offloaded = sum(worker.offloaded for worker in self._fleet.all())
        self._state.helper_lost = self._helper.is_lost
        self._state.held_bytes = sum(worker.held_bytes for worker in self._fleet.all())
        self._state.listeners_deaf = sum(worker.deaf for worker in self._fleet.workers.values())
        self._state.workers_stalled = sum(worker.stalled for worker in self._fleet.workers.values())
        self._totals.forget({app.name for app in self._snapshot.apps}, time.monotonic())
        return await self._exporter.render()

    async def status(self) -> dict[str, Any]:
        """Return what `spectrum status` shows."""
        await self._fleet.ask()
        names = dict(self._names.addresses), dict(self._names.failures)
        apps = await asyncio.to_thread(apps_status, self._snapshot, self._totals.view(), *names)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "config": self._source.name,
            "generation": self._snapshot.generation,
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "draining": self._stopping.is_set(),
            "restart_needed": self._served.restart_needed(),
            "workers": self._fleet.status(),
            "pauses": [
                {"number": place, "starts_in_s": round(seconds, 1), "why": self._fleet.ends.get(place, "")}
                for place, seconds in self._fleet.pauses().items()
            ],
            "kernel": {
                "bindings": self._bound.state,
                "filter": self._filter.state,
                "udp_offload": self._offload.state,
                "helper": self._helper.state,
            },
            "names": names_status(self._names),
            "records": records_status(self._records.read()),
            "apps": apps,
            "load_balancers": balancers_status(self._snapshot, self._health),
            "pools": pools_status(self._snapshot, self._config, self._health, self._memory.loads),
        }

    async def _collect_samples(self) -> None:
        while True:
            self._filter.collect()
            await asyncio.sleep(SAMPLES_INTERVAL_S)

    def explain(self, app: str, client: str, port: int) -> list[str]:
        """Return, step by step, where a client of an app goes, and why.

        Raises:
            ValueError: If there is no such app, the client is no address, or nothing is served yet.
        """
        if not self._snapshot.generation:
            raise ValueError("the daemon is not serving yet")
        return explain(self._snapshot, self._served.plan.prefixes, self._health, self._memory, app, client, port)

    # --- the end --------------------------------------------------------------------------------------------------

    async def upgrade(self, python: str) -> Upgraded:
        """Start a successor, with another interpreter where `python` names one, and leave everything to it."""
        if self._busy():
            return Upgraded([self._busy()])
        async with self.reloads.changing:
            if self._busy():  # since it waited
                return Upgraded([self._busy()])
            self._upgrading = successor = Successor()
            try:
                await successor.start(python or sys.executable, arguments())
                await self._give(successor)
                if self._stopping.is_set():
                    await successor.end()
                    raise SuccessionError(self._busy())
            except SuccessionError as exc:
                why = self._busy() or str(exc)
                log.error("upgrade refused: %s", why)
                return Upgraded(why.splitlines())
            finally:
                self._upgrading = None
            self._successor = successor
        log.info("upgrade: leaving everything to pid %d, which has all that it needs", successor.pid)
        # The answer leaves first.
        asyncio.get_running_loop().call_later(LEAVE_DELAY_S, self._stopping.set)
        return Upgraded(pid=successor.pid)

    async def _give(self, successor: Successor) -> None:
        """Give a successor what it needs, and wait until it has all else; go on as before where it does not get so far.

        Raises:
            SuccessionError: If it does not.
        """
        try:
            with ExitStack() as opened:
                heritage = Heritage(
                    self._fleet.give(opened),
                    self._fleet.flows,
                    list(self._bank.by_worker()),
                    self._admin.give(),
                    self._names.addresses,
                    helper=self._give_helper(opened),
                )
                await successor.give(heritage)
        except (SuccessionError, OSError) as exc:
            self._fleet.keep()
            await successor.end()
            self._restore()
            if isinstance(exc, OSError):
                raise SuccessionError(f"nothing can be handed over: {(exc.strerror or str(exc)).lower()}") from exc
            raise

    def _give_helper(self, opened: ExitStack) -> int | None:
        """Return a line to the helper for a successor, closed with `opened`; None where that one needs none."""
        try:
            descriptor = self._helper.another()
        except PinError as exc:
            raise SuccessionError(str(exc)) from exc
        if descriptor is not None:
            opened.callback(os.close, descriptor)
        return descriptor

    def _restore(self) -> None:
        """Set what a successor may have changed that it shares with this one, unless this one ends."""
        if self._stopping.is_set():
            return
        self._bank.tune(self._snapshot.apps)
        try:
            self._bound.apply(self._snapshot, self._bank)
            self._filter.apply(self._config)
        except PinError as exc:
            log.error("after a refused upgrade not everything is as it was: in the kernel: %s", exc)
        self._offload.apply(self._config.udp_offload)

    async def _leave(self, successor: Successor) -> None:
        """Leave everything to a successor, and end this process; come back where the successor is gone."""
        await self._fleet.ask()  # brings the records of sessions that ended
        if not successor.lives:
            log.error("upgrade: pid %d has ended; staying", successor.pid)
            return
        # Each step is only what this process does not need any more: none that fails is a reason to stay.
        status = 1
        try:
            self._admin.leave(successor.control)
            signals.hold_all()
            self._fleet.detach()
            # Where we have a parent that stays, systemd and its like know that one.
            if not init.followed_by(successor.pid):
                self._systemd.followed_by(successor.pid)
            await successor.leave()
            status = 0
        except SuccessionError:
            # The unit's Restart= starts another one, which takes the workers over.
            log.error("upgrade: pid %d has ended; the workers wait for a new start", successor.pid)
        except Exception:
            log.exception("upgrade: leaving all the same")
        try:
            await self._admin.stop()
        except Exception:
            log.exception("upgrade: clients of the control socket or the metrics were cut")
        try:
            self._records.close(LEAVE_WRITE_S)
        except Exception:
            log.exception("upgrade: records of sessions may be lost")
        logging.shutdown()
        for number in signal.sigpending() & {*signals.STOP, signal.SIGHUP}:
            successor.signal(number)
        # Not by the usual way: it would end the workers, which are children of this process.
        os._exit(status)

    def _stop(self, number: int = signal.SIGTERM) -> None:
        if self._passed_on(number):
            return
        if self._stopping.is_set():
            log.info("stopping at once")
            self._fleet.hurry()
            return
        if self._upgrading is not None:
            self._upgrading.kill()
        self._stopping.set()
        self._names.stop_waiting()

    async def _drain(self) -> None:
        """Accept nothing more, let sessions end, then end them."""
        self._bound.stopping = True
        await self.reloads.stop()
        timeout_s = self._config.drain_timeout_s
        self._systemd.stopping(f"draining for up to {timeout_s:g} s")
        workers = self._fleet.all()
        sessions = sum(worker.sessions for worker in workers)
        log.info("draining: %d sessions have %g s; a second signal ends them at once", sessions, timeout_s)
        self._fleet.drain(timeout_s)
        await in_thread(self._clear_kernel)
        self._bank.close(self._bank.keys())
        if not workers:
            return
        try:
            await asyncio.wait_for(self._fleet.empty.wait(), timeout_s + EXIT_GRACE_S)
        except TimeoutError:
            log.warning("workers did not end in time and are killed")
        log.info("stopped")

    def _clear_kernel(self) -> None:
        try:
            self._filter.remove()
            self._offload.remove()
        except PinError as exc:
            log.error("what the kernel has stays there, `spectrum kernel detach` removes it: %s", exc)


def serve(
    path: Path | None,
    config: Config,
    workers: int | None,
    level: str,
    watch: bool,
    predecessor: Predecessor | None = None,
    files: FilesRead | None = None,
) -> None:
    """Run the daemon until it is stopped; with `watch` it reloads when the file changes.

    Without a path `config` is all that it serves. With a `predecessor` it takes over what that one served.
    `files` is what they were when `config` was read from them.

    Raises:
        ListenError: If an address can not be listened on.
        StartError: If the workers do not serve, or the file's user can not.
    """
    configure_logging(config.log.format == "json", level)
    # A look-up that fails leaves cycles of about 10 KB; the probes of many origins, none.
    collect_every(5_000)
    # Pages are rendered in threads; the default of 5 ms would delay each step of the loop by that.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    os.environ |= {LEVEL_VARIABLE: level, FORMAT_VARIABLE: config.log.format, SECCOMP_VARIABLE: str(config.seccomp)}
    installation.remember()
    if config.seccomp and not seccomp.is_present():
        log.warning("seccomp: libseccomp is not on this machine, workers run without a filter")
    transparent = any(app.source == "client" or app.tproxy or app.bindings for app in config.apps.values())
    if transparent and not may_be_transparent():
        raise StartError("source: client, tproxy and bindings need root or CAP_NET_RAW; see `spectrum doctor`")

    helper = Helper(Path(config.kernel.bpffs))
    if config.user is not None:
        is_root = os.geteuid() == 0
        if is_root:
            _start_helper(helper)
        _become(config.user, path, config, predecessor)
        if is_root or predecessor is not None:  # which has been root
            helper.leave_root()

    async def main() -> None:
        # Signals are the main thread's, also when it holds them back.
        executor = ThreadPoolExecutor(initializer=signals.hold_all, thread_name_prefix="blocking")
        asyncio.get_running_loop().set_default_executor(executor)
        await Supervisor(path, config, workers, watch, predecessor, files, helper).run()
        signals.hold_all()  # without a handler a late one would decide how this process ends
        ending = threading.Thread(target=executor.shutdown, daemon=True)
        ending.start()
        ending.join(THREADS_END_S)
        if ending.is_alive():
            log.warning("ending although a file is being read: a pipe, or a file system that does not answer")
            logging.shutdown()
            os._exit(0)

    uvloop.run(main())


def _start_helper(helper: Helper) -> None:
    try:
        helper.start()
    except PinError as exc:
        raise StartError(str(exc)) from exc


def _become(user: str, path: Path | None, config: Config, predecessor: Predecessor | None) -> None:
    """Go on as the file's user; the control socket stays where root has it."""
    folder, before = _control_path(config).parent, os.geteuid()
    try:
        leave_root(user, path, folder, config.control is not None, record_folders(config))
    except AccountError as exc:
        fault = str(exc)
    else:
        # The workers of the one before, and their sockets, are another user's.
        fault = "user changed: that takes a restart" if predecessor and os.geteuid() != before else ""
    if fault:
        if predecessor is not None:
            predecessor.refuse([fault])
        raise StartError(fault)
    if config.control is None and os.geteuid() != before:
        os.environ["RUNTIME_DIRECTORY"] = str(folder)
