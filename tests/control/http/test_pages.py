"""What one sees of a daemon while it starts, and when a worker is not well; the rest is in tests/e2e/test_daemon.py."""

import asyncio

from spectrum.control.configuration.loader import load_text
from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.records.measures import WorkerMeasures
from spectrum.link.takeover import Measures
from spectrum.tasks import Tasks
from tests.control.keepers import until
from tests.control.supervised import made


def config(port, tmp_path):
    return load_text(
        f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}",
        "x",
    )


async def test_who_asks_while_it_starts_is_answered(tmp_path, free_port, monkeypatch):
    """A silent name server, or thousands of listeners, make a start last; the control socket is there first."""
    text = (
        "pools: {p: {origins: [{name: o, address: 127.0.0.1, port: 1}]}}\nload_balancers: {b: {default_pools: [p]}}\n"
        f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], load_balancer: b}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}"
    )
    running = made(load_text(text, "x"))
    reached, asked = asyncio.Event(), asyncio.Event()

    async def slow(names):
        reached.set()
        await asked.wait()

    monkeypatch.setattr(running.features.names, "watch", slow)
    daemon = Tasks().start(running.run(), "daemon")
    await reached.wait()
    status = await running.pages.status()
    assert (status["generation"], status["pools"], bytes(status["apps"]), status["starting"]) == (0, [], b"[]", True)
    assert b"spectrum_build_info" in await running.pages.metrics()
    assert (await running.reloads.reload()).errors == ["the daemon is not serving yet"]
    asked.set()
    await until(running.pages.ready)
    await until(lambda: running.served.is_live)
    status = await running.pages.status()
    assert ([pool["name"] for pool in status["pools"]], status["starting"]) == (["p"], False)
    running.stop()
    await daemon


async def test_a_worker_that_does_not_watch_a_listener_is_not_ready(tmp_path, free_port):
    running = made(config(free_port(), tmp_path))
    fleet = running.fleet
    worker = fleet.workers[0] = WorkerProcess(0, fleet._heard, print, tmp_path / "control.sock")
    worker.life.tell(1)
    worker.life.answer(1)
    for deaf in (0, 2, 0):
        fleet._heard(worker, Measures(0, False, {}, WorkerMeasures(), 0, False, deaf=deaf))
        assert running.pages.ready() == (not deaf)
        assert fleet.status()[0]["deaf"] == deaf
    fleet.workers.clear()
    await running.close()
