"""The metrics of detection: whether it runs, what it looks at, and what that costs."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.link.detector import DetectorState


def detector_metrics(
    is_up: bool, restarts: int, one_in: tuple[int, int], state: DetectorState | None
) -> Iterator[Metric]:
    """Yield them.

    Args:
        is_up: Whether the detector runs.
        restarts: How often one was started in place of one that ended by itself.
        one_in: One of so many packets is looked at: of flows that are not in use, and of others.
        state: What it said last.
    """
    yield GaugeMetricFamily("spectrum_ddos_up", "1 while the detector looks for attacks", value=is_up)
    yield CounterMetricFamily(
        "spectrum_ddos_restarts",
        "Detectors that ended by themselves, or were killed for no sign of life",
        value=restarts,
    )
    sampling = GaugeMetricFamily(
        "spectrum_ddos_sample_one_in", "One of so many packets is looked at, by state of its flow", labels=["flow"]
    )
    for flow, count in zip(("idle", "in_use"), one_in, strict=True):
        sampling.add_metric([flow], count)
    yield sampling
    if state is None:
        return
    yield GaugeMetricFamily(
        "spectrum_ddos_samples_rate", "Packets looked at, per second", value=state.samples_per_second
    )
    yield GaugeMetricFamily(
        "spectrum_ddos_packets_rate", "Packets that came in, per second, as estimated", value=state.packets_per_second
    )
    yield CounterMetricFamily(
        "spectrum_ddos_looks_lost", "Packets to be looked at that came too fast", value=state.lost
    )
    yield GaugeMetricFamily("spectrum_ddos_cpu_share", "Share of a core that the detector takes", value=state.cpu)
    yield GaugeMetricFamily(
        "spectrum_ddos_ready",
        "1 when it is known what is normal: before, rules are only about what is an attack whatever is normal",
        value=not state.ready_s,
    )
