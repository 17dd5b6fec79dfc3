from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest

from spectrum.control.analytics.metrics import AnalyticsReadings, analytics_metrics


class Collector:
    def __init__(self, readings):
        self.readings = readings

    def collect(self):
        return analytics_metrics(self.readings)


def test_each_reading_is_a_metric():
    registry = CollectorRegistry()
    registry.register(
        Collector(AnalyticsReadings(1, 2, 3, 4, {"full": 5, "locked": 6}, "no room", lag_records=7, lag_s=8, size=9))
    )
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert [line.removeprefix("spectrum_analytics_") for line in lines if "_created" not in line] == [
        "rows_total 1.0",
        "rows_repeated_total 2.0",
        "rows_unreadable_total 3.0",
        "rows_lost_total 4.0",
        'failures_total{reason="full"} 5.0',
        'failures_total{reason="locked"} 6.0',
        "failing 1.0",
        "lag_records 7.0",
        "lag_seconds 8.0",
        "store_bytes 9.0",
    ]
