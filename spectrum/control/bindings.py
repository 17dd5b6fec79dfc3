"""The bindings of our apps: the kernel has them as the file says, with the sockets that the supervisor owns."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from spectrum.control.listeners import ListenerBank
from spectrum.core.configuration.fields import network
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.bindings import PROTOCOLS, Binding, Bindings, is_loaded, load
from spectrum.kernel.pins import PinError


def parse_binding(label: str, protocol: str, prefix: str, port: str) -> Binding:
    """Return a binding from its parts as people write them.

    Raises:
        ValueError: If it is none.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"{protocol!r} is no protocol; write tcp or udp")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{port!r} is no port; write 1 to 65535, or 0 for any")
    return Binding(label, protocol, network(prefix), int(port))


def document(bindings: Bindings) -> dict[str, Any]:
    """Return all bindings, the services' sockets, and what was counted, as JSON has them."""
    return {
        "bindings": [
            {"label": one.label, "protocol": one.protocol, "prefix": str(one.prefix), "port": one.port}
            for one in bindings.all()
        ],
        "services": [
            {"label": label, "protocol": protocol, "bindings": count, "sockets": families}
            for (label, protocol), (count, families) in sorted(bindings.services().items())
        ],
        "counts": bindings.counts(),
    }


class BoundApps:
    """Keeps the kernel's bindings of apps; those of other services are left alone.

    They stay when the daemon ends, without a socket: what is sent there is refused, and reaches nobody else, until it
    is back.

    Args:
        filesystem: The BPF file system.

    Attributes:
        stopping: Nothing is changed any more.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self._services: set[tuple[str, str]] = set()
        self._loaded = False
        self.stopping = False

    @property
    def state(self) -> str:
        """Whether apps have bindings, for people."""
        return f"on: {', '.join(sorted(name for name, _ in self._services))}" if self._services else "off"

    def show(self) -> dict[str, Any]:
        """Return what `document` does.

        Raises:
            PinError: If the program is not loaded.
        """
        with Bindings(self._filesystem) as bindings:
            return document(bindings)

    def change(self, binds: bool, binding: Binding) -> None:
        """Bind, or undo it. Apps that have bindings in the file have those, and no others, again after a reload.

        It may wait for another process that changes bindings: use a thread.

        Raises:
            PinError: If the kernel does not take the program, or the binding is another's, or not there; if the daemon
                is stopping.
        """
        if self.stopping:
            raise PinError("the daemon is stopping")
        if binds and not is_loaded(self._filesystem):
            load(self._filesystem)
        with Bindings(self._filesystem) as bindings:
            if binds:
                bindings.bind(binding)
            else:
                bindings.unbind(binding)

    def apply(self, snapshot: Snapshot, bank: ListenerBank) -> None:
        """Bind what a snapshot says, to sockets that are open. It may wait for another process: use a thread.

        Raises:
            PinError: If it cannot be; the snapshot before, applied again, brings everything back.
        """
        bound = [app for app in snapshot.apps if app.bindings]
        if not bound and not self._services:
            return
        if not self._loaded:  # once, so that an upgrade brings its own program
            load(self._filesystem)
            self._loaded = True
        wanted = [
            Binding(app.name, app.transport, ip_network(prefix), port) for app in bound for prefix, port in app.bindings
        ]
        services = {(app.name, app.transport) for app in bound}
        before, self._services = self._services, self._services | services
        with Bindings(self._filesystem) as bindings:
            for app in bound:
                for key, _ in app.listeners():
                    if key.app:
                        bindings.register(app.name, bank.first(key))
            bindings.apply(wanted, before | services)
        self._services = services
