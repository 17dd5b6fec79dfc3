"""The load balancing and the access rules of a worker, for tests of its parts."""

import os

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.control.tls.certificates import load_tls
from spectrum.core.features import compile_snapshot, number_labels
from spectrum.core.numbers import Numbers
from spectrum.kernel.descriptors import memory_file
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.memory import SharedMemory
from tests.engine.harness import port_of


class Parts:
    """Balancers with shared memory of their own."""

    def __init__(self):
        self.urgent = 0
        self.numbers = Numbers(1000)
        self.memory = SharedMemory(1, 4096)
        self.balancers = Balancers(self.memory.loads, self.memory.affinities, self._hurry)
        self.memory.close()
        self.places = ClientPlaces()
        self.firewall = Firewall(self.places)

    def compile(self, text):
        """A snapshot in which everything has the number that it had before."""
        config = load_text(text, "x")
        planned = self.numbers.plan(number_labels(config))
        self.numbers.keep(planned)
        access, table = load_access(config)
        snapshot = compile_snapshot(config, 1, planned, access, load_tls(config))
        prefixes = memory_file("prefixes", table)
        self.places.read(snapshot.geoip, snapshot.geoip_asn)
        self.firewall.take(snapshot, prefixes)
        os.close(prefixes)
        return snapshot

    def _hurry(self):
        self.urgent += 1


def balanced(*origins, balancer="", pool="", disabled=(), names="abcdef"):
    """Pools and a load balancer over origins, which are sockets or ports."""
    listed = ", ".join(
        f"{{name: {name}, address: 127.0.0.1, port: {o if isinstance(o, int) else port_of(o)}"
        f"{', enabled: false' if name in disabled else ''}}}"
        for name, o in zip(names, origins, strict=False)
    )
    return f"pools: {{p: {{origins: [{listed}]{pool}}}}}\nload_balancers: {{lb: {{default_pools: [p]{balancer}}}}}"
