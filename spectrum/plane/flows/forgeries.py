"""Detection of clients that are listeners of this daemon: only a forged source can be one (CVE-2024-2169)."""

import logging
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from spectrum.core.snapshot import AppSettings
from spectrum.kernel.sockets import local_addresses
from spectrum.log import RareWarning
from spectrum.plane.apps import RunningApp, address_text
from spectrum.plane.registry import Registry

log = logging.getLogger(__name__)

# Minimum time between two warnings that any datagram may cause.
WARNING_S = 60.0
# The machine's addresses are read again at this interval, while datagrams come from ports of listeners.
LOCAL_ADDRESSES_S = 10.0
_ALL_PORTS = range(65536)


class Forgeries:
    """Detects datagrams from a listener of this daemon. Two apps would answer each other for ever.

    Args:
        registry: The listeners.

    Attributes:
        ports: The ports of listeners, perhaps with former ones; clients from other ports need no check.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.ports: set[int] = set()
        self._local: frozenset[IPv4Address | IPv6Address] = frozenset()
        self._local_read_at = -LOCAL_ADDRESSES_S
        self._warning = RareWarning(log, WARNING_S)

    def replace(self, apps: Iterable[AppSettings]) -> None:
        """Use the ports of these apps, instead of all former ones."""
        self.ports.clear()
        self.add(apps)

    def add(self, apps: Iterable[AppSettings]) -> None:
        """Add the ports of these apps."""
        for app in apps:
            if app.transport == "udp":
                bound = {port for _, port in app.bindings}
                self.ports.update(_ALL_PORTS if 0 in bound else bound, range(app.first_port, app.last_port + 1))

    def seen(self, app: RunningApp, address: bytes, port: int) -> bool:
        """Return whether a datagram to an app came from one of our own listeners; log it at a limited rate."""
        if port not in self.ports or not self._registry.is_own(address, port, self._local_addresses):
            return False
        self._warning.say(
            "app %s: a datagram came from %s port %d, a listener of this daemon: its source is forged, it is dropped",
            app.settings.name,
            address_text(address),
            port,
        )
        return True

    def _local_addresses(self) -> frozenset[IPv4Address | IPv6Address]:
        now = time.monotonic()
        if now - self._local_read_at >= LOCAL_ADDRESSES_S:
            self._local, self._local_read_at = local_addresses(), now
        return self._local
