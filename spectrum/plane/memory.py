"""The memory that supervisor and workers share: sessions of each origin, and where clients went before."""

import os

from spectrum.engine.shared import Affinities, Loads

__all__ = ["Loads", "SharedMemory"]


class SharedMemory:
    """The memory files, which the supervisor keeps so that they outlive a worker.

    Args:
        workers: How many workers share it.
        max_affinities: Clients that are remembered.
    """

    def __init__(self, workers: int, max_affinities: int) -> None:
        self.workers = workers
        self.max_affinities = max_affinities
        self.descriptors: list[int] = []
        try:
            for name, size in (
                ("loads", Loads.bytes_for(workers)),
                ("affinities", Affinities.bytes_for(max_affinities)),
            ):
                self.descriptors.append(os.memfd_create(f"spectrum-{name}", os.MFD_CLOEXEC))
                os.ftruncate(self.descriptors[-1], size)
            self.loads = Loads(self.descriptors[0], workers, 0)
            self.affinities = Affinities(self.descriptors[1], max_affinities)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptors; what is mapped stays."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()
