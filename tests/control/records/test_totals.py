import asyncio

import msgspec

from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.records import totals as module
from spectrum.control.records.totals import (
    APPS_AT_ONCE,
    FIGURES,
    FORGET_AFTER_S,
    FORGOTTEN_AT_ONCE,
    MAX_GONE,
    Named,
    Totals,
    TotalsActor,
    named,
)
from spectrum.core.balancing.settings import labels
from spectrum.core.features import compile_snapshot
from spectrum.core.numbers import Numbers
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import MAX_NUMBERS
from spectrum.tasks import Tasks
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


def test_records_that_workers_left_out():
    totals = Totals()
    for worker, count in ((0, 3), (1, 4), (0, 0)):
        totals.add(worker, {"x": AppMeasures(left_out=count), "y": AppMeasures()}, WorkerMeasures())
    assert totals.take_left_out() == {"x": 7}
    assert totals.take_left_out() == {}


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


def forget(totals, served, now):
    totals.serve(served, list(totals.apps))
    totals.forget(now)


def test_an_app_that_is_gone_is_forgotten_when_its_sessions_are():
    totals = Totals()
    one = {"x": AppMeasures(started=1)}
    totals.add(0, {**one, "stays": AppMeasures(started=1, ended={1: 1})}, WorkerMeasures())
    forget(totals, {"stays"}, 0.0)
    totals.forget(2 * FORGET_AFTER_S)
    assert totals.apps.keys() == {"x", "stays"}  # it has a session
    totals.add(0, {"x": AppMeasures(ended={1: 1})}, WorkerMeasures())
    for now, served in (
        (0.0, set()),
        (FORGET_AFTER_S, {"x"}),
        (FORGET_AFTER_S + 1, set()),
        (2 * FORGET_AFTER_S, set()),
    ):
        forget(totals, served | {"stays"}, now)
        assert "x" in totals.apps  # it was back in between
    totals.forget(2 * FORGET_AFTER_S + 1)
    assert totals.apps.keys() == {"stays"}
    assert totals.lose(0) == 0


def test_an_app_that_is_reported_after_it_was_removed_is_forgotten_as_well():
    totals = Totals()
    totals.serve({"stays"}, ())
    over = AppMeasures(started=1, ended={1: 1})
    totals.add(0, {"late": over, "stays": over}, WorkerMeasures())
    totals.forget(0.0)
    assert totals._gone_since == {"late": 0.0}
    totals.forget(FORGET_AFTER_S)
    assert totals.apps.keys() == {"stays"}


async def test_a_rollout_tells_which_apps_are_gone():
    totals = Totals()
    totals.add(0, {"x": AppMeasures(started=1, ended={1: 1}), "y": AppMeasures(started=1)}, WorkerMeasures())
    text = "apps: {NAME: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"
    one = change(text.replace("NAME", "x"), text.replace("NAME", "y"))
    await TotalsActor(totals, Served(one.before.config), {}, {}).release(one)
    assert totals._gone_since.keys() == {"x"}


