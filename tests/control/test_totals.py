from spectrum.control.totals import Totals
from spectrum.core.measures import AppMeasures, WorkerMeasures
from spectrum.core.reasons import Reason


def test_workers_add_up_and_lost_sessions_are_counted():
    totals = Totals()
    totals.add(0, {"x": AppMeasures(started=3)}, WorkerMeasures(accept_stalls=1))
    totals.add(1, {"x": AppMeasures(started=2)}, WorkerMeasures(accept_stalls=1))
    ended = AppMeasures()
    ended.end(Reason.CLIENT_CLOSED)
    totals.add(0, {"x": ended}, WorkerMeasures())
    assert totals.apps["x"].active == 4
    assert totals.workers.accept_stalls == 2
    assert totals.lose(0) == 2
    assert totals.apps["x"].active == 2
    assert totals.apps["x"].ended == {Reason.CLIENT_CLOSED: 1, Reason.WORKER_LOST: 2}
    assert totals.lose(0) == 0
    assert totals.lose(7) == 0
