"""What all workers counted, added up; nothing is lost when a worker dies but its last second."""

from collections import Counter
from dataclasses import dataclass, field

from spectrum.core.measures import AppMeasures, WorkerMeasures
from spectrum.core.reasons import Reason


@dataclass
class Totals:
    """Counters since the supervisor's start."""

    apps: dict[str, AppMeasures] = field(default_factory=dict)
    workers: WorkerMeasures = field(default_factory=WorkerMeasures)
    worker_restarts: int = 0
    # Per worker number and app, the sessions that are open there.
    _open: dict[int, Counter[str]] = field(default_factory=dict)

    def add(self, worker: int, apps: dict[str, AppMeasures], own: WorkerMeasures) -> None:
        """Add a report of worker number `worker`."""
        self.workers.add(own)
        opened = self._open.setdefault(worker, Counter())
        for name, measures in apps.items():
            opened[name] += measures.active
            total = self.apps.get(name)
            if total is None:
                self.apps[name] = measures
            else:
                total.add(measures)

    def lose(self, worker: int) -> int:
        """Count the open sessions of a worker that is gone as lost; return how many there were."""
        opened = self._open.pop(worker, Counter())
        for name, count in opened.items():
            if count > 0:
                ended = self.apps[name].ended
                ended[Reason.WORKER_LOST] = ended.get(Reason.WORKER_LOST, 0) + count
        return sum(count for count in opened.values() if count > 0)
