"""The offload of UDP flows: the kernel's tables, which workers fill. Without it everything goes on in user space."""

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
    """Keeps the kernel's offload to what the file says. Where the kernel cannot have it, the log and `state` say why.

    Args:
        helper: Does it.
        flows: So many flows all workers have at most.
        workers: How many workers there are.

    Whatever asks the helper may wait for it: use a thread.

    Attributes:
        descriptors: The tables, as the engine takes them; none where the kernel moves nothing.
        version: Of the tables, another one whenever they are made anew.
        state: "on" with its interfaces, "off", or why it is not on.
    """

    def __init__(self, helper: Helper, flows: int, workers: int) -> None:
        self._helper = helper
        self._flows = flows
        self._workers = workers
        self.descriptors: list[int] = []
        self.version = 0
        self.state = "off"
        # Tables are exchanged in a thread while the loop tells workers of them.
        self._telling = threading.Lock()

    @property
    def places(self) -> int:
        """How many tallies the tables have; 0 where the kernel moves nothing."""
        return 2 * self.flows

    @property
    def flows(self) -> int:
        """How many flows the kernel can move; 0 where it moves nothing."""
        return self._flows if self.descriptors else 0

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
            self._load(SetOffload(list(interfaces), self._flows))
        except PinError as exc:
            self.remove()
            self.state = f"off: {exc}"
            log.warning("UDP flows are moved in user space: %s", exc)
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
        """Return tables; None where those that are there stay."""
        if self.descriptors:
            return self._helper.ensure(request, Offloaded)
        return self._helper.ask(request, Offloaded)

    def _exchange(self, tables: list[int]) -> None:
        with self._telling:
            former, self.descriptors = self.descriptors, tables
            self.version += bool(tables)
        close_all(former)

    def tell(self, worker: WorkerProcess) -> None:
        """Give a worker the tables."""
        with self._telling:
            worker.tell(Offloading(self.version, self.places), self.descriptors)

    def remove(self) -> None:
        """Move everything in user space. Tables that cannot be removed for want of a helper are in no worker's hand."""
        self._exchange([])
        if self._helper.has_pins():
            try:
                self._helper.ensure(RemoveOffload(), Done)
            except PinError as exc:
                if self.state != "off":
                    log.warning("the kernel's program for UDP flows stays, without flows: %s", exc)
        self.state = "off"


class OffloadActor(Actor):
    """Has the kernel move UDP flows as a configuration says. Where it cannot, that is no reason to refuse one.

    Args:
        offload: Keeps the kernel's offload.
        has_veterans: Tells whether workers of the daemon before this one may have flows there.
        moved: Returns how many flows the kernel moves.
    """

    def __init__(self, offload: NodeOffload, has_veterans: Callable[[], bool], moved: Callable[[], int]) -> None:
        self._offload = offload
        self._has_veterans = has_veterans
        self._moved = moved

    async def prepare(self, change: Change) -> None:
        """Take the settings."""
        if change.difference is None:
            anew = change.is_first and not self._has_veterans()
            await in_thread(self._offload.apply, change.after.config.udp_offload, anew)

    async def abort(self, change: Change) -> None:
        """Take the former ones. After a failed start the tables may be those of workers of the daemon before."""
        if not change.is_first and change.difference is None:
            await in_thread(self._offload.apply, change.before.config.udp_offload)

    async def restore(self, plan: Plan) -> None:
        """Take the settings that are served."""
        await in_thread(self._offload.apply, plan.config.udp_offload)

    async def drain(self) -> None:
        """Move everything in user space."""
        await in_thread(self._offload.remove)

    async def status(self) -> Mapping[str, Any]:
        """Return whether the kernel moves flows."""
        return {"kernel": {"udp_offload": self._offload.state}}

    async def metrics(self) -> Iterable[Metric]:
        """Return how many flows it moves."""
        text = "UDP flows whose datagrams the kernel moves"
        return (GaugeMetricFamily("spectrum_udp_flows_offloaded", text, value=self._moved()),)

    async def usage(self) -> Iterable[Usage]:
        """Return how full its tables are, where there are any."""
        flows = self._offload.flows
        return (Usage("offloaded_flows", "node", self._moved(), flows, "max_flows"),) if flows else ()

    def tell(self, worker: WorkerProcess) -> None:
        """Give a worker the tables."""
        self._offload.tell(worker)
