"""The metrics of the filter: packets by result, list and rule."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.core.filter import Filter

# Counters that are not a packet's result, by name.
_LOST = {
    "samples_lost": ("spectrum_filter_samples_lost", "Samples that were not read in time"),
    "looks_lost": ("spectrum_filter_looks_lost", "Packets for the detection of attacks that were not read in time"),
}


def filter_metrics(settings: Filter | None, counts: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
    """Yield the metrics of the filter.

    Args:
        settings: The filter's settings; None without a filter.
        counts: Packets and bytes by list, rule and other result, as `PinnedFilter.counts` has them.
    """
    yield GaugeMetricFamily("spectrum_filter_active", "1 while packets are filtered", value=settings is not None)
    if settings is None:
        return
    yield GaugeMetricFamily(
        "spectrum_filter_dry_run", "1 while packets are only counted, none is dropped", value=settings.dry_run
    )
    if not counts:
        return
    labels = ["result", "name"]
    packets = CounterMetricFamily("spectrum_filter_packets", "Packets that the filter saw", labels=labels)
    size = CounterMetricFamily("spectrum_filter_bytes", "Bytes of packets that the filter saw", labels=labels)
    for place, (number, octets) in counts.items():
        if place in _LOST:
            continue
        result, _, name = place.partition(" ")
        packets.add_metric([result, name], number)
        size.add_metric([result, name], octets)
    yield from (packets, size)
    for place, (name, what) in _LOST.items():
        yield CounterMetricFamily(name, what, value=counts.get(place, (0, 0))[0])
