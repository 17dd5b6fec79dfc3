import msgspec

from spectrum.core.records.measures import CONNECT_BOUNDS_S, AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason


def test_reports_add_up():
    total, report = AppMeasures(), AppMeasures()
    report.started = 3
    report.end(Reason.CLIENT_CLOSED)
    report.observe(0.0002, 2.0)
    report.bytes_from_client, report.left_out = 5, 4
    report.origin("a:1", 7).connected += 2
    report.origin("a:1").fail("connect_refused")
    report.origin("a:1").end(0.5, 2)
    report.origin("a:1").end(None)
    report.origin("a:1").bytes_from_clients += 3
    for _ in range(2):
        total.add(report)
    assert (total.started, total.active, total.bytes_from_client, total.left_out) == (6, 4, 10, 8)
    assert total.ended == {Reason.CLIENT_CLOSED: 2}
    assert total.connect.counts[1] == 2
    assert total.connect.total == 0.0004
    assert sum(total.duration.counts) == 2
    origin = total.origins["a:1"]
    assert (origin.number, origin.connected, origin.failed, origin.failures) == (7, 4, 2, {"connect_refused": 2})
    assert (origin.ended, origin.connects, origin.connect_s, origin.bytes_from_clients) == (6, 4, 1.0, 6)
    assert origin.last_failure == "connect_refused"


def test_bucket_bounds_are_inclusive():
    measures = AppMeasures()
    for bound in CONNECT_BOUNDS_S:
        measures.observe(bound, 0)
    measures.observe(99, 0)
    assert measures.connect.counts == [1] * (len(CONNECT_BOUNDS_S) + 1)


def test_measures_travel():
    measures = AppMeasures(started=1)
    measures.end(1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(measures), type=AppMeasures) == measures


def test_workers_add_up():
    total = WorkerMeasures()
    total.add(WorkerMeasures(1, 0.5, 2))
    total.add(WorkerMeasures(1, 0.5, 2))
    assert total == WorkerMeasures(2, 1.0, 4)
