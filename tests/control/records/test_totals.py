from spectrum.control.records.totals import FORGET_AFTER_S, Totals, TotalsActor
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason
from tests.control.plans import change


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


def test_a_view_stays_as_it_is():
    totals = Totals()
    totals.add(0, {"x": AppMeasures(started=1), "y": AppMeasures(started=1)}, WorkerMeasures())
    view = totals.view()
    totals.add(0, {"x": AppMeasures(started=2, ended={1: 1}), "z": AppMeasures(started=1)}, WorkerMeasures())
    totals.add(0, {"x": AppMeasures(started=4)}, WorkerMeasures())
    totals.lose(0)
    assert {name: (seen.started, seen.ended) for name, seen in view.items()} == {"x": (1, {}), "y": (1, {})}
    assert totals.apps["x"].started == 7
    assert totals.view()["y"].ended == {Reason.WORKER_LOST: 1}


def test_an_app_that_is_gone_is_forgotten_when_its_sessions_are():
    totals = Totals()
    one = {"x": AppMeasures(started=1)}
    totals.add(0, {**one, "stays": AppMeasures(started=1, ended={1: 1})}, WorkerMeasures())
    totals.forget({"stays"}, 0.0)
    totals.forget({"stays"}, 2 * FORGET_AFTER_S)
    assert totals.apps.keys() == {"x", "stays"}  # it has a session
    totals.add(0, {"x": AppMeasures(ended={1: 1})}, WorkerMeasures())
    for now, served in (
        (0.0, set()),
        (FORGET_AFTER_S, {"x"}),
        (FORGET_AFTER_S + 1, set()),
        (2 * FORGET_AFTER_S, set()),
    ):
        totals.forget(served | {"stays"}, now)
        assert "x" in totals.apps  # it was back in between
    totals.forget({"stays"}, 2 * FORGET_AFTER_S + 1)
    assert totals.apps.keys() == {"stays"}
    assert totals.lose(0) == 0


async def test_a_rollout_tells_which_apps_are_gone():
    totals = Totals()
    totals.add(0, {"x": AppMeasures(started=1, ended={1: 1}), "y": AppMeasures(started=1)}, WorkerMeasures())
    text = "apps: {NAME: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"
    await TotalsActor(totals).release(change(text.replace("NAME", "x"), text.replace("NAME", "y")))
    assert totals._gone_since.keys() == {"x"}
