"""The metrics of detection: whether it runs, its sampling, and its cost."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.link.detector import DetectorState


def detector_metrics(
    is_up: bool, restarts: int, one_in: tuple[int, int], state: DetectorState | None
) -> Iterator[Metric]:
    """Yield the metrics of detection.

    Args:
        is_up: Whether the detector runs.
        restarts: How often a detector that ended unexpectedly was replaced.
        one_in: Sampling rates: one of this number of packets, of flows that are not in use and of others.
        state: Its last report.
    """
    yield GaugeMetricFamily("spectrum_ddos_up", "1 while the detector looks for attacks", value=is_up)
    yield CounterMetricFamily(
        "spectrum_ddos_restarts",
        "Detectors that ended unexpectedly, or were killed because they did not respond",
        value=restarts,
    )
    sampling = GaugeMetricFamily(
        "spectrum_ddos_sample_one_in",
        "Sampling rate: one of this number of packets, by state of its flow",
        labels=["flow"],
    )
    for flow, count in zip(("idle", "in_use"), one_in, strict=True):
        sampling.add_metric([flow], count)
    yield sampling
    if state is None:
        return
    yield GaugeMetricFamily("spectrum_ddos_samples_rate", "Packets sampled per second", value=state.samples_per_second)
    yield GaugeMetricFamily(
        "spectrum_ddos_packets_rate", "Estimated incoming packets per second", value=state.packets_per_second
    )
    yield CounterMetricFamily(
        "spectrum_ddos_looks_lost", "Samples lost because the ring buffer was full", value=state.lost
    )
    yield GaugeMetricFamily("spectrum_ddos_cpu_share", "Share of a core that the detector uses", value=state.cpu)
    yield GaugeMetricFamily(
        "spectrum_ddos_ready",
        "1 when normal traffic has been learned: before, rules match only packets that are never normal",
        value=not state.ready_s,
    )
