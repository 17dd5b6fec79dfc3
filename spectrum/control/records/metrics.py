"""The metrics of records: the log, the journal and its sinks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.records.feed import FeedReading

if TYPE_CHECKING:
    from spectrum.control.records.stream import JournalReading, RecordReadings


def record_metrics(readings: "RecordReadings") -> Iterator[Metric]:
    """Yield the metrics of records; those of the journal and its sinks only if the file has them."""
    yield CounterMetricFamily(
        "spectrum_log_lines_suppressed",
        "Session log lines left out by the rate limit",
        value=readings.lines_suppressed,
    )
    yield CounterMetricFamily(
        "spectrum_log_lines_lost", "Session log lines that could not be written", value=readings.lines_lost
    )
    if readings.journal is not None:
        yield from _journal_metrics(readings.journal)
        yield from _sink_metrics(readings.feeds)


def _journal_metrics(journal: "JournalReading") -> Iterator[Metric]:
    yield GaugeMetricFamily("spectrum_journal_bytes", "Size of the journal of records", value=journal.size)
    yield CounterMetricFamily("spectrum_journal_records", "Records appended to the journal", value=journal.appended)
    yield CounterMetricFamily(
        "spectrum_journal_records_lost", "Records that the journal could not take", value=journal.lost
    )
    yield CounterMetricFamily(
        "spectrum_journal_records_omitted",
        "Records that came faster than they could be written, and for which others stand",
        value=journal.omitted,
    )
    yield GaugeMetricFamily(
        "spectrum_journal_failing", "1 while nothing can be written to the journal", value=bool(journal.failure)
    )


def _sink_metrics(feeds: tuple[FeedReading, ...]) -> Iterator[Metric]:
    labels = ["sink"]
    delivered = CounterMetricFamily("spectrum_sink_records", "Records delivered to a sink", labels=labels)
    lag = GaugeMetricFamily("spectrum_sink_lag_records", "Records not delivered to a sink yet", labels=labels)
    lag_s = GaugeMetricFamily("spectrum_sink_lag_seconds", "Age of the oldest of these", labels=labels)
    lost = CounterMetricFamily(
        "spectrum_sink_records_lost", "Records that will not be delivered to a sink", labels=labels
    )
    failures = CounterMetricFamily("spectrum_sink_failures", "Deliveries that failed", labels=labels)
    for feed in feeds:
        name = [feed.name]
        delivered.add_metric(name, feed.delivered)
        lag.add_metric(name, feed.lag_records)
        lag_s.add_metric(name, feed.lag_s)
        lost.add_metric(name, feed.lost)
        failures.add_metric(name, feed.failures)
    yield from (delivered, lag, lag_s, lost, failures)
