"""The schedule of all probes: each at its interval, spread over time, independent of the others."""

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from spectrum.core.balancing.health import ProbeResult
from spectrum.probes import http, smtp, tcp, udp
from spectrum.probes.ping import Pinger
from spectrum.probes.target import ProbeFailure, ProbeTarget, translated
from spectrum.tasks import Tasks, busy_wait_for

log = logging.getLogger(__name__)

# New targets are first probed at this rate, to avoid a burst at the start.
FIRST_PROBES_PER_S = 2000
# An interval is shortened by up to this share at random, so that probes of one start drift apart.
JITTER = 0.1
# Each probe has a descriptor or two. Beyond this share of the limit probes are skipped, and the log says so; that takes
# thousands of origins that hang at the same time.
RUNNING_PART = 0.5


@dataclass(slots=True)
class _Job:
    target: ProbeTarget
    due: float = 0.0
    running: bool = False


class Prober:
    """Probes targets.

    Args:
        took: Called with the target's key, the result, and when the probe began (monotonic seconds).
        descriptor_limit: Returns the limit of descriptors of this process.
    """

    def __init__(
        self, took: Callable[[Hashable, ProbeResult, float], None], descriptor_limit: Callable[[], int]
    ) -> None:
        self._took = took
        self._descriptor_limit = descriptor_limit
        self._jobs: dict[Hashable, _Job] = {}
        self._queue: list[tuple[float, int, Hashable]] = []
        self._order = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks()
        self._pinger = Pinger()
        self._running = 0
        self._max_running = 0
        self._late = False
        self._random = random.Random()

    def watch(self, targets: Mapping[Hashable, ProbeTarget]) -> None:
        """Replace the targets; those that are probed already keep their schedule."""
        now = asyncio.get_running_loop().time()
        self._max_running = int(self._descriptor_limit() * RUNNING_PART)
        for key in self._jobs.keys() - targets.keys():
            del self._jobs[key]
        fresh = 0
        for key, target in targets.items():
            job = self._jobs.get(key)
            if job is not None:
                job.target = target
                continue
            self._jobs[key] = _Job(target)
            spread_s = min(target.monitor.interval_s, 0.5 + len(targets) / FIRST_PROBES_PER_S)
            self._plan(key, now + self._random.uniform(0, spread_s) if len(targets) > 1 else now)
            fresh += 1
        if fresh:
            self._wake()

    def _plan(self, key: Hashable, due: float) -> None:
        self._order += 1
        self._jobs[key].due = due
        heapq.heappush(self._queue, (due, self._order, key))

    def _wake(self) -> None:
        """Set the timer to the next probe."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_at(self._queue[0][0], self._run_due)

    def _run_due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._queue and self._queue[0][0] <= now:
            due, _, key = heapq.heappop(self._queue)
            job = self._jobs.get(key)
            if job is None or job.due != due:
                continue  # removed, or removed and added again
            interval_s = job.target.monitor.interval_s
            # From the scheduled time: a late loop does not lengthen the interval. A probe that is far behind is
            # rescheduled.
            following = due + interval_s * self._random.uniform(1 - JITTER, 1)
            self._plan(key, following if following > now else now + interval_s)
            # A probe that takes longer than its interval is not run twice.
            if not job.running and self._has_room():
                job.running = True
                self._running += 1
                self._tasks.start(self._run(key, job), f"probe {job.target.address}")
        self._wake()

    def _has_room(self) -> bool:
        late = self._running >= self._max_running
        if late and not self._late:
            log.warning("%d probes under way: more are left out until some end", self._running)
        self._late = late
        return not late

    async def _run(self, key: Hashable, job: _Job) -> None:
        began = time.monotonic()
        try:
            result = await self.probe(job.target)
        finally:
            job.running = False
            self._running -= 1
        if self._jobs.get(key) is job:
            self._took(key, result, began)

    async def probe(self, target: ProbeTarget) -> ProbeResult:
        """Return the result of one probe, with its monitor's retries after a timeout."""
        monitor = target.monitor
        for _ in range(monitor.retries + 1):
            try:
                return await busy_wait_for(self._once(target), monitor.timeout_s)
            except TimeoutError:
                continue
            except ProbeFailure as exc:
                return ProbeResult(False, str(exc), code=exc.code)
            except Exception as exc:  # without a result the last verdict would stay forever
                log.exception("probe of %s port %d", target.address, target.port)
                return ProbeResult(False, f"the probe itself failed: {exc}")
        return ProbeResult(False, f"no answer within {monitor.timeout_s:g} s", timed_out=True)

    async def _once(self, target: ProbeTarget) -> ProbeResult:
        with translated():
            match target.monitor.type:
                case "tcp":
                    return await tcp.probe(target)
                case "http" | "https":
                    return await http.probe(target)
                case "smtp":
                    return await smtp.probe(target)
                case "icmp_ping":
                    return await self._pinger.probe(target)
                case "udp_icmp":
                    return await udp.probe(target, self._pinger)

    async def stop(self) -> None:
        """Stop probing."""
        if self._timer is not None:
            self._timer.cancel()
        self._jobs.clear()
        self._queue.clear()
        await self._tasks.stop()
        self._pinger.close()
