"""The offload of UDP flows: the kernel's tables, which workers fill. Without it everything goes on in user space."""

import logging
from collections.abc import Callable
from pathlib import Path

from spectrum.control.configuration.actor import Actor, Change
from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.configuration.config import UdpOffload
from spectrum.kernel import offload as kernel
from spectrum.kernel.offload import MAX_WORKERS, PinnedOffload
from spectrum.kernel.pins import PinError
from spectrum.link.messages import Offloading

log = logging.getLogger(__name__)


class NodeOffload:
    """Keeps the kernel's offload to what the file says. Where the kernel can not have it, the log and `state` say why.

    Args:
        filesystem: The BPF file system.
        flows: So many flows all workers have at most.
        workers: How many workers there are.

    Attributes:
        version: Of the tables, another one whenever they are made anew.
        state: "on" with its interfaces, "off", or why it is not on.
    """

    def __init__(self, filesystem: Path, flows: int, workers: int) -> None:
        self._filesystem = filesystem
        self._flows = flows
        self._workers = workers
        self._tables: PinnedOffload | None = None
        self.version = 0
        self.state = "off"

    @property
    def places(self) -> int:
        """How many tallies the tables have; 0 where the kernel moves nothing."""
        return 2 * self._flows if self._tables else 0

    @property
    def descriptors(self) -> list[int]:
        """The tables, as the engine takes them."""
        return self._tables.descriptors() if self._tables else []

    def apply(self, settings: UdpOffload | None, anew: bool = False) -> None:
        """Let the kernel have it as the file says.

        Args:
            settings: Of the file; None for off.
            anew: No worker has flows there: what is left of a daemon that was killed goes.
        """
        if anew or settings is None:
            self.remove()
        if settings is None:
            return
        try:
            if self._workers > MAX_WORKERS:
                raise PinError(f"it is for {MAX_WORKERS} workers at most")
            interfaces = settings.interfaces or kernel.ethernet_interfaces()
            if not kernel.is_loaded(self._filesystem):
                self.remove()  # by hand, or never there: the tables that workers have are nobody's
            kernel.load(interfaces, self._flows, self._filesystem)
            if self._tables is None:
                self._tables = PinnedOffload(self._filesystem)
                self.version += 1
        except PinError as exc:
            self.remove()
            self.state = f"off: {exc}"
            log.warning("UDP flows are moved in user space: %s", exc)
        else:
            self.state = f"on: {', '.join(interfaces)}"

    def remove(self) -> None:
        """Move everything in user space."""
        if self._tables is not None:
            self._tables.close()
            self._tables = None
        kernel.remove(self._filesystem)
        self.state = "off"


class OffloadActor(Actor):
    """Has the kernel move UDP flows as a configuration says. Where it cannot, that is no reason to refuse one.

    Args:
        offload: Keeps the kernel's offload.
        has_veterans: Tells whether workers of the daemon before this one may have flows there.
    """

    def __init__(self, offload: NodeOffload, has_veterans: Callable[[], bool]) -> None:
        self._offload = offload
        self._has_veterans = has_veterans

    async def prepare(self, change: Change) -> None:
        """Take the settings."""
        self._offload.apply(change.after.config.udp_offload, anew=change.is_first and not self._has_veterans())

    async def abort(self, change: Change) -> None:
        """Take the former ones. After a failed start the tables may be those of workers of the daemon before."""
        if not change.is_first:
            self._offload.apply(change.before.config.udp_offload)

    def tell(self, worker: WorkerProcess) -> None:
        """Give a worker the tables."""
        worker.tell(Offloading(self._offload.version, self._offload.places), self._offload.descriptors)
