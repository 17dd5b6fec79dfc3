"""The metrics of analytics."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True)
class AnalyticsReadings:
    """The state of the intake of records; counts are since the daemon started.

    Attributes:
        rows: Records that the store has taken.
        repeated: Records received again, and ignored.
        unreadable: Records that the store could not decode.
        lost: Records that the journal dropped before they were taken, or that are damaged in it.
        failures: Attempts to take records that failed, by their reason.
        failure: Why nothing is taken now; empty while all is well.
        lag_records: Records in the journal that the store has not taken.
        lag_s: Approximate age of the oldest of them in seconds.
        size: Bytes of the store.
    """

    rows: int = 0
    repeated: int = 0
    unreadable: int = 0
    lost: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    failure: str = ""
    lag_records: int = 0
    lag_s: float = 0.0
    size: int = 0


def analytics_metrics(readings: AnalyticsReadings) -> Iterator[Metric]:
    """Yield the metrics of analytics."""
    yield CounterMetricFamily(
        "spectrum_analytics_rows", "Records that were taken into the store of analytics", value=readings.rows
    )
    yield CounterMetricFamily(
        "spectrum_analytics_rows_repeated",
        "Records that were received again after a crash, and ignored",
        value=readings.repeated,
    )
    yield CounterMetricFamily(
        "spectrum_analytics_rows_unreadable",
        "Records that could not be decoded, and are not in the store",
        value=readings.unreadable,
    )
    yield CounterMetricFamily(
        "spectrum_analytics_rows_lost",
        "Records that the journal dropped before they were taken, or that are damaged in it",
        value=readings.lost,
    )
    failures = CounterMetricFamily(
        "spectrum_analytics_failures", "Attempts to take records that failed", labels=["reason"]
    )
    for reason, count in sorted(readings.failures.items()):
        failures.add_metric([reason], count)
    yield failures
    yield GaugeMetricFamily(
        "spectrum_analytics_failing", "1 while the last attempt to take records failed", value=bool(readings.failure)
    )
    yield GaugeMetricFamily(
        "spectrum_analytics_lag_records",
        "Records in the journal that the store has not taken yet",
        value=readings.lag_records,
    )
    yield GaugeMetricFamily(
        "spectrum_analytics_lag_seconds",
        "Age of the oldest record that the store has not taken yet",
        value=readings.lag_s,
    )
    yield GaugeMetricFamily(
        "spectrum_analytics_store_bytes", "Size of the embedded store of analytics", value=readings.size
    )
