"""The supervisor: the composition root of everything but the data path.

It owns the listening sockets and the workers, applies configurations, adds up what workers count, and answers who asks.
Nothing on the data path waits for it.
"""

import asyncio
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from spectrum import __version__
from spectrum.control.access import AccessError, load_access
from spectrum.control.balancing.explain import explain
from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.bindings import BoundApps
from spectrum.control.configuration.loader import ConfigError, load_file, named_files
from spectrum.control.configuration.watch import FilesRead, FileWatch, States
from spectrum.control.filter.node import NodeFilter
from spectrum.control.http.admin import AdminServer, Reloaded, Upgraded, control_app, control_name, metrics_app
from spectrum.control.http.exporter import Exporter, NodeState
from spectrum.control.http.status import apps_status, balancers_status, names_status, pools_status
from spectrum.control.listeners import ListenerBank, sockets_per_listener
from spectrum.control.names.name_watch import NameWatch
from spectrum.control.offload import NodeOffload
from spectrum.control.paths import default_control_socket
from spectrum.control.processes.account import AccountError, leave_root
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.succession import Predecessor, Successor, arguments
from spectrum.control.processes.systemd import Notifier
from spectrum.control.processes.workers import Outcome, WorkerProcess, encode, memory_file
from spectrum.control.records.log import LineWriter
from spectrum.control.records.stream import RecordStream, records_status
from spectrum.control.records.totals import Totals
from spectrum.control.tls.certificates import CertificateError, load_tls, soon_to_end
from spectrum.control.tls.tickets import TicketKeyRotation
from spectrum.core.address import PortRange, parse_reachable_address
from spectrum.core.balancing.events import HealthEvent, as_text
from spectrum.core.balancing.pools import Standing
from spectrum.core.balancing.settings import labels
from spectrum.core.configuration.changes import changes, restart_needed
from spectrum.core.configuration.checks import ListenerIndex
from spectrum.core.configuration.config import Config
from spectrum.core.names import NameSettings
from spectrum.core.numbers import Numbers, NumbersExhausted
from spectrum.core.snapshot import MAX_NUMBERS, Snapshot, compile_snapshot
from spectrum.garbage import collect_every, freeze
from spectrum.kernel import init, installation, seccomp, signals
from spectrum.kernel.cgroups import usable_processors
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import ListenError, local_addresses, passed_sockets, raise_descriptor_limit
from spectrum.kernel.transparent import may_be_transparent
from spectrum.link.messages import Met, Offloading
from spectrum.link.succession import Heritage, SuccessionError
from spectrum.link.takeover import Events
from spectrum.plane.log import FORMAT_VARIABLE, LEVEL_VARIABLE, configure_logging, log_spare_signals
from spectrum.plane.memory import ENDED_FLOWS, SharedMemory
from spectrum.plane.worker import SECCOMP_VARIABLE
from spectrum.tasks import Shared, Tasks

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")

