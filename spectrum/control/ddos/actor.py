"""Detection of attacks in a daemon: its process, the rules that it writes, status and metrics."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from spectrum.control.configuration.actor import Actor, Change, Jobs, Plan, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.ddos.attacks import AttackBook
from spectrum.control.ddos.detector_metrics import detector_metrics
from spectrum.control.ddos.held import RuleKeeper
from spectrum.control.ddos.needs import detector_user
from spectrum.control.ddos.planes import DetectionPlanes
from spectrum.control.ddos.process import NAME, DetectorPlace, DetectorProcess, Orders
from spectrum.control.paths import ddos_folder, profiles_folder
from spectrum.control.processes.account import AccountError, have_folder
from spectrum.control.processes.keeper import ProcessKeeper
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.trouble import Trouble
from spectrum.core.configuration.config import App, Config
from spectrum.core.ddos.checks import overrides_of
from spectrum.core.ddos.served import app_numbers, served_alike
from spectrum.kernel.filter.rules import check_automatic
from spectrum.kernel.pins import PinError
from spectrum.link.detector import (
    DetectorEvents,
    DetectorHeld,
    DetectorRule,
    DetectorRules,
    DetectorSampling,
    DetectorSettings,
    DetectorState,
    FromDetector,
)
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

COUNT_S = 1.0
# Delay before changes that the kernel refused are tried again.
RETRY_S = 1.0


class DdosActor(Actor):
    """Detects attacks, where the file has `ddos`.

    Args:
        path: The file of the rules in force.
        served: What is served.
        planes: Sample packets, and apply rules.
        book: Records attacks.
    """

    def __init__(self, path: Path, served: Served, planes: DetectionPlanes, book: AttackBook) -> None:
        self._served = served
        self._planes = planes
        self._book = book
        self._rules = RuleKeeper(path)
        self._keeper: ProcessKeeper[DetectorPlace, DetectorProcess] = ProcessKeeper(NAME, self._make, self._orders)
        self._place: DetectorPlace | None = None
        self._told: DetectorSettings | None = None
        self._news = asyncio.Event()
        self._sampling: DetectorSampling | None = None
        # Whether rules have been sent that kernel or workers do not have yet.
        self._has_rules = False
        self._has_heard = False
        self._state: DetectorState | None = None
        # Why kernel or workers refuse the detector's rules; empty if they do not.
        self._failure = ""

    # --- the configuration ----------------------------------------------------------------------------------------

    async def prepare(self, change: Change) -> None:
        """Create the folder of profiles.

        Raises:
            RolloutError: If the detector could not write to it.
        """
        config = change.after.config
        if change.is_first:
            await in_thread(self._rules.read)
        if config.ddos is None or change.names is not None:
            return
        try:
            await in_thread(have_folder, ddos_folder(config), detector_user(config), "ddos.store")
        except AccountError as exc:
            raise RolloutError(str(exc)) from exc

    async def commit(self, change: Change) -> None:
        """Begin to sample packets, or stop.

        Raises:
            RolloutError: If the kernel refuses.
        """
        if _concerns(change):
            await self._have(change.after.config)

    async def abort(self, change: Change) -> None:
        """Restore the former sampling."""
        if not change.is_first and _concerns(change):
            await self._have(change.before.config)

    async def restore(self, plan: Plan) -> None:
        """Apply the sampling that is served."""
        await self._have(plan.config)

    async def _have(self, config: Config) -> None:
        by_workers = self._planes.by_workers
        try:
            await self._planes.apply(config)
        except PinError as exc:
            where = "in the kernel" if config.filter is not None else "in the workers"
            raise RolloutError(f"ddos: {where}: {exc}") from exc
        moved = config.ddos is not None and self._planes.by_workers != by_workers
        if moved and (rules := self._rules.in_force()):
            try:
                await self._planes.write(rules)  # Before new workers serve: an attack does not wait for a detector.
            except PinError:
                self._has_rules = True
                self._news.set()

    async def release(self, change: Change) -> None:
        """Let the process detect with the new settings."""
        if not _concerns(change):
            return
        config = change.after.config
        place = None
        if config.ddos is not None:
            profiles = profiles_folder(config)
            assert profiles is not None, "there are profiles where attacks are detected"
            place = DetectorPlace(ddos_folder(config), detector_user(config), config.seccomp, profiles.name)
        if place != self._place:
            self._place, self._state = place, None
            self._keeper.want(place)
        if place is not None:
            orders = self._orders()
            if orders.settings != self._told or change.before.places != change.after.places:
                self._told = orders.settings
                self._keeper.tell("settings", orders)

    def _orders(self) -> Orders:
        """Return the settings for the process."""
        config = self._served.config
        assert config.ddos is not None, "there is a process only then"
        numbers = app_numbers(config.apps)
        settings = DetectorSettings(
            {number: (name, _serves(config.apps[name])) for name, number in numbers.items()},
            config.ddos.everywhere,
            overrides_of(config),
            config.ddos.samples_per_second,
            config.ddos.learning_s,
            config.ddos.expiry_s,
            self._planes.one_in,
            by_workers=self._planes.by_workers,
        )
        return Orders(settings, self._planes.looks, _places(config))

    # --- its process ----------------------------------------------------------------------------------------------

    def _make(self, place: DetectorPlace) -> DetectorProcess:
        return DetectorProcess(place, self._found, self._held)

    def _held(self) -> DetectorHeld:
        if not self._has_heard:  # During an upgrade the previous daemon has continued meanwhile.
            self._rules.read()
        return DetectorHeld(self._rules.in_force(), self._rules.held.last, self._book.held(time.time()))

    def _found(self, found: FromDetector) -> None:
        match found:
            case DetectorRules(rules, last):
                self._take(rules, last)
            case DetectorSampling():
                self._sampling = found
                self._news.set()
            case DetectorEvents(events):
                self._book.take(events)
            case DetectorState():
                self._state = found

    def _take(self, rules: list[DetectorRule], last: int) -> None:
        """Apply the detector's rules. The detector reads packets of anybody, so its messages are checked first."""
        try:
            for rule in rules:
                check_automatic(rule.slot, time.monotonic_ns())
        except PinError as exc:
            log.error("rules of the detector are not applied, and those in force expire: %s", exc)
            return
        self._rules.take(rules, last)
        self._has_heard = self._has_rules = True
        self._news.set()

    def jobs(self) -> Jobs:
        """Keep the process running, apply its rules, and send it the filter's counters."""
        return {
            "keep the detector": self._keeper.run,
            "write rules against attacks": self._write,
            "tell the detector what is counted": self._count,
        }

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._do()
            except PinError as exc:
                if str(exc) != self._failure:
                    log.error("rules of the detector are not applied: %s", exc)
                self._failure = str(exc)
                await asyncio.sleep(RETRY_S)
                self._news.set()
            else:
                self._failure = ""

    async def _do(self) -> None:
        """Apply the latest request of the detector.

        Raises:
            PinError: If the kernel refuses; the request remains.
        """
        if self._served.config.ddos is None:
            return
        if self._has_rules:
            held = self._rules.held
            await self._planes.write(held.rules)
            self._has_rules = self._rules.held is not held
            await in_thread(self._rules.write, held)
        if (sampling := self._sampling) is not None:
            await self._planes.sample(sampling.idle_one_in, sampling.used_one_in)
            if self._sampling is sampling:
                self._sampling = None

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNT_S)
            if self._keeper.pid:
                self._keeper.tell("counts", await self._planes.counted())

    # --- status and metrics ---------------------------------------------------------------------------------------

    def processes(self) -> Mapping[str, int]:
        """Return the detector."""
        return {"detector": self._keeper.pid} if self._keeper.pid else {}

    async def status(self) -> Mapping[str, Any]:
        """Return whether detection runs, on which addresses, and the rules in force."""
        if self._served.config.ddos is None:
            return {}
        state, now, in_force = self._state, time.monotonic_ns(), self._rules.in_force()
        counts = (await self._planes.counted()).rules if in_force else {}
        shown: dict[str, Any] = {
            "state": self._words(),
            "seen_by": "workers" if self._planes.by_workers else "filter",
            "pid": self._keeper.pid,
            "restarts": self._keeper.restarts,
            "why": self._keeper.why or self._failure,
            "one_in": {"idle": self._planes.one_in[0], "in_use": self._planes.one_in[1]},
            "rules": [
                {
                    "name": rule.name,
                    "what": rule.text,
                    "packets": counts.get(rule.name, (0, 0))[0],
                    "ends_in_s": round((rule.expires_ns - now) / 1e9, 1),
                }
                for rule in in_force
            ],
        }
        if state is not None:
            shown |= {
                "samples_per_second": round(state.samples_per_second),
                "packets_per_second": round(state.packets_per_second),
                "lost": state.lost,
                "cpu": round(state.cpu, 4),
                "apps": {
                    name: {"learned_s": round(seconds), "settled": settled}
                    for name, (seconds, settled) in state.learned.items()
                },
            }
        return {"ddos": shown}

    def _words(self) -> str:
        if not self._keeper.pid and self._keeper.why:
            return "off: the detector does not run; rules in force expire"
        if not self._keeper.pid or self._state is None:
            return "starting"
        if self._state.ready_s > 0:
            return f"learning: in the next {self._state.ready_s:.0f} s only what is an attack whatever is normal"
        learning = [name for name, (_, settled) in self._state.learned.items() if not settled]
        if learning:
            some = f"{len(learning)} of {len(self._state.learned)} apps"
            return f"on; rules about {some} only count what is no attack without a profile: learning_time"
        return "on"

    async def metrics(self) -> Iterable[Metric]:
        """Return whether detection runs, and its cost."""
        if self._served.config.ddos is None:
            return ()
        return detector_metrics(bool(self._keeper.pid), self._keeper.restarts, self._planes.one_in, self._state)

    def troubles(self) -> Iterable[Trouble]:
        """Report that attacks are not detected, or not mitigated."""
        if self._served.config.ddos is None:
            return
        why = self._keeper.why or self._failure or (self._state.without_slot if self._state else "")
        if why:
            yield Trouble("ddos", "degraded", facts={"why": why})

    # --- over the life of the daemon ------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stop sampling: the filter and workers let everything pass."""
        self._keeper.want(None)

    def leave(self) -> None:
        """Let the process save its profiles; the successor's process waits until it ends."""
        self._keeper.dismiss()

    async def close(self) -> None:
        """Stop; the rules in force expire."""
        await self._keeper.close()
        self._planes.close()

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the sampling settings and the rules."""
        self._planes.tell(worker)


def _places(config: Config) -> list[tuple[str, str]]:
    """Return the databases of places of sources."""
    files = config.geoip
    named = [("country", files.database), ("asn", files.asn_database)] if files is not None else []
    return [(name, path) for name, path in named if path is not None]


def _concerns(change: Change) -> bool:
    """Return whether detection depends on the difference: of apps, only on their listeners."""
    if change.names is None or "rulesets" in change.names:
        return True
    one, other = change.before.config, change.after.config
    return other.ddos is not None and not served_alike(one.apps, other.apps, change.names.get("apps", ()))


def _serves(app: App) -> str:
    """Return the listeners of an app, as text."""
    ports = app.protocol.ports
    addresses = " ".join(sorted(map(str, app.addresses)))
    return f"{app.protocol.transport}/{ports.first}-{ports.last} {addresses}".rstrip()
