"""What is so now, of a supervisor whose workers do not run: reports come from the test."""

import time

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.control.http.live import MOST_LIMITS, LiveView, counts
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.usage import Usage
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason
from tests.control.supervised import made


@pytest.fixture
async def daemon(tmp_path):
    config = load_text(
        "apps: {x: {protocol: tcp/22, origin_direct: ['tcp://127.0.0.1:1']}}\n"
        f"node: {{name: fra-1}}\ncontrol: {{socket: {tmp_path}/control.sock}}",
        "x",
    )
    running = made(config)
    yield running
    running.fleet.workers.clear()
    await running.close()


def ask(daemon, view=None):
    view = view or daemon.pages._live
    return lambda after="": view.resource().answer(ResourceRequest({"after": str(after)}))


async def test_only_what_changed_is_told_after_the_first_time(daemon):
    answer = ask(daemon)
    daemon.fleet._totals.add(0, {"x": AppMeasures(started=3), "y": AppMeasures(started=1)}, WorkerMeasures())
    first = await answer()
    assert (first["is_all"], sorted(first["apps"]), first["node"]) == (True, ["x", "y"], "fra-1")
    assert (await answer(first["number"]))["apps"] == {}
    daemon.fleet._totals.add(0, {"y": AppMeasures(started=1)}, WorkerMeasures())
    second = await answer(first["number"] + 1)
    assert (second["is_all"], list(second["apps"]), second["apps"]["y"][:2]) == (False, ["y"], [2, 2])
    assert (await answer("17"))["is_all"], "it is not the one that had the last answer"


def test_what_is_counted_of_an_app():
    measures = AppMeasures(started=20, bytes_from_client=5, bytes_from_origin=7, dropped={1: 2, 3: 4})
    for reason, count in (
        (Reason.CLIENT_CLOSED, 5),
        (Reason.CLIENT_BLOCKED, 3),
        (Reason.CONNECT_REFUSED, 2),
        (Reason.UNRESOLVED, 1),
        (Reason.ORIGIN_RESET, 1),
    ):
        measures.end(reason, count)
    assert counts(measures) == [8, 20, 3, 3, 5, 7, 6, {"connect_refused": 2, "unresolved": 1}]


async def test_findings_of_workers_and_the_configuration(daemon, tmp_path):
    answer = ask(daemon)
    assert (await answer())["troubles"] == []
    worker = daemon.fleet.workers[0] = WorkerProcess(0, daemon.fleet._heard, print, tmp_path / "control.sock")
    worker.stalled, worker.deaf = True, 3
    daemon.fleet._begins_at[1] = time.monotonic() + 60
    daemon.fleet._totals.worker_ended_at = time.time() - 60
    daemon.fleet.ends[0] = "killed by SIGKILL"
    daemon.reloads.refusal, daemon.reloads.refused_at = "apps.x: no", 17.0
    found = {one["kind"]: one for one in (await answer())["troubles"]}
    assert {kind: one["severity"] for kind, one in found.items()} == {
        "worker_missing": "failed",
        "worker_stalled": "failed",
        "worker_deaf": "failed",
        "worker_replaced": "degraded",
        "reload_refused": "degraded",
    }
    assert found["worker_replaced"]["facts"]["why"] == "killed by SIGKILL"
    assert (found["reload_refused"]["since"], found["reload_refused"]["facts"]) == (17.0, {"why": "apps.x: no"})
    for seconds in (-7200, 7200):  # it was long ago; the clock was set back
        daemon.fleet._totals.worker_ended_at = time.time() + seconds
        assert "worker_replaced" not in {one["kind"] for one in (await answer())["troubles"]}


class Limited:
    """A feature with limits."""

    def __init__(self):
        self.asked = 0

    async def usage(self):
        self.asked += 1
        return [
            Usage("sessions", "x", 95, 100, "apps.x.limits.sessions"),
            Usage("memory", "node", 10, 10, "limits.memory"),
            Usage("flows", "x", 1, 100, "apps.x.limits.flows"),
            *(Usage("descriptors", f"p{i}", 91, 100, "") for i in range(MOST_LIMITS)),
        ]

    def troubles(self):
        return ()


async def test_limits_that_are_near_are_reported_and_seldom_looked_at(daemon):
    actor = Limited()
    view = LiveView(daemon.served, daemon.reloads, daemon.fleet, daemon.fleet._totals, [actor])
    answer = ask(daemon, view)
    for _ in range(3):
        found = [one for one in (await answer())["troubles"] if one["kind"] == "limit_near"]
    assert actor.asked == 1 and len(found) == MOST_LIMITS
    assert [(one["severity"], one["section"], one["name"]) for one in found[:2]] == [
        ("failed", "", ""),
        ("degraded", "apps", "x"),
    ]
    assert found[1]["facts"]["setting"] == "apps.x.limits.sessions"


async def test_many_apps_let_others_have_their_turn(daemon):
    daemon.fleet._totals.add(0, {f"a{i}": AppMeasures(started=1) for i in range(1000)}, WorkerMeasures())
    assert len((await ask(daemon)())["apps"]) == 1000
