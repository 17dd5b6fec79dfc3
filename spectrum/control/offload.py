"""The offload of UDP flows: the kernel's tables, which workers fill. Without it user space forwards all datagrams."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Change, Plan
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.usage import Usage
from spectrum.core.offload import UdpOffload
from spectrum.kernel import offload as kernel
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.offload import MAX_WORKERS
from spectrum.kernel.pins import PinError
from spectrum.link.helper import Done, Offloaded, RemoveOffload, SetOffload
from spectrum.link.messages import Offloading
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)


class NodeOffload:
    """Applies the offload of the file. If the kernel does not support it, the log and `state` say why.

    Args:
        helper: Changes the kernel's tables.
        flows: Maximum number of flows of all workers.
        workers: How many workers there are.

    Methods that use the helper may block: call them in a thread.

    Attributes:
        descriptors: The tables for the engine; none without offload.
        version: Incremented whenever the tables are recreated.
        state: "on" with its interfaces, "off", or why it is not on.
    """

    def __init__(self, helper: Helper, flows: int, workers: int) -> None:
        self._helper = helper
        self._flows = flows
        self._workers = workers
        self.descriptors: list[int] = []
        self.version = 0
        self.state = "off"
        # Tables are replaced in a thread while the loop sends them to workers.
        self._telling = threading.Lock()

    @property
    def places(self) -> int:
        """Number of counters in the tables; 0 without offload."""
        return 2 * self.flows

    @property
    def flows(self) -> int:
        """Number of flows that the kernel can forward; 0 without offload."""
        return self._flows if self.descriptors else 0

    def apply(self, settings: UdpOffload | None, is_empty: bool = False) -> None:
        """Apply the offload of the file.

        Args:
            settings: The file's settings; None for off.
            is_empty: No worker has flows in the tables: those that a killed daemon left are removed.
        """
        if is_empty or settings is None:
            self.remove()
        if settings is None:
            return
        try:
            if self._workers > MAX_WORKERS:
                raise PinError(f"it is for {MAX_WORKERS} workers at most")
            interfaces = settings.interfaces or kernel.ethernet_interfaces()
            self._load(SetOffload(list(interfaces), self._flows))
        except PinError as exc:
            self.remove()
            self.state = f"off: {exc}"
            log.warning("UDP flows are forwarded in user space: %s", exc)
        else:
            self.state = f"on: {', '.join(interfaces)}"

    def _load(self, request: SetOffload) -> None:
        if (given := self._given(request)) is None:
            return
        answer, tables = given
        if not kernel.may_use(tables):
            close_all(tables)
            raise PinError("before Linux 5.19 only root fills the kernel's tables (kernel.unprivileged_bpf_disabled)")
        if self.descriptors and not answer.fresh:
            close_all(tables)
            return
        self._exchange(tables)

    def _given(self, request: SetOffload) -> tuple[Offloaded, list[int]] | None:
        """Return tables; None if the current ones stay."""
        if self.descriptors:
            return self._helper.ensure(request, Offloaded)
        return self._helper.ask(request, Offloaded)

    def _exchange(self, tables: list[int]) -> None:
        with self._telling:
            former, self.descriptors = self.descriptors, tables
            self.version += bool(tables)
        close_all(former)

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the tables."""
        with self._telling:
            worker.tell(Offloading(self.version, self.places), self.descriptors)

    def remove(self) -> None:
        """Forward everything in user space. Tables that cannot be removed without a helper are no longer used by any
        worker.
        """
        self._exchange([])
        if self._helper.has_pins():
            try:
                self._helper.ensure(RemoveOffload(), Done)
            except PinError as exc:
                if self.state != "off":
                    log.warning("the kernel's program for UDP flows stays, without flows: %s", exc)
        self.state = "off"


class OffloadActor(Actor):
    """Applies the offload of a configuration. A kernel without support does not refuse a rollout.

    Args:
        offload: Applies the offload.
        has_former_workers: Returns whether workers of the previous daemon may have flows in the tables.
        moved: Returns how many flows the kernel forwards.
    """

    def __init__(self, offload: NodeOffload, has_former_workers: Callable[[], bool], moved: Callable[[], int]) -> None:
        self._offload = offload
        self._has_former_workers = has_former_workers
        self._moved = moved

    async def prepare(self, change: Change) -> None:
        """Apply the settings."""
        if change.difference is None:
            is_empty = change.is_first and not self._has_former_workers()
            await in_thread(self._offload.apply, change.after.config.udp_offload, is_empty)

    async def abort(self, change: Change) -> None:
        """Apply the former settings. After a failed start the tables may be those of workers of the previous daemon."""
        if not change.is_first and change.difference is None:
            await in_thread(self._offload.apply, change.before.config.udp_offload)

    async def restore(self, plan: Plan) -> None:
        """Apply the settings that are served."""
        await in_thread(self._offload.apply, plan.config.udp_offload)

    async def drain(self) -> None:
        """Forward everything in user space."""
        await in_thread(self._offload.remove)

    async def status(self) -> Mapping[str, Any]:
        """Return the state of the offload."""
        return {"kernel": {"udp_offload": self._offload.state}}

    async def metrics(self) -> Iterable[Metric]:
        """Return how many flows the kernel forwards."""
        text = "UDP flows whose datagrams the kernel forwards"
        return (GaugeMetricFamily("spectrum_udp_flows_offloaded", text, value=self._moved()),)

    async def usage(self) -> Iterable[Usage]:
        """Return how full its tables are, if there are any."""
        flows = self._offload.flows
        return (Usage("offloaded_flows", "node", self._moved(), flows, "max_flows"),) if flows else ()

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the tables."""
        self._offload.tell(worker)