START_TIMEOUT_S = 30.0
# A reload waits so long for the answer of a worker. One that applies a snapshot of 10,000 apps takes less than 2 s.
ANSWER_TIMEOUT_S = 10.0
# A reload reads files so long: a million prefixes take a quarter of it, a file system that is gone takes for ever.
READ_TIMEOUT_S = 30.0
# What threads are at when all else has ended has so long.
THREADS_END_S = 2.0
# Of a reload that changes thousands of apps the log has the first ones; `spectrum reload` prints them all.
MAX_CHANGES_LOGGED = 50
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


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration that is about to be served: what workers run on, the numbers in it, the table of prefixes."""

    snapshot: Snapshot
    numbers: dict[str, int]
    prefixes: bytes


class _Undo(AsyncExitStack):
    """What undoes the steps of a reload, the last one first. If one cannot be undone, the others are nevertheless."""

    def by(self, step: Callable[..., object], *args: Any) -> None:
        """Note a step that undoes the next one."""
        self.push_async_callback(self._run, step, *args)

    @staticmethod
    async def _run(step: Callable[..., object], *args: Any) -> None:
        try:
            result = step(*args)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("after a refused reload not everything is as it was")


class RolloutError(Exception):
    """A plan is not served; the message has a line for each reason, and everything is as before."""


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
        self._path = path
        self._watches = watch
        self._files = files or FilesRead()
        # What a file names that is not served: it is being read, or was refused.
        self._tried_files: list[Path] = []
        # What the files were from which came what is served.
        self._served_files: States = {}
        self._config = self._started_with = config
        self._worker_count = workers or config.workers or usable_processors()
        self._started_at = time.monotonic()
        self._plan_served = Plan(Snapshot(0, (), 0, True), {}, b"")
        self._bank = ListenerBank()
        self._helper = helper or Helper(Path(config.kernel.bpffs))
        self._bound = BoundApps(self._helper)
        self._filter = NodeFilter(self._helper)
        flows = self._worker_count * (config.max_flows + ENDED_FLOWS)
        self._offload = NodeOffload(Path(config.kernel.bpffs), flows, self._worker_count)
        self._sockets_each = 1
        self._tasks = Tasks()
        self._totals = Totals()
        self._state = NodeState()
        self._numbers = Numbers(MAX_NUMBERS)
        self._memory: SharedMemory
        self._fleet: Fleet
        self._health = HealthKeeper(self._tell_health, self._record_health, self._readdress)
        self._tickets = TicketKeyRotation(self._tell_tickets, config.session_tickets.rotate_s)
        self._admin = AdminServer()
        self._systemd = Notifier()
        self._index = ListenerIndex(config.apps, local_addresses())
        self._names = NameWatch(self._names_changed, self._refuse_address)
        self._records = RecordStream(config, LineWriter(FileIO(1, "wb", closefd=False)))
        self._exporter = Exporter(self._totals, self._state, self._health, self._names, self._records)
        # Who holds the first one may change what is served, who holds the second one does.
        self._reloading = asyncio.Lock()
        self._applying = asyncio.Lock()
        self._apply_limit = asyncio.timeout(None)
        # What reads files for a reload: one thread at most.
        self._reader: asyncio.Future[Any] | None = None
        self._stopping = asyncio.Event()

    async def _tick_records(self) -> None:
        while True:
            await asyncio.sleep(RECORDS_TICK_S)
            self._records.tick(self._totals.workers.events_dropped)

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            ListenError: If an address can not be listened on; nothing is left running.
            StartError: If the workers do not serve.
        """
        loop = asyncio.get_running_loop()
        limits = self._config.limits
        client, prefix = limits.client_prefix, limits.prefix_length
        self._memory = SharedMemory(
            self._worker_count,
            self._config.max_affinities,
            (client.ipv4, client.ipv6),
            (prefix.ipv4, prefix.ipv6),
        )
        self._fleet = Fleet(
            self._control,
            self._worker_count,
            self._memory,
            self._totals,
            self._serve,
            self._heard,
            lambda: self._config.handover_timeout_s,
            lambda: self._config.worker_timeout_s,
        )
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
            watch = FileWatch(self._watched_files, self._files_changed, files=self._files)
            self._tasks.keep(watch.run, "watch files")
            self._tasks.keep(self._tickets.run, "rotate the keys of session tickets")
            self._tasks.keep(self._tick_records, "sum refusals")
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
            await self._fleet.end(ends_veterans=self._state.generation > 0)
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
        limit = raise_descriptor_limit()
        try:
            plan = self._plan(self._config, 1)
        except (AccessError, CertificateError) as exc:  # it was there a moment ago
            raise StartError(str(exc)) from exc
        heritage = await self._inherit()
        # First the control socket: a second daemon with the same file is told so, not "address in use" for each app.
        control = control_app(
            Shared(self.status), self.reload, self.explain, self.upgrade, self._filter.samples, self._bound
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
        no_veterans = not self._fleet.all()
        # No port is opened before workers run: clients would wait for nobody, and be reset where none ever does.
        self._fleet.start(self._tasks, serves=False)
        await self._wait_for_workers(lambda: len(self._fleet.begun()) == self._worker_count)
        plan = replace(plan, snapshot=self._bank.fit(plan.snapshot))
        snapshot = plan.snapshot
        keys = snapshot.listener_keys()
        self._sockets_each = sockets_per_listener(len(keys), self._worker_count, limit)
        if self._sockets_each < self._worker_count:
            log.warning(
                "%d listeners for %d workers need more than the limit of %d descriptors: workers share each listener, "
                "less evenly; raise the limit (LimitNOFILE=, ulimit -n)",
                len(keys),
                self._worker_count,
                limit,
            )
        if len(keys) * 2 > limit:
            log.warning("%d listeners leave room for few sessions below the limit of %d descriptors", len(keys), limit)
        self._bank.open(snapshot, self._sockets_each)
        self._bank.drop_adopted()
        self._bank.tune(snapshot.apps)
        try:
            await asyncio.to_thread(self._bound.apply, snapshot, self._bank)
            await asyncio.to_thread(self._filter.apply, self._config)
            await asyncio.to_thread(self._filter.keep)
        except PinError as exc:
            raise StartError(f"in the kernel: {exc}") from exc
        self._offload.apply(self._config.udp_offload, anew=no_veterans)
        if self._config.metrics:
            await self._admin.serve_metrics(metrics_app(Shared(self.render), self.ready), self._config.metrics.listen)
        await self._names.watch(snapshot.names())
        # Without an await between: who asks for the status sees both, or neither.
        self._take(plan)
        self._health.apply(self._config, snapshot, self._names.addresses)
        # Nothing is missing any more: the one before may go, and its workers be relieved.
        await self._follow(heritage)
        await self._fleet.open()
        await self._wait_for_workers(self.ready)
        self._state.generation = 1
        self._note_files()
        await self._fleet.relieve_the_rest()  # there are fewer workers now
        freeze()
        counts = (len(snapshot.apps), "app"), (len(keys), "listener"), (self._worker_count, "worker")
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
            self._admin = AdminServer(given)
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

    def _plan(self, config: Config, generation: int) -> Plan:
        """Read what the file names, and work out what workers run on.

        Raises:
            AccessError: If a list of access rules can not be used.
            CertificateError: If a file for TLS can not.
            NumbersExhausted: If there are no numbers for new origins.
        """
        numbers = self._numbers.plan(labels(config.pools), lambda number: self._memory.loads.open(number) > 0)
        self._files.reading(named_files(config))
        access, prefixes = load_access(config.access_rules)
        tls = load_tls(config)
        return Plan(compile_snapshot(config, generation, numbers, access, tls), numbers, prefixes)

    @property
    def _snapshot(self) -> Snapshot:
        """What is served."""
        return self._plan_served.snapshot

    def _take(self, plan: Plan) -> None:
        self._plan_served = plan
        self._numbers.keep(plan.numbers)
        self._forget_apps()
        self._state.certificates_end_at = {one.name: one.ends_at for one in plan.snapshot.tls.certificates}
        for line in soon_to_end(plan.snapshot.tls):
            log.warning("%s", line)

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

    def _serve(self, workers: Iterable[WorkerProcess], plan: Plan | None = None) -> list["asyncio.Future[Outcome]"]:
        """Let workers serve a plan, else what is served now; return what becomes of that, for each.

        One that owes an answer is told when it has given it.

        Raises:
            OSError: If they cannot be told, for want of descriptors or memory.
        """
        plan = plan or self._plan_served
        addresses = self._health.addresses_for_workers(self._names.addresses)
        outcomes: list[asyncio.Future[Outcome]] = []
        files: list[int] = []
        try:
            files.append(memory_file("snapshot", encode(plan.snapshot)))
            files.append(memory_file("prefixes", plan.prefixes))
            for worker in workers:
                worker.outdated = worker.owes
                if worker.outdated:
                    continue
                worker.tell_tickets(self._tickets.keys)
                worker.tell(Offloading(self._offload.version, self._offload.places), self._offload.descriptors)
                worker.tell_names(addresses)
                worker.tell_health(self._health.standings, self._health.told_latencies)
                sockets = partial(self._bank.descriptors, worker=worker.number, workers=self._worker_count)
                outcome = worker.configure(plan.snapshot, files, sockets)
                if plan is self._plan_served:
                    outcome.add_done_callback(partial(_insist, worker))
                outcomes.append(outcome)
        finally:
            close_all(files)
        return outcomes

    def _heard(self, message: Events | Met) -> None:
        if isinstance(message, Met):
            self._health.met(message.signs)
        else:
            self._records.add(message)

    def _refuse_address(self, name: NameSettings, address: str) -> str | None:
        """Say why an address of a name cannot be an origin: nobody is there, or it leads back to us."""
        try:
            found = parse_reachable_address(address)
        except ValueError as exc:
            return str(exc)
        taken = self._index.owner(name.transport, found, PortRange(name.first_port, name.last_port))
        return f"{address} port {taken[1]} is the listener of app {taken[0]}: a loop" if taken else None

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
            if errors := (await self.reload()).errors:
                log.error("SIGHUP: refused: %s", errors[0])

        self._tasks.start(reload(), "reload on SIGHUP")

    def _watched_files(self) -> list[Path]:
        watched = [*named_files(self._config), *self._tried_files]
        return [self._path, *watched] if self._watches and self._path else watched

    async def _files_changed(self, paths: list[Path]) -> None:
        """Read files again that have changed; those with faults change nothing."""
        log.info("changed: %s", ", ".join(map(str, paths)))
        named = set(named_files(self._config))
        if not named.issuperset(paths) and not (await self.reload()).errors:
            return
        # A certificate is renewed beside a file that is refused, too.
        if not named.isdisjoint(paths):
            await self.reload(reads_file=False)

    def _read_file(self) -> Config:
        """Read the file; what it names is watched until it is served, so that a refused file is tried again.

        Raises:
            ConfigError: If there are faults in it.
        """
        if self._path is None:
            return self._config
        read: list[Path] = []

        def reading(paths: Iterable[Path]) -> None:
            read.extend(paths)
            self._files.reading(paths)

        try:
            return load_file(self._path, reading)
        finally:
            self._tried_files = read[1:] if self._watches else []

    async def reload(self, reads_file: bool = True) -> Reloaded:
        """Read the file again, or only what it names, and serve it, if nothing is wrong with it."""
        if self._busy_with:
            return Reloaded(errors=[self._busy_with])
        async with self._reloading:
            if self._busy_with:  # since it waited
                return Reloaded(errors=[self._busy_with])
            self._systemd.reloading()
            try:
                config = await self._in_time(self._read_file) if reads_file else self._config
                found = changes(self._config, config)
                async with self._applying, asyncio.timeout(None) as self._apply_limit:
                    if self._busy_with:  # since it read
                        raise RolloutError(self._busy_with)
                    await self._apply(config)
            except Exception as exc:
                errors = self._explained(exc)
            else:
                self._state.last_reload_successful = True
                if reads_file:
                    self._tried_files = []
                own = [self._path] if self._path else []
                self._files.keep([*own, *named_files(config), *self._tried_files])
                found += self._note_files()
                log.info("reloaded: generation %d, %d apps", self._snapshot.generation, len(self._snapshot.apps))
                for change in found[:MAX_CHANGES_LOGGED]:
                    log.info("reloaded: %s", change)
                return Reloaded(changes=found, restart=self._restart_needed())
            finally:
                self._tell_ready()
        self._state.last_reload_successful = False
        for error in errors:
            log.error("reload refused: %s", error)
        return Reloaded(errors=errors)

    async def _in_time(self, read: Callable[..., _Done], *args: Any) -> _Done:
        """Return what a thread reads from files.

        Raises:
            RolloutError: If it does not come in time. The thread is left behind, and no other begins before it ends.
        """
        if self._reader is not None and not self._reader.done():
            raise RolloutError(
                "a file of the last reload is still being read: a pipe, or a file system that does not answer"
            )
        reader = asyncio.get_running_loop().run_in_executor(None, partial(read, *args))
        reader.add_done_callback(lambda late: late.cancelled() or late.exception())
        self._reader = reader
        if not (await asyncio.wait([reader], timeout=READ_TIMEOUT_S))[0]:
            raise RolloutError(
                f"the file, or one that it names, is not read within {READ_TIMEOUT_S:g} s: a pipe, or a file system"
                " that does not answer"
            )
        return reader.result()

    def _note_files(self) -> list[str]:
        """Return a line for each file that the configuration names and that is another one than was served before."""
        served, self._served_files = self._served_files, self._files.known(named_files(self._config))
        return [
            f"changed file {path}"
            for path, state in self._served_files.items()
            if path in served and served[path] != state
        ]

    def _restart_needed(self) -> list[str]:
        return restart_needed(self._started_with, self._config)

    @property
    def _busy_with(self) -> str:
        """Why what is served cannot be changed now; "" where it can."""
        if not self._state.generation:
            return "the daemon is not serving yet"
        if self._successor is not None:
            return "the daemon is being upgraded"
        return "the daemon is stopping" if self._stopping.is_set() else ""

    def _explained(self, exc: Exception) -> list[str]:
        """Return why a reload is refused, a line for each fault."""
        match exc:
            case ConfigError():
                return [str(diagnostic) for diagnostic in exc.diagnostics]
            case PinError():
                return f"in the kernel: {exc}".splitlines()
            case ListenError() | AccessError() | CertificateError() | RolloutError():
                return str(exc).splitlines()
            case NumbersExhausted():
                return ["too many origins were replaced while sessions of the old ones go on; reload again later"]
            case TimeoutError() if self._busy_with:
                return [self._busy_with]
            case OSError():
                log.error("a reload failed", exc_info=exc)
                return [f"the system refused something: {(exc.strerror or str(exc)).lower()}"]
        log.error("a reload failed", exc_info=exc)
        return [f"a fault of ours, the log has its traceback: {type(exc).__name__}: {exc}"]

    async def _apply(self, config: Config) -> None:
        """Serve a configuration; where any step fails, everything is as it was before.

        Steps that can be refused come first, each behind the one that undoes it, workers last of them.
        """
        plan = await self._in_time(self._plan, config, self._snapshot.generation + 1)
        plan = replace(plan, snapshot=self._bank.fit(plan.snapshot))
        if silent := await self._fleet.settle(ANSWER_TIMEOUT_S):
            raise RolloutError("\n".join(f"{worker} does not answer; nothing has changed" for worker in silent))
        async with _Undo() as undo:
            await self._prepare(config, plan, undo)
            undo.by(self._adopt, self._config, self._plan_served)
            self._adopt(config, plan)
            undo.pop_all()
        await _in_thread(self._filter.keep)
        await self._names.watch(plan.snapshot.names())
        self._bank.close(self._bank.keys() - set(plan.snapshot.listener_keys()))
        for worker in self._fleet.workers.values():  # those that started meanwhile
            if worker.told != plan.snapshot.generation:
                self._fleet.bring_up_to_date(worker)
        self._state.generation = plan.snapshot.generation

    async def _prepare(self, config: Config, plan: Plan, undo: _Undo) -> None:
        """Make everything serve a plan; `undo` is told, before each step, what undoes it."""
        before, served, after = self._config, self._snapshot, plan.snapshot
        told: list[WorkerProcess] = []
        undo.by(self._take_back, told)  # last, when all that workers are told is as before
        opened = self._bank.open(after, self._sockets_each)
        undo.by(self._bank.close, opened)
        undo.by(self._bank.tune, served.apps)
        self._bank.tune(after.apps)
        undo.by(self._watch_names, before, served.names())
        await self._watch_names(config, served.names() | after.names())
        undo.by(self._offload.apply, before.udp_offload)
        self._offload.apply(config.udp_offload)
        if config.filter is not None:
            undo.by(_in_thread, await _in_thread(self._filter.apply, config))
        undo.by(_in_thread, self._bound.apply, served, self._bank)
        await _in_thread(self._bound.apply, after, self._bank)
        await self._spread(plan, told)
        if config.filter is None:  # cannot be undone, hence last
            await _in_thread(self._filter.remove)

    async def _watch_names(self, config: Config, names: frozenset[NameSettings]) -> None:
        self._index = ListenerIndex(config.apps, local_addresses())
        await self._names.watch(names)

    async def _spread(self, plan: Plan, told: list[WorkerProcess]) -> None:
        """Have all workers that serve go on with a plan; `told` gets those that were told.

        A worker that ends meanwhile is replaced, and its replacement is told afterwards.

        Raises:
            RolloutError: If one does not take it, or not in time.
        """
        told += self._fleet.serving()
        if not told:
            return
        outcomes = dict(zip(told, self._serve(told, plan), strict=True))
        await asyncio.wait(outcomes.values(), timeout=ANSWER_TIMEOUT_S)
        faults = []
        for worker, outcome in outcomes.items():
            if not outcome.done():
                faults.append(f"{worker} has not answered within {ANSWER_TIMEOUT_S:g} s")
            elif why := outcome.result():
                faults.append(f"{worker} refuses: {why}")
        if not faults and all(outcome.result() is None for outcome in outcomes.values()):
            faults = ["all workers ended as they were told to serve it; the log says how"]
        if faults:
            raise RolloutError("\n".join([*faults, f"all workers go on with generation {self._snapshot.generation}"]))

    async def _take_back(self, told: Sequence[WorkerProcess]) -> None:
        """Have workers serve again what they did before."""
        if self._stopping.is_set():
            return
        outcomes = self._serve(one for one in self._fleet.workers.values() if one in told)
        if outcomes:
            await asyncio.wait(outcomes, timeout=ANSWER_TIMEOUT_S)

    def _adopt(self, config: Config, plan: Plan) -> None:
        """Go by a configuration."""
        if config.log.format != self._config.log.format:
            os.environ[FORMAT_VARIABLE] = config.log.format  # of workers from now on
            configure_logging(config.log.format == "json", os.environ.get(LEVEL_VARIABLE, "INFO"))
        self._config = config
        if needed := self._restart_needed():
            log.warning("takes a restart: %s", ", ".join(needed))
        self._state.restart_needed = bool(needed)
        self._tickets.every_s = config.session_tickets.rotate_s
        self._take(plan)
        self._records.configure(config)
        self._health.apply(config, plan.snapshot, self._names.addresses)

    # --- what one sees --------------------------------------------------------------------------------------------

    async def render(self) -> bytes:
        """Return the metrics page."""
        await self._fleet.ask()
        answering = self._fleet.answering()
        self._state.workers_ready = len(answering)
        self._state.pauses = self._fleet.pauses()
        self._state.workers = {
            place: (found.generation if found else 0, found in answering)
            for place in range(self._worker_count)
            for found in [self._fleet.workers.get(place)]
        }
        self._state.flows_offloaded = sum(worker.offloaded for worker in self._fleet.all())
        self._state.helper_lost = self._helper.is_lost
        self._state.held_bytes = sum(worker.held_bytes for worker in self._fleet.all())
        self._state.listeners_deaf = sum(worker.deaf for worker in self._fleet.workers.values())
        self._state.workers_stalled = sum(worker.stalled for worker in self._fleet.workers.values())
        self._forget_apps()
        return await self._exporter.render()

    def _forget_apps(self) -> None:
        self._totals.forget({app.name for app in self._snapshot.apps}, time.monotonic())

    async def status(self) -> dict[str, Any]:
        """Return what `spectrum status` shows."""
        await self._fleet.ask()
        names = dict(self._names.addresses), dict(self._names.failures)
        apps = await asyncio.to_thread(apps_status, self._snapshot, self._totals.view(), *names)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "config": str(self._path.absolute()) if self._path else "the command line",
            "generation": self._snapshot.generation,
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "draining": self._stopping.is_set(),
            "restart_needed": self._restart_needed(),
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
        return explain(self._snapshot, self._plan_served.prefixes, self._health, self._memory, app, client, port)

    # --- the end --------------------------------------------------------------------------------------------------

    async def upgrade(self, python: str) -> Upgraded:
        """Start a successor, with another interpreter where `python` names one, and leave everything to it."""
        if self._busy_with:
            return Upgraded([self._busy_with])
        async with self._reloading:
            if self._busy_with:  # since it waited
                return Upgraded([self._busy_with])
            self._upgrading = successor = Successor()
            try:
                await successor.start(python or sys.executable, arguments())
                await self._give(successor)
                if self._stopping.is_set():
                    await successor.end()
                    raise SuccessionError(self._busy_with)
            except SuccessionError as exc:
                why = self._busy_with or str(exc)
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
        if self._applying.locked():
            self._apply_limit.reschedule(asyncio.get_running_loop().time())
        async with self._applying:
            pass  # a reload has been undone
        timeout_s = self._config.drain_timeout_s
        self._systemd.stopping(f"draining for up to {timeout_s:g} s")
        workers = self._fleet.all()
        sessions = sum(worker.sessions for worker in workers)
        log.info("draining: %d sessions have %g s; a second signal ends them at once", sessions, timeout_s)
        self._fleet.drain(timeout_s)
        await _in_thread(self._clear_kernel)
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


def _insist(worker: WorkerProcess, outcome: "asyncio.Future[Outcome]") -> None:
    """Replace a worker that does not serve what all others do."""
    if (why := outcome.result()) and worker.generation != worker.told:
        log.error("%s cannot serve generation %d and is replaced: %s", worker, worker.told, why)
        worker.kill()


async def _in_thread(step: Callable[..., _Done], *args: Any) -> _Done:
    """Run a step that blocks in a thread, to its end even where the task is cancelled: then it is undone."""
    running = asyncio.get_running_loop().run_in_executor(None, partial(step, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


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
        raise StartError("source: client, tproxy and bindings need root or CAP_NET_ADMIN; see `spectrum doctor`")

    helper = Helper(Path(config.kernel.bpffs))
    if config.user is not None:
        if os.geteuid() == 0 and path is not None:  # what is served without a file does not change
            _start_helper(helper)
        _become(config.user, path, config, predecessor)
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
        leave_root(user, path, folder, shared=config.control is not None)
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
