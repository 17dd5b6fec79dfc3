"""Clients that are listeners of this daemon: only a forged source can be one (CVE-2024-2169)."""

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

# The least time between two warnings that any datagram may cause.
WARNING_S = 60.0
# The machine's own addresses are read again this often, while datagrams come from ports that are listened on.
LOCAL_ADDRESSES_S = 10.0
_ALL_PORTS = range(65536)


class Forgeries:
    """Tells whether a datagram comes from a listener of this daemon. Two apps would answer each other for ever.

    Args:
        registry: Has the listeners.

    Attributes:
        ports: The ports that are listened on, and maybe some that were; a client from another port needs no look.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.ports: set[int] = set()
        self._local: frozenset[IPv4Address | IPv6Address] = frozenset()
        self._local_read_at = -LOCAL_ADDRESSES_S
        self._warning = RareWarning(log, WARNING_S)

    def replace(self, apps: Iterable[AppSettings]) -> None:
        """Take the ports of these apps, in place of all before."""
        self.ports.clear()
        self.add(apps)

    def add(self, apps: Iterable[AppSettings]) -> None:
        """Take the ports of these apps, too."""
        for app in apps:
            if app.transport == "udp":
                bound = {port for _, port in app.bindings}
                self.ports.update(_ALL_PORTS if 0 in bound else bound, range(app.first_port, app.last_port + 1))

    def seen(self, app: RunningApp, address: bytes, port: int) -> bool:
        """Tell whether a datagram to an app was sent from one of our own listeners, and warn of it now and then."""
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
