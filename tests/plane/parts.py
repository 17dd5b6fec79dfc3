"""The load balancing of a worker, for tests of its parts."""

from spectrum.plane.balancers import Balancers
from spectrum.plane.memory import SharedMemory


class Parts:
    """Balancers with shared memory of their own."""

    def __init__(self):
        self.urgent = 0
        self.memory = SharedMemory(1, 64)
        self.balancers = Balancers(self.memory.loads, self.memory.affinities, self._hurry)
        self.memory.close()

    def _hurry(self):
        self.urgent += 1
