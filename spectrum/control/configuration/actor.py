"""The interface of features that take part in a rollout: each that holds something outside of the configuration has an
`Actor`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from spectrum.control.http.resource import Resource
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.trouble import Trouble
from spectrum.control.usage import Usage
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import Names
from spectrum.core.difference import AppsDifference, Difference, difference
from spectrum.core.snapshot import Snapshot
from spectrum.link.succession import Handover

if TYPE_CHECKING:
    from prometheus_client.core import Metric

# The sections of objects whose changes are sent to workers as a difference.
IN_PARTS = frozenset({"apps", "pools", "load_balancers", "monitors", "monitor_groups"})
# Tasks that run until they are cancelled, by their name in the log.
Jobs = Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
# Plans and serves the same configuration again after the first function has made its change; the second one undoes the
# change if the rollout is refused. Returns the reasons, a line for each.
Replan = Callable[[Callable[[], None], Callable[[], None]], Awaitable[list[str]]]


class RolloutError(Exception):
    """A configuration is refused; the message has a line for each reason, and everything is as before.

    Attributes:
        faults: The reasons, if each of them has a place in the file.
    """

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class ConfigDifference(NamedTuple):
    """The difference from another configuration, where only named objects differ.

    Attributes:
        config: The other configuration.
        names: The names of the objects that differ, by section.
        apps: The difference of the compiled apps, if it was found when they were compiled.
    """

    config: Config
    names: Names
    apps: AppsDifference | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration with everything that is compiled from it.

    Attributes:
        config: The configuration.
        snapshot: The snapshot for workers.
        numbers: The numbers of its origins.
        prefixes: The table of its access rules.
        places: The state of the databases of clients' places when they were read.
        since: The plan that it was derived from, if any; files were read for that one.
    """

    config: Config
    snapshot: Snapshot
    numbers: dict[str, int]
    prefixes: bytes
    places: tuple[object, ...] = ()
    since: ConfigDifference | None = None


@dataclass(frozen=True)
class Change:
    """The change that a rollout makes.

    Attributes:
        before: The plan that is served. At a start an empty one, with the configuration that is to be served.
        after: The plan to be served.
    """

    before: Plan
    after: Plan

    @property
    def is_first(self) -> bool:
        """Whether nothing was served before: then a failure ends the daemon, and there is nothing to return to."""
        return not self.before.snapshot.generation

    @property
    def names(self) -> Names | None:
        """The objects that differ, by section; None if anything else may differ, files included."""
        since = self.after.since
        return since.names if since is not None and since.config is self.before.config else None

    @property
    def is_small(self) -> bool:
        """Whether `difference` takes no time: otherwise it iterates over all apps."""
        return self._apps is not None

    @property
    def _apps(self) -> AppsDifference | None:
        """The difference of the apps, if it is known."""
        since, before, after = self.after.since, self.before.snapshot, self.after.snapshot
        return since.apps if since is not None and since.apps is not None and since.apps.is_of(before, after) else None

    @cached_property
    def difference(self) -> Difference | None:
        """The difference in apps and load balancing; None if more of the configuration, or one of its files, differs.

        It is empty where workers have no part in what differs, such as a monitor.
        """
        one, other = self.before, self.after
        if self.is_first or one.prefixes != other.prefixes or one.places != other.places:
            return None
        if self.names is not None:
            if not self.names.keys() <= IN_PARTS:
                return None
        else:
            fields = () if one.config is other.config else (field for field in Config.model_fields if field != "apps")
            pairs = ((getattr(one.config, field), getattr(other.config, field)) for field in fields)
            if any(before is not after and before != after for before, after in pairs):
                return None
        found = difference(one.snapshot, other.snapshot, self._apps)
        return found if found is not None and (found.count or self.names) else None


class Actor:
    """A feature of the daemon: its part of a rollout, its status, metrics and resources.

    What a feature does not need of this it leaves out.

    All actors prepare, then all commit, each in the order of `control/features.py`. If one fails, all that began abort,
    in the opposite order. See `core/life/rollout.py`.
    """

    def compile(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with this feature's additions that are not in the file. It may block.

        Raises:
            RolloutError: If that is not possible.
        """
        return snapshot

    async def prepare(self, change: Change) -> None:
        """Acquire what may be refused, beside the resources in use.

        Raises:
            RolloutError: If that fails, with a message for the operator. Any other exception refuses the rollout, too.
        """

    async def commit(self, change: Change) -> None:
        """Use the new configuration.

        Raises:
            RolloutError: As for `prepare`.
        """

    async def abort(self, change: Change) -> None:
        """Undo `prepare` and `commit`; either may have failed half-way."""

    async def release(self, change: Change) -> None:
        """Release what only the former configuration needs: the new one is served, and nothing is undone any more."""

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker what it needs before a snapshot."""

    def tell_difference(self, worker: WorkerProcess, difference: Difference) -> None:
        """Send a worker what it needs before a difference; it has everything else."""

    # --- status and metrics ---------------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, Any]:
        """Return its part of `spectrum status`; mappings that several actors return under one key are merged."""
        return {}

    async def metrics(self) -> "Iterable[Metric | bytes]":
        """Return its metric families, or their text. Their values are read when it returns and do not change after
        that: a thread renders them.
        """
        return ()

    async def usage(self) -> Iterable[Usage]:
        """Return the usage of its limits."""
        return ()

    def troubles(self) -> Iterable[Trouble]:
        """Return its troubles. It is called once a second while a dashboard is open, so it must not take time."""
        return ()

    def processes(self) -> Mapping[str, int]:
        """Return the processes that it has started, by their name in metrics."""
        return {}

    def resources(self) -> Iterable[Resource]:
        """Return its resources on the control socket."""
        return ()

    # --- over the life of the daemon ------------------------------------------------------------------------------

    async def inherit(self, handover: Handover) -> None:
        """Take over its part of what the previous daemon hands over, before the first rollout."""

    def jobs(self) -> Jobs:
        """Return the tasks that run while the daemon serves."""
        return {}

    async def give(self, handover: Handover, opened: ExitStack) -> None:
        """Add what a successor needs.

        Args:
            handover: What the successor gets.
            opened: Closes descriptors that are opened for it.

        Raises:
            SuccessionError: If that fails.
        """

    async def restore(self, plan: Plan) -> None:
        """Restore shared state that a failed successor may have changed."""

    def halt(self) -> None:
        """Begin nothing new that lasts, and stop waiting: the daemon was told to end."""

    async def drain(self) -> None:
        """Accept nothing new: workers end their sessions."""

    def leave(self) -> None:
        """Finish what a successor does not take over: the successor serves, and this process is about to end."""

    async def close(self) -> None:
        """Release everything: the daemon no longer serves."""
