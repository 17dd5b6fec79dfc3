"""What takes part in a rollout: each feature that holds something outside of the configuration has an `Actor`."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from spectrum.control.http.resource import Resource
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.trouble import Trouble
from spectrum.control.usage import Usage
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import Names
from spectrum.core.difference import Difference, difference
from spectrum.core.snapshot import Snapshot
from spectrum.link.succession import Heritage

if TYPE_CHECKING:
    from prometheus_client.core import Metric

# The sections of objects whose changes are told as a difference.
IN_PARTS = frozenset({"apps", "pools", "load_balancers", "monitors", "monitor_groups"})
# What runs until it is cancelled, by what the log calls it.
Jobs = Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
# Has what is served planned again after the first one did its part; the second one undoes that where it is refused.
# Returns why, a line for each reason.
Replan = Callable[[Callable[[], None], Callable[[], None]], Awaitable[list[str]]]


class RolloutError(Exception):
    """A configuration is not served; the message has a line for each reason, and everything is as before."""


class Since(NamedTuple):
    """How a configuration differs from another one: in nothing but named objects.

    Attributes:
        config: The other one.
        names: Those of the objects, by section.
    """

    config: Config
    names: Names


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration with all that it is made into.

    Attributes:
        config: The configuration.
        snapshot: What workers run on.
        numbers: Those of the origins in it.
        prefixes: The table of its access rules.
        places: What its databases of clients' places were when they were looked at.
        since: From what it was planned, if not from the beginning; files are as they were read for that.
    """

    config: Config
    snapshot: Snapshot
    numbers: dict[str, int]
    prefixes: bytes
    places: tuple[object, ...] = ()
    since: Since | None = None


@dataclass(frozen=True)
class Change:
    """What a rollout does.

    Attributes:
        before: What is served. At a start that is nothing, with the configuration that is to be served.
        after: What is to be served.
    """

    before: Plan
    after: Plan

    @property
    def is_first(self) -> bool:
        """Whether nothing was served before: then a failure ends the daemon, and there is nothing to go back to."""
        return not self.before.snapshot.generation

    @property
    def names(self) -> Names | None:
        """The objects that differ, by section, where nothing else does, files included; None where more may."""
        since = self.after.since
        return since.names if since is not None and since.config is self.before.config else None

    @cached_property
    def difference(self) -> Difference | None:
        """What of apps and load balancing differs; None where more of the configuration, or of its files, does.

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
        found = difference(one.snapshot, other.snapshot)
        return found if found is not None and (found.count or self.names) else None


class Actor:
    """A feature of the daemon: what a configuration changes of it, and what one sees of it.

    What a feature does not need of this it leaves out.

    All actors prepare, then all commit, each in the order of `control/features.py`. If one fails, all that began abort,
    in the opposite order. See `core/life/rollout.py`.
    """

    def compile(self, snapshot: Snapshot) -> Snapshot:
        """Return what workers are to run on, with what is this feature's in it and not of the file. It may block.

        Raises:
            RolloutError: If there can be no such snapshot.
        """
        return snapshot

    async def prepare(self, change: Change) -> None:
        """Make ready what can be refused, beside what is there.

        Raises:
            RolloutError: If it cannot be had, with a message for the operator. Anything else is refused, too.
        """

    async def commit(self, change: Change) -> None:
        """Go by the new configuration.

        Raises:
            RolloutError: As for `prepare`.
        """

    async def abort(self, change: Change) -> None:
        """Undo what was begun of `prepare` and `commit`; either may have failed half-way."""

    async def release(self, change: Change) -> None:
        """Let go of what only the former configuration needs: the new one is served, and nothing is undone any more."""

    def tell(self, worker: WorkerProcess) -> None:
        """Tell a worker what it needs beside a snapshot, before it is told that."""

    def tell_difference(self, worker: WorkerProcess, difference: Difference) -> None:
        """Tell a worker what it needs beside a difference, before it is told that. All else it was told before."""

    # --- what one sees --------------------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, Any]:
        """Return its part of what `spectrum status` shows; mappings that several return by one key are merged."""
        return {}

    async def metrics(self) -> "Iterable[Metric | bytes]":
        """Return its families of metrics, or their text.

        What they are made of is read by now, and nothing changes it: a thread goes over them.
        """
        return ()

    async def usage(self) -> Iterable[Usage]:
        """Return how much is used of what it limits."""
        return ()

    def troubles(self) -> Iterable[Trouble]:
        """Return what is wrong with what it has. It is asked each second while somebody looks: it takes no time."""
        return ()

    def processes(self) -> Mapping[str, int]:
        """Return the processes that it has started, by what metrics call them."""
        return {}

    def resources(self) -> Iterable[Resource]:
        """Return what it answers on the control socket."""
        return ()

    # --- over the life of the daemon ------------------------------------------------------------------------------

    async def inherit(self, heritage: Heritage) -> None:
        """Take what is its own of what the daemon before this one gives, before the first rollout."""

    def jobs(self) -> Jobs:
        """Return what runs while the daemon serves."""
        return {}

    async def give(self, heritage: Heritage, opened: ExitStack) -> None:
        """Enter what a successor needs.

        Args:
            heritage: What it gets.
            opened: Closes what is opened for that.

        Raises:
            SuccessionError: If it cannot be had.
        """

    async def restore(self, plan: Plan) -> None:
        """Set what a successor may have changed that it shares with this daemon, as it is served here."""

    def halt(self) -> None:
        """Begin nothing that lasts, and let nothing wait: the daemon is told to end."""

    async def drain(self) -> None:
        """Accept nothing more: workers end their sessions."""

    def leave(self) -> None:
        """Finish what a successor does not: this process is about to end, and the successor serves."""

    async def close(self) -> None:
        """End: the daemon serves no more."""
