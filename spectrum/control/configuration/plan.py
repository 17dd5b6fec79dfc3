"""From a configuration to a plan: what it names is read, and what workers run on is worked out."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from spectrum.control.access import AccessError, AccessLoader
from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.control.configuration.includes import Reading
from spectrum.control.configuration.machine import named_files
from spectrum.control.tls.certificates import CertificateError, load_tls
from spectrum.core.configuration.config import App, Config
from spectrum.core.features import compile_app, compile_snapshot, number_labels
from spectrum.core.numbers import Numbers, NumbersExhausted
from spectrum.core.snapshot import MAX_NUMBERS, AppSettings, Snapshot
from spectrum.core.tenants.app_scopes import AppScopes


class Planner(Actor):
    """Makes plans; origins that stay keep their numbers.

    Args:
        reading: Told of the files that a configuration names, before they are read.
        in_use: Tells whether workers still count sessions by a number.

    Attributes:
        actors: Each may add to what workers run on.
    """

    def __init__(self, reading: Reading, in_use: Callable[[int], bool]) -> None:
        self._reading = reading
        self._in_use = in_use
        self.actors: Sequence[Actor] = ()
        self._numbers = Numbers(MAX_NUMBERS)
        self._access = AccessLoader()
        self._app_scopes = AppScopes()
        self._scopes: Mapping[str, tuple[str, ...]] = {}
        # Of the last plan: an app that is the same object has the same settings.
        self._compiled: dict[str, tuple[App, AppSettings]] = {}

    def plan(self, config: Config, generation: int) -> Plan:
        """Return the plan for a configuration. It reads files: use a thread.

        Raises:
            RolloutError: If a list of access rules or a file for TLS cannot be used, or there are no numbers for new
                origins.
        """
        try:
            numbers = self._numbers.plan(number_labels(config), self._in_use)
            self._reading(named_files(config))
            access, prefixes = self._access.load(config)
            tls = load_tls(config)
        except (AccessError, CertificateError) as exc:
            raise RolloutError(str(exc)) from exc
        except NumbersExhausted as exc:
            raise RolloutError(
                "too many origins were replaced while sessions of the old ones go on; reload again later"
            ) from exc
        self._scopes = self._app_scopes.of(config)
        snapshot = compile_snapshot(config, generation, numbers, access, tls, self._compile)
        if len(self._compiled) > len(snapshot.apps):
            self._compiled = {name: self._compiled[name] for name in config.apps}
        states = _states((snapshot.geoip, snapshot.geoip_asn))
        return Plan(config, self._finish(snapshot), numbers, prefixes, states)

    def again(self, plan: Plan) -> Plan:
        """Return the plan for the same configuration and files, as features have it now. It may block.

        Raises:
            RolloutError: If one refuses.
        """
        snapshot = msgspec.structs.replace(plan.snapshot, generation=plan.snapshot.generation + 1)
        return replace(plan, snapshot=self._finish(snapshot))

    def _finish(self, snapshot: Snapshot) -> Snapshot:
        for actor in self.actors:
            snapshot = actor.compile(snapshot)
        return snapshot

    def _compile(self, name: str, app: App) -> AppSettings:
        known = self._compiled.get(name)
        scopes = self._scopes[name]
        if known is not None and known[0] is app and known[1].scopes == scopes:
            return known[1]
        settings = msgspec.structs.replace(compile_app(name, app), scopes=scopes)
        if known is not None and known[1] == settings:
            settings = known[1]
        self._compiled[name] = app, settings
        return settings

    async def commit(self, change: Change) -> None:
        """Assign the numbers of the plan."""
        self._numbers.keep(change.after.numbers)

    async def abort(self, change: Change) -> None:
        """Assign those of the former one."""
        self._numbers.keep(change.before.numbers)


def _states(files: Iterable[str]) -> tuple[object, ...]:
    """Return what tells whether files are other ones than before."""
    states: list[object] = []
    for path in filter(None, files):
        try:
            found = os.stat(path)
        except OSError:
            states.append((path, None))
        else:
            states.append((path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
    return tuple(states)
