"""From a configuration to a plan: the files that it names are read, and the snapshot for workers is compiled."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

import msgspec

from spectrum.control.access import AccessError, AccessLoader
from spectrum.control.configuration.actor import IN_PARTS, Actor, Change, ConfigDifference, Plan, RolloutError
from spectrum.control.configuration.includes import Reading
from spectrum.control.configuration.machine import named_files
from spectrum.control.tls.certificates import CertificateError, load_tls
from spectrum.core.balancing.compiling import recompiled
from spectrum.core.configuration.changes import differing
from spectrum.core.configuration.config import App, Config
from spectrum.core.difference import AppsDifference
from spectrum.core.features import compile_app, compile_snapshot, number_labels, too_many
from spectrum.core.identity import unlike_names
from spectrum.core.numbers import Numbers, NumbersExhausted
from spectrum.core.snapshot import MAX_NUMBERS, AppSettings, Snapshot
from spectrum.core.tenants.app_scopes import AppScopes

# Sections of objects that name files, or depend on files of others.
_FILED = frozenset({"access_rules", "lists", "certificates", "flow_programs"})
_NOTHING = Config()


class Planner(Actor):
    """Makes plans; origins that stay keep their numbers.

    Args:
        reading: Called with the files that a configuration names, before they are read.
        in_use: Returns whether workers still count sessions under a number.

    Attributes:
        actors: Each may add to the snapshot.
    """

    def __init__(self, reading: Reading, in_use: Callable[[int], bool]) -> None:
        self._reading = reading
        self._in_use = in_use
        self.actors: Sequence[Actor] = ()
        self._numbers = Numbers(MAX_NUMBERS)
        self._access = AccessLoader()
        # The apps of the last plan, and their settings: an app that is the same object keeps them.
        self._apps: dict[str, App] = {}
        self._compiled = AppsDifference((), (), (), ())
        self._scopes = AppScopes(Config())
        self._settings: dict[str, AppSettings] = {}

    def change(self, plan: Plan, config: Config, since: ConfigDifference | None = None) -> Plan:
        """Return the plan for a configuration that follows that of another plan. It may read files: call it in a
        thread.

        Where nothing but objects differs, and none that names a file, files are not read again.

        Args:
            plan: The other plan.
            config: The configuration.
            since: The configuration that it was derived from, and the objects that may differ, if known.

        Raises:
            RolloutError: As `plan` does.
        """
        among = since.names if since is not None and since.config is plan.config else None
        names, generation = differing(plan.config, config, among), plan.snapshot.generation + 1
        if names is None or not _FILED.isdisjoint(names):
            return self.plan(config, generation)
        apps = [_with_apps(names.get("apps", ()), one) for one in (plan.config, config)]
        if any(map(named_files, apps)):
            return self.plan(config, generation)
        numbers, known = plan.numbers, names.get("apps", ()) if plan.config.apps is self._apps else None
        if names.keys() <= IN_PARTS and not any(map(number_labels, apps)):
            if "pools" in names:
                numbers = self._number(config)
            snapshot = msgspec.structs.replace(plan.snapshot, generation=generation, apps=self._compile(config, known))
            if not names.keys() <= {"apps"}:
                snapshot = recompiled(snapshot, config, numbers, names)
        else:
            numbers = self._number(config)
            files = plan.snapshot.access, plan.snapshot.tls
            snapshot = compile_snapshot(config, generation, numbers, *files, partial(self._compile, known=known))
        found = ConfigDifference(plan.config, names, self._compiled)
        return replace(plan, config=config, snapshot=self._finish(snapshot), numbers=numbers, since=found)

    def plan(self, config: Config, generation: int) -> Plan:
        """Return the plan for a configuration. It reads files: call it in a thread.

        Raises:
            RolloutError: If a list of access rules or a file for TLS cannot be used, or no numbers are free for new
                origins.
        """
        numbers = self._number(config)
        try:
            self._reading(named_files(config))
            access, prefixes = self._access.load(config)
            tls = load_tls(config)
        except (AccessError, CertificateError) as exc:
            raise RolloutError(str(exc)) from exc
        snapshot = compile_snapshot(config, generation, numbers, access, tls, self._compile)
        states = _states((snapshot.geoip, snapshot.geoip_asn))
        return Plan(config, self._finish(snapshot), numbers, prefixes, states)

    def _number(self, config: Config) -> dict[str, int]:
        try:
            return self._numbers.plan(number_labels(config), self._in_use)
        except NumbersExhausted as exc:
            replaced = "too many origins were replaced while sessions of the old ones continue; reload again later"
            raise RolloutError(too_many(config) or replaced) from exc

    def again(self, plan: Plan) -> Plan:
        """Return the plan for the same configuration and files, with the current state of features. It may block.

        Raises:
            RolloutError: If one refuses.
        """
        snapshot = msgspec.structs.replace(plan.snapshot, generation=plan.snapshot.generation + 1)
        return replace(plan, snapshot=self._finish(snapshot), since=ConfigDifference(plan.config, {}))

    def _finish(self, snapshot: Snapshot) -> Snapshot:
        for actor in self.actors:
            snapshot = actor.compile(snapshot)
        return snapshot

    def _compile(self, config: Config, known: Collection[str] | None = None) -> tuple[AppSettings, ...]:
        """Return the settings of all apps.

        Args:
            config: The configuration.
            known: The names of the apps that are others than at the last call, where that is known.
        """
        apps, settings, compiled = config.apps, self._settings, self._compiled.after
        if self._scopes.take(config):
            names: Collection[str] = self._apps.keys() | apps.keys()
        else:
            names = unlike_names(self._apps, apps) if known is None else known
        made = {name: self._compile_app(name, apps[name]) for name in names if name in apps}
        changed = {name: one for name, one in made.items() if settings.get(name) != one}
        former = [settings[name] for name in names if name in settings and (name in changed or name not in apps)]
        is_order_same = known is not None and settings.keys() >= made.keys()
        for name in names:
            if name not in apps:
                del settings[name]
        settings |= changed
        if not is_order_same and list(settings) != list(apps):
            self._settings = settings = {name: settings[name] for name in apps}
        if former or changed or not is_order_same:
            compiled = tuple(settings.values())
        self._apps = apps
        self._compiled = AppsDifference(self._compiled.after, compiled, tuple(former), tuple(changed.values()))
        return compiled

    def _compile_app(self, name: str, app: App) -> AppSettings:
        return msgspec.structs.replace(compile_app(name, app), scopes=self._scopes.scopes_of(app))

    async def commit(self, change: Change) -> None:
        """Assign the numbers of the plan."""
        if change.after.numbers is not change.before.numbers:
            self._numbers.keep(change.after.numbers)

    async def abort(self, change: Change) -> None:
        """Restore the numbers of the former plan."""
        self._numbers.keep(change.before.numbers)


def _with_apps(names: Iterable[str], config: Config) -> Config:
    """Return a configuration with only those of some apps that another one has, and nothing else."""
    return _NOTHING.model_copy(update={"apps": {name: config.apps[name] for name in names if name in config.apps}})


def _states(files: Iterable[str]) -> tuple[object, ...]:
    """Return the state by which a change of files is recognized."""
    states: list[object] = []
    for path in filter(None, files):
        try:
            found = os.stat(path)
        except OSError:
            states.append((path, None))
        else:
            states.append((path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
    return tuple(states)
