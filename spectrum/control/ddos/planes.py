"""The place where attacks are detected and mitigated: the kernel if the file has `filter`, otherwise the workers."""

from collections.abc import Callable, Mapping

from spectrum.control.ddos.detection import OWNER, KernelDetection
from spectrum.control.ddos.worker_detection import WorkerDetection
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.configuration.config import Config
from spectrum.kernel.looks import LooksError
from spectrum.kernel.pins import PinError
from spectrum.link.detector import DetectorCounts, DetectorRule
from spectrum.tasks import in_thread

_RULE = f"rule {OWNER}/"
_LOST = "looks_lost"


class DetectionPlanes:
    """Lets one of them sample packets, and the other one not.

    Args:
        kernel: The kernel.
        counts: Counters of the filter.
        workers: The workers.

    Attributes:
        by_workers: Whether workers sample.
    """

    def __init__(self, kernel: KernelDetection, counts: KernelCounts, workers: WorkerDetection) -> None:
        self._kernel = kernel
        self._counts = counts
        self._workers = workers
        self.by_workers = False
        # The rules in force, and the last counters of those that the last change ended.
        self._names: set[str] = set()
        self._ended: dict[str, tuple[int, int]] = {}

    @property
    def looks(self) -> list[int]:
        """The descriptors of samples: of the kernel's ring buffer, or of the memory of each worker."""
        if self.by_workers:
            return self._workers.looks
        return [self._kernel.looks] if self._kernel.is_on else []

    @property
    def one_in(self) -> tuple[int, int]:
        """Sampling rates: one of this number of packets, of flows that are not in use and of others."""
        return self._workers.one_in if self.by_workers else self._kernel.one_in

    async def apply(self, config: Config) -> None:
        """Apply the sampling of a configuration, or none.

        Raises:
            PinError: If that fails.
        """
        await in_thread(self._kernel.apply, config)
        try:
            self._workers.apply(config)
        except (OSError, LooksError) as exc:
            raise PinError(f"workers do not sample packets: {exc}") from exc
        self.by_workers = self._workers.is_on

    async def sample(self, idle_one_in: int, used_one_in: int) -> None:
        """Set the sampling rates.

        Raises:
            PinError: If that fails.
        """
        if self.by_workers:
            self._tell_workers(lambda: self._workers.sample(idle_one_in, used_one_in))
        else:
            await in_thread(self._kernel.sample, idle_one_in, used_one_in)

    async def write(self, rules: list[DetectorRule]) -> None:
        """Replace the rules in force.

        Raises:
            PinError: If that fails.
        """
        names = {rule.name for rule in rules}
        if ended := self._names - names:
            self._ended = {name: count for name, count in (await self._counted()).items() if name in ended}
        if self.by_workers:
            self._tell_workers(lambda: self._workers.write(rules))
        else:
            await in_thread(self._kernel.write, rules)
        self._names = names

    def _tell_workers(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except OSError as exc:
            raise PinError(f"cannot send to workers: {exc}") from exc

    async def counted(self) -> DetectorCounts:
        """Return the counters of rules in force, the last ones of those before them, and the number of lost samples."""
        if self.by_workers:
            return DetectorCounts(self._ended | dict(self._workers.counts()), self._workers.lost)
        counts = await self._counts.read()
        return DetectorCounts(self._ended | _rules_in(counts), counts.get(_LOST, (0, 0))[0])

    async def _counted(self) -> dict[str, tuple[int, int]]:
        """Return the counters of rules in force."""
        return dict(self._workers.counts()) if self.by_workers else _rules_in(await self._counts.read())

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the sampling settings and the rules.

        Raises:
            OSError: If that fails.
        """
        self._workers.tell(worker)

    def close(self) -> None:
        """Close the samples' buffers; kernel and workers continue."""
        self._kernel.close()
        self._workers.close()


def _rules_in(counts: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {name.removeprefix(_RULE): count for name, count in counts.items() if name.startswith(_RULE)}
