from prometheus_client import CollectorRegistry, generate_latest

from spectrum.control.records.feed import FeedReading
from spectrum.control.records.metrics import record_metrics
from spectrum.control.records.stream import JournalReading, RecordReadings


def page(readings):
    class Collected:
        def collect(self):
            return record_metrics(readings)

    registry = CollectorRegistry()
    registry.register(Collected())
    lines = generate_latest(registry).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_without_a_journal():
    assert page(RecordReadings(3, 4)) == {
        "spectrum_log_lines_suppressed_total": "3.0",
        "spectrum_log_lines_lost_total": "4.0",
    }


def test_with_one():
    journal = JournalReading("/x", 1000, 2000, 30, 4, "full", 60)
    found = page(RecordReadings(journal=journal, feeds=(FeedReading("archive", 20, 10, 1.5, 2, 3, "full"),)))
    assert found == {
        "spectrum_log_lines_suppressed_total": "0.0",
        "spectrum_log_lines_lost_total": "0.0",
        "spectrum_journal_bytes": "1000.0",
        "spectrum_journal_records_total": "30.0",
        "spectrum_journal_records_lost_total": "4.0",
        "spectrum_journal_records_omitted_total": "60.0",
        "spectrum_journal_failing": "1.0",
        'spectrum_sink_records_total{sink="archive"}': "20.0",
        'spectrum_sink_lag_records{sink="archive"}': "10.0",
        'spectrum_sink_lag_seconds{sink="archive"}': "1.5",
        'spectrum_sink_records_lost_total{sink="archive"}': "2.0",
        'spectrum_sink_failures_total{sink="archive"}': "3.0",
    }
