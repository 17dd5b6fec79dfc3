"""Tables of the filter beside its own lists and rules: each belongs to one feature, and is replaced as a whole."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.core.configuration.config import Config
from spectrum.kernel.pins import PinError
from spectrum.tasks import in_thread

Tables = TypeVar("Tables")


class FilterTablesActor(Actor, ABC, Generic[Tables]):
    """Keeps tables as a configuration says. The filter's actor comes before it: it loads the filter.

    Attributes:
        what: What they are, for messages.
        keys: The sections of the file that they depend on; changes in other sections do not concern them.
    """

    what: ClassVar[str]
    keys: ClassVar[frozenset[str]]

    def __init__(self) -> None:
        self._config = Config()
        # What the kernel has; None where that is not known, or there is no filter.
        self._held: Tables | None = None

    @abstractmethod
    def _wanted(self, config: Config) -> Tables:
        """Return the tables of a configuration that has a filter; it may block.

        Raises:
            RolloutError: If there are none.
        """

    @abstractmethod
    def _give(self, wanted: Tables) -> None:
        """Give the kernel other tables; it may block.

        Raises:
            PinError: If it does not take them.
        """

    async def prepare(self, change: Change) -> None:
        """Give the kernel its tables.

        Raises:
            RolloutError: If it does not take them.
        """
        if change.names is None or self.keys & change.names.keys():
            await self._in_kernel(change.after.config)

    async def commit(self, change: Change) -> None:
        """Show what holds from now on."""
        self._config = change.after.config

    async def abort(self, change: Change) -> None:
        """Put the former tables back: the filter may have been loaded again meanwhile."""
        self._config = change.before.config
        if not change.is_first:
            self._held = None
            await self._in_kernel(change.before.config)

    async def restore(self, plan: Plan) -> None:
        """Have them as it is served."""
        self._held = None
        await self._in_kernel(plan.config)

    async def _in_kernel(self, config: Config) -> None:
        if config.filter is None:
            self._held = None  # the filter goes, with its tables
            return
        try:
            await in_thread(self._hold, config)
        except PinError as exc:
            raise RolloutError(f"{self.what} in the kernel: {exc}") from exc

    def _hold(self, config: Config) -> None:
        wanted = self._wanted(config)
        if wanted != self._held:
            self._give(wanted)
            self._held = wanted
