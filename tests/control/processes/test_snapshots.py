"""Workers that do not take what they are told to serve."""

import asyncio
import os
import signal

from spectrum.control.processes import snapshots
from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.life.worker import WorkerState
from tests.control.keepers import until
from tests.control.supervised import app, supervised


async def test_a_worker_that_hangs_is_reported_and_replaced(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(snapshots, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr("spectrum.control.processes.fleet.SILENT_S", 1.5)
    monkeypatch.setattr("spectrum.control.processes.fleet.LOOK_EVERY_S", 0.5)
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"worker_timeout: 6s\napps:\n{app('x', port)}", workers=2) as (daemon, write):
        pid, killed = daemon.fleet.workers[1].pid, daemon._start.totals.workers_killed
        os.kill(pid, signal.SIGSTOP)
        write(f"worker_timeout: 6s\napps:\n{app('x', port)}{app('y', new)}")
        assert (await daemon.reloads.reload()).errors == [f"worker 1 (pid {pid}) does not answer; nothing has changed"]
        await until(lambda: not daemon.pages.ready())
        page = (await daemon.pages.metrics()).decode()
        assert 'spectrum_worker_up{worker="1"} 0.0' in page
        assert [one["ready"] for one in (await daemon.pages.status())["workers"]] == [True, False]
        await until(daemon.pages.ready)
        assert daemon._start.totals.workers_killed == killed + 1
        monkeypatch.setattr(snapshots, "ANSWER_TIMEOUT_S", 10.0)
        assert (await daemon.reloads.reload()).errors == []
        assert [one["generation"] for one in (await daemon.pages.status())["workers"]] == [2, 2]


async def test_a_whole_snapshot_is_prepared_before_it_is_sent(tmp_path, free_port, monkeypatch):
    told, port = [], free_port()
    of_snapshot = snapshots._Prepared.of_snapshot
    monkeypatch.setattr(
        snapshots._Prepared, "of_snapshot", lambda self: told.append(bool(self._snapshot)) or of_snapshot(self)
    )
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        started = len(told)
        write(f"log: {{sessions: false}}\napps:\n{app('x', port)}")
        assert (await daemon.reloads.reload()).errors == []
        assert told[started:] == [False, True], "made in a thread, and told then"
        assert daemon.reloads._rollout._actors[0]._snapshots._prepared is None


async def test_a_worker_that_stops_in_the_middle_of_a_reload_catches_up(tmp_path, free_port, monkeypatch):
    """It wakes with the refused snapshot before it, and must not stay with it."""
    monkeypatch.setattr(snapshots, "ANSWER_TIMEOUT_S", 0.3)
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}", workers=2) as (daemon, write):
        write(f"apps:\n{app('y', new)}")
        pid = daemon.fleet.workers[1].pid
        commit = snapshots.WorkersActor.commit

        async def stop_first(*args):
            os.kill(pid, signal.SIGSTOP)
            await commit(*args)

        with monkeypatch.context() as patch:
            patch.setattr(snapshots.WorkersActor, "commit", stop_first)
            errors = (await daemon.reloads.reload()).errors
        assert errors[0] == f"worker 1 (pid {pid}) has not answered within 0.3 s"
        assert [worker.life.generation for worker in daemon.fleet.serving()] == [1, 1]
        os.kill(pid, signal.SIGCONT)
        stopped = daemon.fleet.workers[1]
        await until(lambda: stopped.life.state is WorkerState.SERVING and stopped.life.generation == 1)
        assert (await daemon.reloads.reload()).errors == []
        assert [worker.life.generation for worker in daemon.fleet.serving()] == [2, 2]


async def test_a_reload_waits_for_a_worker_that_has_just_begun(tmp_path, free_port, monkeypatch):
    """It may have the sockets of an app that leaves, whose ports the next reload could not open."""
    port, other = free_port(), free_port()
    without, with_other = f"apps:\n{app('x', port)}", f"apps:\n{app('x', port)}{app('y', other)}"
    async with supervised(tmp_path, with_other, workers=2) as (daemon, write):
        configure, victim = WorkerProcess.configure, daemon.fleet.workers[1]

        def stop_when_told(worker, *args):
            told = configure(worker, *args)
            os.kill(worker.pid, signal.SIGSTOP)
            return told

        with monkeypatch.context() as patch:
            patch.setattr(WorkerProcess, "configure", stop_when_told)
            victim.kill()
            await until(lambda: 1 in daemon.fleet.workers and daemon.fleet.workers[1].life.owes)
        begun = daemon.fleet.workers[1]
        assert begun is not victim
        asyncio.get_running_loop().call_later(1, os.kill, begun.pid, signal.SIGCONT)
        for text in (without, with_other):
            write(text)
            assert (await daemon.reloads.reload()).errors == []
        assert [worker.life.generation for worker in daemon.fleet.serving()] == [3, 3]
        monkeypatch.setattr(snapshots, "ANSWER_TIMEOUT_S", 2.0)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerProcess, "configure", stop_when_told)
            begun.kill()
            await until(lambda: 1 in daemon.fleet.workers and daemon.fleet.workers[1].life.owes)
        pid = daemon.fleet.workers[1].pid
        assert (await daemon.reloads.reload()).errors == [f"worker 1 (pid {pid}) does not answer; nothing has changed"]
        os.kill(pid, signal.SIGCONT)
