"""What all workers counted, added up; nothing is lost when a worker dies but its last second."""

import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from spectrum.control.configuration.actor import Actor, Change
from spectrum.core.records.measures import AppMeasures, WorkerMeasures, add_measures
from spectrum.core.records.reasons import Reason

# An app that was removed, and has no session left, is counted on for so long, in case that it comes back.
FORGET_AFTER_S = 3600.0


@dataclass
class Totals:
    """Counters since the supervisor's start.

    Attributes:
        apps: By name; they change with each report. `view` gives what stays.
    """

    apps: dict[str, AppMeasures] = field(default_factory=dict)
    workers: WorkerMeasures = field(default_factory=WorkerMeasures)
    worker_restarts: int = 0
    # Of these, those that were killed because they gave no sign of life.
    workers_killed: int = 0
    # The apps of which nobody has a view: they are changed in place, others by a copy.
    _own: set[str] = field(default_factory=set)
    # Per worker number and app, the sessions that are open there.
    _open: dict[int, Counter[str]] = field(default_factory=dict)
    # Since when an app is not in the file and has no session.
    _gone_since: dict[str, float] = field(default_factory=dict)

    def view(self) -> dict[str, AppMeasures]:
        """Return what was counted by app until now, as it will stay: it can be read in any thread."""
        self._own = set()
        return dict(self.apps)

    def add(self, worker: int, apps: dict[str, AppMeasures], own: WorkerMeasures) -> None:
        """Add a report of worker number `worker`."""
        self.workers.add(own)
        opened = self._open.setdefault(worker, Counter())
        for name, measures in apps.items():
            opened[name] += measures.active
            self._add(name, measures)

    def _add(self, name: str, measures: AppMeasures) -> None:
        if name not in self._own:
            self._own.add(name)
            if name in self.apps:
                copy = AppMeasures()
                copy.add(self.apps[name])
                self.apps[name] = copy
        add_measures(self.apps, name, measures)

    def lose(self, worker: int) -> int:
        """Count the open sessions of a worker that is gone as lost; return how many there were."""
        lost = {name: count for name, count in self._open.pop(worker, Counter()).items() if count > 0}
        for name, count in lost.items():
            self._add(name, AppMeasures(ended={Reason.WORKER_LOST: count}))
        return sum(lost.values())

    def forget(self, served: Set[str], now: float) -> None:
        """Forget apps that are not `served` any more and had no session for `FORGET_AFTER_S`.

        Without it a node whose apps come and go would have ever more series. `now` is of the monotonic clock.
        """
        gone = {name for name in self.apps.keys() - served if self.apps[name].active <= 0}
        self._gone_since = {name: self._gone_since.get(name, now) for name in gone}
        for name, since in self._gone_since.items():
            if now - since >= FORGET_AFTER_S:
                del self.apps[name]
                for opened in self._open.values():
                    opened.pop(name, None)


class TotalsActor(Actor):
    """Notes which apps are gone.

    Args:
        totals: What was counted.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    async def release(self, change: Change) -> None:
        """Count the time of those that are gone from now on."""
        self._totals.forget({app.name for app in change.after.snapshot.apps}, time.monotonic())
