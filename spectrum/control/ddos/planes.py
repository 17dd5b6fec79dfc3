"""Where attacks are seen and stopped: in the kernel where the file has `filter`, else in the workers."""

from collections.abc import Callable

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
    """Has one of them look at packets, and the other one not.

    Args:
        kernel: The one.
        counts: What the filter counts.
        workers: The other one.

    Attributes:
        by_workers: Workers look.
    """

    def __init__(self, kernel: KernelDetection, counts: KernelCounts, workers: WorkerDetection) -> None:
        self._kernel = kernel
        self._counts = counts
        self._workers = workers
        self.by_workers = False

    @property
    def looks(self) -> list[int]:
        """The descriptors of what they show: of the kernel's ring buffer, or of the memory of each worker."""
        if self.by_workers:
            return self._workers.looks
        return [self._kernel.looks] if self._kernel.is_on else []

    @property
    def one_in(self) -> tuple[int, int]:
        """One of so many packets is looked at: of flows that are not in use, and of others."""
        return self._workers.one_in if self.by_workers else self._kernel.one_in

    async def apply(self, config: Config) -> None:
        """Look at packets as a configuration says, or at none.

        Raises:
            PinError: If it cannot be had.
        """
        await in_thread(self._kernel.apply, config)
        try:
            self._workers.apply(config)
        except (OSError, LooksError) as exc:
            raise PinError(f"workers do not look at packets: {exc}") from exc
        self.by_workers = self._workers.is_on

    async def sample(self, idle_one_in: int, used_one_in: int) -> None:
        """Look at one of so many packets.

        Raises:
            PinError: If that cannot be had.
        """
        if self.by_workers:
            self._tell_workers(lambda: self._workers.sample(idle_one_in, used_one_in))
        else:
            await in_thread(self._kernel.sample, idle_one_in, used_one_in)

    async def write(self, rules: list[DetectorRule]) -> None:
        """Have exactly these rules in force.

        Raises:
            PinError: If they cannot be had.
        """
        if self.by_workers:
            self._tell_workers(lambda: self._workers.write(rules))
        else:
            await in_thread(self._kernel.write, rules)

    def _tell_workers(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except OSError as exc:
            raise PinError(f"workers cannot be told: {exc}") from exc

    async def counted(self) -> DetectorCounts:
        """Return what rules have counted, and how many looks were lost."""
        if self.by_workers:
            return DetectorCounts(dict(self._workers.counts()), self._workers.lost)
        counts = await self._counts.read()
        rules = {name.removeprefix(_RULE): count for name, count in counts.items() if name.startswith(_RULE)}
        return DetectorCounts(rules, counts.get(_LOST, (0, 0))[0])

    def tell(self, worker: WorkerProcess) -> None:
        """Tell a worker what it shows, and the rules.

        Raises:
            OSError: If it cannot be told.
        """
        self._workers.tell(worker)

    def close(self) -> None:
        """Let go of what is shown; kernel and workers go on."""
        self._kernel.close()
        self._workers.close()
