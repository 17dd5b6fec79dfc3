from pathlib import Path

from spectrum.core.analytics.columns import MINUTES, TABLES, Role
from spectrum.core.analytics.metrics import METRICS, MetricKind


def test_metrics_are_made_of_columns_that_there_are():
    for table, metrics in METRICS.items():
        for name, metric in metrics.items():
            assert metric.name == name
            assert set(metric.uses) <= set(TABLES[table].by_name)
            assert metric.sql or metric.kind not in (MetricKind.SUM, MetricKind.DISTINCT)


def test_each_duration_has_its_metrics():
    ends = ["Avg", "Median", "90th", "99th", "Min", "Max"]
    for first in ("duration", "connect", "clientRtt", "originRtt"):
        assert [METRICS["events"][first + end].unit for end in ends] == ["ms"] * 6
    assert "rttMedian" in METRICS["health"]
    assert METRICS["events"]["duration90th"].fraction == 0.9


def test_sums_can_be_computed_of_roll_ups():
    for metric in METRICS["events"].values():
        if metric.kind is MetricKind.SUM:
            assert set(metric.uses) <= set(MINUTES.by_name), metric.name
        elif metric.kind is not MetricKind.DISTINCT:
            (column,) = metric.uses
            assert TABLES["events"].by_name[column].role is Role.DURATION
            assert {f"{column}_sum", f"{column}_count", f"{column}_histogram"} <= set(MINUTES.by_name)


def test_the_page_has_every_metric():
    page = (Path(__file__).parents[3] / "docs" / "analytics.md").read_text()
    for table, metrics in METRICS.items():
        rows = [line for line in page.splitlines() if line.startswith("| `") and f" | {table} | " in line]
        for name in metrics:
            assert any(f"`{name}`" in row for row in rows), (table, name)
