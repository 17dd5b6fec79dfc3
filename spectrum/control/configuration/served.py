"""The configuration that the daemon serves: one value, which a rollout replaces as a whole."""

import logging

from spectrum.control.configuration.actor import Actor, Change, Plan
from spectrum.core.configuration.changes import restart_needed
from spectrum.core.configuration.config import Config
from spectrum.core.features import idle
from spectrum.core.snapshot import Snapshot

log = logging.getLogger(__name__)


class Served(Actor):
    """Holds the plan that is served.

    Args:
        config: What is to be served at the start.

    Attributes:
        plan: The plan that is served; generation 0 if nothing is.
        is_live: The start is complete: workers serve it.
    """

    def __init__(self, config: Config) -> None:
        self.plan = Plan(config, Snapshot(0, (), 0, True), {}, b"")
        self.is_live = False
        self._started_with = config

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.plan.config

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot of workers."""
        return self.plan.snapshot

    def restart_needed(self) -> list[str]:
        """Return the changed settings that have no effect before a restart."""
        return restart_needed(self._started_with, self.config)

    async def commit(self, change: Change) -> None:
        """Use the new configuration."""
        self.plan = change.after

    async def abort(self, change: Change) -> None:
        """Use the former configuration again."""
        self.plan = change.before

    async def release(self, change: Change) -> None:
        """Log changed settings that require a restart, and settings without effect."""
        known = () if change.is_first else idle(change.before.config)
        for line in idle(self.config):
            if line not in known:
                log.warning("%s", line)
        if needed := self.restart_needed():
            log.warning("requires a restart: %s", ", ".join(needed))
