"""The memory that supervisor and workers share: sessions by origin and client, and affinities."""

import os
import secrets

from spectrum.engine.census import Census, Rates
from spectrum.engine.flow_keeper import ENDED_FLOWS
from spectrum.engine.lookout import KNOWN_SOURCES
from spectrum.engine.shared import Affinities, Loads
from spectrum.link.messages import Memory

__all__ = ["ENDED_FLOWS", "KNOWN_BYTES", "Loads", "SharedMemory"]

# The table of known sources, for detection without the filter.
KNOWN_BYTES = Affinities.bytes_for(KNOWN_SOURCES)


class SharedMemory:
    """The memory files, which the supervisor keeps so that they outlive a worker.

    Args:
        workers: How many workers share it.
        max_affinities: Maximum number of affinities.
        client_bits: Prefix lengths of IPv4 and IPv6 that limits count as one client.
        prefix_bits: Prefix lengths of the wider prefix of a client.
        max_flows: Maximum number of UDP flows of each worker, in a file of its own.
    """

    def __init__(
        self,
        workers: int,
        max_affinities: int,
        client_bits: tuple[int, int] = (32, 64),
        prefix_bits: tuple[int, int] = (24, 48),
        max_flows: int = 1000,
    ) -> None:
        self.workers = workers
        self.max_affinities = max_affinities
        self._max_flows = max_flows
        self.secret = secrets.randbits(64)
        self._bits = (*client_bits, *prefix_bits)
        self.descriptors: list[int] = []
        try:
            for name, size in (
                ("loads", Loads.bytes_for(workers)),
                ("affinities", Affinities.bytes_for(max_affinities)),
                ("census", Census.bytes_for(workers)),
                ("rates", Rates.bytes_size()),
            ):
                self.descriptors.append(os.memfd_create(f"spectrum-{name}", os.MFD_CLOEXEC))
                os.ftruncate(self.descriptors[-1], size)
            self.loads = Loads(self.descriptors[0], workers, 0)
            self.affinities = Affinities(self.descriptors[1], max_affinities)
            ipv4, ipv6, ipv4_wide, ipv6_wide = self._bits
            self.census = Census(
                self.descriptors[2],
                workers,
                0,
                secret=self.secret,
                ipv4_bits=ipv4,
                ipv6_bits=ipv6,
                ipv4_wide_bits=ipv4_wide,
                ipv6_wide_bits=ipv6_wide,
            )
            self.rates = Rates(self.descriptors[3])
        except BaseException:
            self.close()
            raise

    def message(self, worker: int) -> Memory:
        """Return the message for a worker, which is sent with the descriptor of its flows and `descriptors`."""
        return Memory(worker, self.workers, self.max_affinities, self.secret, *self._bits, self._max_flows)

    def forget(self, worker: int) -> None:
        """Remove the sessions of a worker that is gone."""
        self.loads.clear(worker)
        self.census.clear(worker)

    def close(self) -> None:
        """Close the descriptors; mappings stay."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()
