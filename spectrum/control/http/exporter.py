"""The metrics in Prometheus' formats."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from spectrum import __version__
from spectrum.control.configuration.actor import Actor
from spectrum.control.processes.process_metrics import process_metrics
from spectrum.control.records.totals import Totals
from spectrum.control.usage import Usage, usage_metrics
from spectrum.core.records.measures import WorkerMeasures
from spectrum.kernel.usage import ProcessUsage
from spectrum.tasks import in_background

# In OpenMetrics the name of a counter's family lacks the suffix of its samples.
_HEAD_OF_COUNTER = re.compile(rb"^(# (?:HELP|TYPE) \S+)_total ", re.MULTILINE)


class NodeState:
    """The state of the node that is exported, beside the workers' counters."""

    def __init__(self) -> None:
        self.generation = 0
        self.last_reload_successful = True
        self.restart_needed = False
        self.workers_ready = 0
        # By worker number: the generation that it serves, and whether it sends heartbeats.
        self.workers: dict[int, tuple[int, bool]] = {}
        # By worker number: seconds until a worker that ended repeatedly is started again.
        self.pauses: dict[int, float] = {}
        self.workers_stalled = 0
        self.listeners_deaf = 0
        self.held_bytes = 0
        self.helper_lost = False


@dataclass(frozen=True, eq=False)
class _Only(Collector):
    """A collector of one family."""

    metric: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.metric


def _node_metrics(own: WorkerMeasures, restarts: int, killed: int, state: NodeState) -> Iterator[Metric]:
    yield InfoMetricFamily("spectrum_build", "Version of this daemon", value={"version": __version__})
    yield CounterMetricFamily("spectrum_accept_stalls", "Times accepting stopped at a limit", value=own.accept_stalls)
    yield GaugeMetricFamily("spectrum_workers_stalled", "Workers not accepting now", value=state.workers_stalled)
    yield GaugeMetricFamily(
        "spectrum_listeners_deaf", "Listeners of workers that could not be added to epoll", value=state.listeners_deaf
    )
    yield CounterMetricFamily(
        "spectrum_listeners_mended", "Listeners found missing in epoll, and added again", value=own.listeners_mended
    )
    yield GaugeMetricFamily("spectrum_held_bytes", "Bytes buffered for slow receivers", value=state.held_bytes)
    yield CounterMetricFamily(
        "spectrum_busy_poll_seconds", "Processor time spent on busy polling", value=own.busy_poll_s
    )
    yield CounterMetricFamily(
        "spectrum_events_dropped",
        "Session records omitted because a buffer was full; others stand for them",
        value=own.events_dropped,
    )
    yield GaugeMetricFamily(
        "spectrum_helper_lost", "1 if the privileged helper has ended and requires a restart", value=state.helper_lost
    )
    yield GaugeMetricFamily("spectrum_workers_ready", "Workers that serve", value=state.workers_ready)
    yield CounterMetricFamily("spectrum_worker_restarts", "Workers replaced", value=restarts)
    yield CounterMetricFamily("spectrum_workers_killed", "Workers replaced because they did not respond", value=killed)
    serves = GaugeMetricFamily("spectrum_worker_generation", "Generation that a worker serves", labels=["worker"])
    answers = GaugeMetricFamily("spectrum_worker_up", "1 while a worker responds", labels=["worker"])
    for place, (generation, up) in sorted(state.workers.items()):
        serves.add_metric([str(place)], generation)
        answers.add_metric([str(place)], up)
    pauses = GaugeMetricFamily(
        "spectrum_worker_restart_pause_seconds",
        "Time until a worker that ended repeatedly is started again",
        labels=["worker"],
    )
    for place in sorted(state.workers):
        pauses.add_metric([str(place)], state.pauses.get(place, 0.0))
    yield from (serves, answers, pauses)
    yield GaugeMetricFamily("spectrum_config_generation", "Generation being served", value=state.generation)
    yield GaugeMetricFamily(
        "spectrum_config_restart_needed",
        "1 while the file has settings that require a restart",
        value=state.restart_needed,
    )
    yield GaugeMetricFamily(
        "spectrum_config_last_reload_successful",
        "1 if the last reload was successful",
        value=state.last_reload_successful,
    )


class Exporter:
    """Renders the metrics of one node.

    Args:
        totals: Totals of the workers' counters.
        state: Other state of the node.
        actors: The actors, each with its metrics.
    """

    def __init__(self, totals: Totals, state: NodeState, actors: Sequence[Actor] = ()) -> None:
        self._totals = totals
        self._state = state
        self._actors = actors

    async def render(
        self, processes: Mapping[str, ProcessUsage], usages: Sequence[Usage], is_open: bool = False
    ) -> bytes:
        """Return the page of /metrics in Prometheus' text format, or with `is_open` in that of OpenMetrics. Counters
        are read on the loop, which changes them; a thread renders them.

        Args:
            processes: The resources that each process uses.
            usages: The use of each limit.
            is_open: Render OpenMetrics 1.0.
        """
        totals = self._totals
        counted = copy(totals.workers), totals.worker_restarts, totals.workers_killed
        parts: list[Iterable[Metric | bytes]] = [_node_metrics(*counted, copy(self._state))]
        parts += [process_metrics(processes), await usage_metrics(usages)]
        parts += [await actor.metrics() for actor in self._actors]
        return await in_background(_render, parts, is_open)


def _render(parts: list[Iterable[Metric | bytes]], is_open: bool) -> bytes:
    pieces: list[bytes] = []
    while parts:  # The caller frees them.
        pieces += [one if isinstance(one, bytes) else generate_latest(_Only(one)) for one in parts.pop(0)]
    if is_open:
        # A piece that begins a family has its head; further pieces of a large family are the same in both formats.
        pieces = [_HEAD_OF_COUNTER.sub(rb"\1 ", one) if one.startswith(b"#") else one for one in pieces]
        pieces.append(b"# EOF\n")
    return b"".join(pieces)  # It releases the GIL for large bodies.