def test_a_thousand_reloads_with_other_names_leave_a_bounded_number():
    totals = Totals()
    for i in range(3 * MAX_GONE):
        name = f"app{i}"
        ended = AppMeasures(started=1, ended={1: 1}, rules={"r": 1})
        ended.origin("192.0.2.1:22").connected = 1
        totals.add(0, {name: ended}, WorkerMeasures())
        forget(totals, {name}, float(i))
    assert len(totals.apps) == MAX_GONE + 1
    assert f"app{3 * MAX_GONE - 1}" in totals.apps and "app0" not in totals.apps
    forget(totals, set(), 3 * MAX_GONE + FORGET_AFTER_S)
    assert len(totals.apps) == MAX_GONE + 1 - FORGOTTEN_AT_ONCE
    for _ in range(MAX_GONE // FORGOTTEN_AT_ONCE):
        totals.forget(4 * MAX_GONE + 2 * FORGET_AFTER_S)
    assert totals.apps == totals._gone_since == totals._reported == {}
    assert not totals._own and not totals._open[0]


def report(origins, rules=()):
    measures = AppMeasures(started=1, ended={1: 1}, rules=dict.fromkeys(rules, 1))
    for name, (connected, ended) in origins.items():
        measures.origin(name).connected, measures.origin(name).ended = connected, ended
    return {"x": measures}


def test_origins_and_rules_that_are_gone_are_forgotten():
    totals, kept = Totals(), Named({"192.0.2.1", "2001:db8::1"}, {"named"})
    calls = []

    def get_named():
        calls.append(1)
        return kept

    def pass_hour(hour):
        for _ in range(3):
            totals.sweep(get_named, hour * FORGET_AFTER_S)

    every = {"192.0.2.1:22": (1, 1), "[2001:db8::1]:22": (1, 1), "192.0.2.9:22": (1, 1), "192.0.2.8:22": (2, 1)}
    totals.add(0, report(every, ["named", "gone"]), WorkerMeasures())
    view = totals.view()
    for hour in (0, 1):
        pass_hour(hour)
        assert totals.apps["x"].origins.keys() == every.keys()  # it was heard of in this hour
    assert calls == []
    totals.add(0, report({"192.0.2.9:22": (1, 1)}), WorkerMeasures())
    pass_hour(2)
    assert totals.apps["x"].rules == {"named": 1}
    assert "192.0.2.9:22" in totals.apps["x"].origins
    pass_hour(3)
    assert totals.apps["x"].origins.keys() == every.keys() - {"192.0.2.9:22"}  # one has a session
    totals.add(0, report({"192.0.2.8:22": (0, 1)}), WorkerMeasures())
    for hour in (4, 5):
        pass_hour(hour)
    assert totals.apps["x"].origins.keys() == {"192.0.2.1:22", "[2001:db8::1]:22"}
    assert totals.apps["x"].started == 3
    assert (view["x"].origins.keys(), view["x"].rules) == (every.keys(), {"named": 1, "gone": 1})


def test_thousands_of_apps_are_looked_over_a_part_at_a_time():
    totals = Totals()
    count = 2 * APPS_AT_ONCE + 1
    totals.add(0, {f"app{i}": report({"192.0.2.9:22": (1, 1)})["x"] for i in range(count)}, WorkerMeasures())
    left = []
    for hour in range(3):
        for _ in range(5):
            totals.sweep(lambda: Named(set(), set()), hour * FORGET_AFTER_S)
            left.append(sum(len(measures.origins) for measures in totals.apps.values()))
    assert left == [count] * 11 + [count - APPS_AT_ONCE, 1, 0, 0]


def test_what_a_configuration_names():
    text = """
apps:
  x: {protocol: tcp/1, origin_direct: ["tcp://[2001:db8::1]:22"]}
  y: {protocol: tcp/2, load_balancer: b}
pools: {p: {origins: [{name: o, address: 192.0.2.1, port: 1}]}}
load_balancers: {b: {default_pools: [p]}}
"""
    config = load_text(text, "f")
    snapshot = compile_snapshot(config, 1, Numbers(MAX_NUMBERS).plan(labels(config.pools), bool))
    names = {"A a.example": ("192.0.2.2",), "SRV _s._tcp.example": ("10 60.0 5060 192.0.2.3",)}
    assert named(snapshot, names) == Named({"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"}, set())


async def test_what_is_gone_is_looked_for_while_the_daemon_serves(monkeypatch):
    monkeypatch.setattr(module, "SWEEP_EVERY_S", 0.001)
    totals, swept = Totals(), asyncio.Event()
    served = Served(load_text("apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}", "f"))

    def sweep(get_named, now):
        assert get_named() == named(served.snapshot, {})
        swept.set()

    monkeypatch.setattr(totals, "sweep", sweep)
    ((_, job),) = TotalsActor(totals, served, {}, {}).jobs().items()
    tasks = Tasks()
    tasks.start(job(), "job")
    await asyncio.wait_for(swept.wait(), 5)
    await tasks.stop()


def test_connections_of_a_lost_worker_wait_for_nobody():
    totals = Totals()
    for worker in range(2):
        measures = AppMeasures()
        measures.origin("192.0.2.1:22").preconnect((5, 1, 1, 0, 2))
        totals.add(worker, {"x": measures}, WorkerMeasures())
    counted = totals.apps["x"].origins["192.0.2.1:22"]
    assert counted.preconnected == 6
    totals.lose(0)
    counted = totals.apps["x"].origins["192.0.2.1:22"]
    assert counted.preconnected == 3
    assert counted.preconnects == {"opened": 10, "used": 2, "lost": 2, "closed": 3, "failed": 4}
    totals.lose(0)
    assert totals.apps["x"].origins["192.0.2.1:22"].preconnected == 3


async def test_figures_are_few_numbers_of_each_app():
    totals = Totals()
    seen = AppMeasures(started=5, bytes_from_client=7, bytes_from_origin=8)
    for reason in (Reason.CLIENT_CLOSED, Reason.CONNECT_REFUSED, Reason.NO_ORIGIN, Reason.CLIENT_BLOCKED):
        seen.end(reason)
    totals.add(0, {"x": seen}, WorkerMeasures())
    text = "apps: {x: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1']}}"
    one = change(text, text)
    (resource,) = TotalsActor(totals, Served(one.before.config), {}, {}).resources()
    told = await resource.answer(ResourceRequest({}))
    assert (resource.path, told["keys"], told["paused"]) == ("/apps/figures", FIGURES, [])
    assert dict(zip(told["keys"], msgspec.json.decode(told["apps"])["x"], strict=True)) == {
        "sessions": seen.active,
        "started": 5,
        "failed": 2,
        "refused": 1,
        "bytes_from_client": 7,
        "bytes_from_origin": 8,
    }
