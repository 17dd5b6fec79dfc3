"""The bindings of our apps: the kernel has them as the file says, with the sockets that the supervisor owns."""

from ipaddress import ip_network
from pathlib import Path

from spectrum.control.listeners import ListenerBank
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.bindings import Binding, Bindings, load


class BoundApps:
    """Keeps the kernel's bindings of apps; those of other services are left alone.

    They stay when the daemon ends, without a socket: what is sent there is refused, and reaches nobody else, until it
    is back.

    Args:
        filesystem: The BPF file system.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self._services: set[tuple[str, str]] = set()
        self._loaded = False

    @property
    def state(self) -> str:
        """Whether apps have bindings, for people."""
        return f"on: {', '.join(sorted(name for name, _ in self._services))}" if self._services else "off"

    def apply(self, snapshot: Snapshot, bank: ListenerBank) -> None:
        """Bind what a snapshot says, to sockets that are open.

        Raises:
            PinError: If it can not be; then nothing has changed.
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
        with Bindings(self._filesystem) as bindings:
            for app in bound:
                for key, _ in app.listeners():
                    if key.app:
                        bindings.register(app.name, bank.first(key))
            bindings.apply(wanted, self._services | services)
        self._services = services
