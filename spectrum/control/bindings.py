"""The bindings of apps: the kernel gets those that the file has, with the sockets that the supervisor owns."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.listeners import ListenerBank
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.fields import network
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.bindings import PROTOCOLS, Binding, empty_document
from spectrum.kernel.pins import PinError
from spectrum.link.helper import Bound, ChangeBinding, Done, SetBindings, ShowBindings
from spectrum.tasks import in_thread


def parse_binding(label: str, protocol: str, prefix: str, port: str) -> Binding:
    """Return a binding from its parts as people write them.

    Raises:
        ValueError: If it is not a binding.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"{protocol!r} is not a protocol; write tcp or udp")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{port!r} is not a port; write 1 to 65535, or 0 for any")
    return Binding(label, protocol, network(prefix), int(port))


class BoundApps:
    """Keeps the kernel's bindings of apps; those of other services are left alone. They stay, without a socket, when
    the daemon ends: the kernel refuses packets to these addresses, and no other service gets them, until the daemon is
    back.

    Args:
        helper: Changes the kernel's tables.

    Attributes:
        stopping: Changes are refused.
    """

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self._services: set[tuple[str, str]] = set()
        self.stopping = False

    @property
    def is_on(self) -> bool:
        """Whether apps have bindings."""
        return bool(self._services)

    @property
    def state(self) -> str:
        """The state of the bindings of apps, as text."""
        return f"on: {', '.join(sorted(name for name, _ in self._services))}" if self._services else "off"

    def show(self) -> dict[str, Any]:
        """Return the bindings as `Bindings.document` does.

        Raises:
            PinError: If they cannot be read.
        """
        if not self._helper.has_pins():
            return empty_document()
        return self._helper.ask(ShowBindings(), Bound)[0].document

    def change(self, binds: bool, binding: Binding) -> None:
        """Add or remove a binding. Apps that have bindings in the file have those, and no others, again after a reload.

        It may block while another process changes bindings: call it in a thread.

        Raises:
            PinError: If the kernel does not take the program, or the binding is another's, or not there; if the daemon
                is stopping.
        """
        if self.stopping:
            raise PinError("the daemon is stopping")
        if not binds and not self._helper.has_pins():
            raise PinError(f"there is no binding {binding}")
        self._helper.ask(ChangeBinding(binds, _told(binding)), Done)

    def apply(self, snapshot: Snapshot, bank: ListenerBank) -> None:
        """Apply the bindings of a snapshot, with sockets that are open. It may block while another process changes
        bindings: call it in a thread.

        Raises:
            PinError: If that fails; applying the snapshot before restores everything.
        """
        bound = [app for app in snapshot.apps if app.bindings]
        if not bound and not self._services:
            return
        services = {(app.name, app.transport) for app in bound}
        sockets = [(app.name, bank.first(key)) for app in bound for key, _ in app.listeners() if key.app]
        before, self._services = self._services, self._services | services
        request = SetBindings(
            sorted(before | services),
            [(app.name, app.transport, prefix, port) for app in bound for prefix, port in app.bindings],
            [label for label, _ in sockets],
        )
        self._helper.ensure(request, Done, [sock.fileno() for _, sock in sockets])
        self._services = services


def _told(binding: Binding) -> tuple[str, str, str, int]:
    return binding.label, binding.protocol, str(binding.prefix), binding.port


def _lookups(counts: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
    if not counts:
        return
    looked = CounterMetricFamily(
        "spectrum_binding_lookups", "New connections and datagrams looked up in bindings", labels=["result"]
    )
    failed = {name: count for name, (count, _) in counts.items() if name != "lookups"}
    looked.add_metric(["found"], counts["lookups"][0] - sum(failed.values()))
    for name, count in failed.items():
        looked.add_metric([name], count)
    yield looked


def _bindings_differ(change: Change) -> bool:
    return change.difference is None or change.difference.involves(attrgetter("bindings"))


class BindingsActor(Actor):
    """Applies the bindings of a configuration.

    Args:
        bound: Keeps the kernel's bindings.
        bank: Owns the sockets.
        counts: The counters of the kernel's program.
    """

    def __init__(self, bound: BoundApps, bank: ListenerBank, counts: KernelCounts) -> None:
        self._bound = bound
        self._counts = counts
        self._bank = bank

    async def prepare(self, change: Change) -> None:
        """Apply the bindings, also to new listeners.

        Raises:
            RolloutError: If the kernel refuses.
        """
        if not _bindings_differ(change):
            return
        try:
            await in_thread(self._bound.apply, change.after.snapshot, self._bank)
        except PinError as exc:
            raise RolloutError(f"in the kernel: {exc}") from exc

    async def abort(self, change: Change) -> None:
        """Apply the former bindings. After a failed start bindings stay without a socket, as after any end of the
        daemon.
        """
        if not change.is_first and _bindings_differ(change):
            await in_thread(self._bound.apply, change.before.snapshot, self._bank)

    async def restore(self, plan: Plan) -> None:
        """Apply the bindings that are served."""
        await in_thread(self._bound.apply, plan.snapshot, self._bank)

    def halt(self) -> None:
        """Refuse further changes by commands."""
        self._bound.stopping = True

    async def status(self) -> Mapping[str, Any]:
        """Return whether there are bindings."""
        return {"kernel": {"bindings": self._bound.state}}

    async def metrics(self) -> Iterable[Metric]:
        """Return the results of the packets that the program looked up, if apps have bindings."""
        return _lookups(await self._counts.read()) if self._bound.is_on else ()

    def resources(self) -> Iterable[Resource]:
        """GET, POST and DELETE /bindings, the latter with `{label, protocol, prefix, port}`."""
        path = "/bindings"
        return (
            Resource("GET", path, self._show),
            Resource("POST", path, partial(self._change, True), has_body=True),
            Resource("DELETE", path, partial(self._change, False), has_body=True),
        )

    async def _show(self, asked: ResourceRequest) -> dict[str, Any]:
        try:
            return await in_thread(self._bound.show)
        except PinError as exc:
            raise ValueError(str(exc)) from exc

    async def _change(self, binds: bool, asked: ResourceRequest) -> dict[str, Any]:
        try:
            parts = [str(asked.body[name]) for name in ("label", "protocol", "prefix", "port")]
        except (KeyError, TypeError) as exc:
            raise ValueError(f"label, protocol, prefix and port are required: {exc}") from exc
        try:
            await in_thread(self._bound.change, binds, parse_binding(*parts))
        except PinError as exc:
            raise ValueError(str(exc)) from exc
        return await self._show(asked)
