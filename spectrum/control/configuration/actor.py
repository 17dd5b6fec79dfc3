"""What takes part in a rollout: each feature that holds something outside of the configuration has an `Actor`."""

from dataclasses import dataclass

from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.configuration.config import Config
from spectrum.core.snapshot import Snapshot


class RolloutError(Exception):
    """A configuration is not served; the message has a line for each reason, and everything is as before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration with all that it is made into.

    Attributes:
        config: The configuration.
        snapshot: What workers run on.
        numbers: Those of the origins in it.
        prefixes: The table of its access rules.
    """

    config: Config
    snapshot: Snapshot
    numbers: dict[str, int]
    prefixes: bytes


@dataclass(frozen=True, slots=True)
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


class Actor:
    """A part of the daemon that a configuration changes. What it does not need of this it leaves out.

    All actors prepare, then all commit, each in the order of `control/features.py`. If one fails, all that began abort,
    in the opposite order. See `core/life/rollout.py`.
    """

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
