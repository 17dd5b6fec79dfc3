"""Workers that are really started, killed, replaced, asked and drained."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.control.listeners import ListenerBank
from spectrum.control.processes import fleet as fleets
from spectrum.control.processes.fleet import (
    MAX_BACKOFF_S,
    PART_OF_STRIKE,
    START_SILENCE_S,
    Fleet,
    patience,
    pause_after,
)
from spectrum.control.records.totals import Totals
from spectrum.core.configuration.config import Config
from spectrum.core.features import compile_snapshot
from spectrum.core.life.worker import WorkerEvent, WorkerLife
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason
from spectrum.kernel.descriptors import memory_file
from spectrum.kernel.sockets import open_listeners
from spectrum.link.snapshots import encode_snapshot
from spectrum.link.takeover import Events, Measures, Take
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Tasks
from tests.control.keepers import until
from tests.control.orphans import Orphan


async def test_workers_are_replaced_asked_and_drained(free_port):
    port = free_port()
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    snapshot, listeners = compile_snapshot(load_text(text, "x"), 1), open_listeners("127.0.0.1", port, 2)
    heard, totals, memory, tasks = [], Totals(), SharedMemory(2, 64), Tasks()

    def serve(workers):
        files = [memory_file("snapshot", encode_snapshot(snapshot)), memory_file("prefixes", load_access(Config())[1])]
        for worker in workers:
            found = listeners[worker.number].fileno()
            keys = frozenset(snapshot.listener_keys())
            worker.configure(
                snapshot.generation, keys, list(keys), files, lambda keys, found=found: dict.fromkeys(keys, found)
            )
        for descriptor in files:
            os.close(descriptor)

    fleet = Fleet(Path("/nowhere/control.sock"), 2, memory, totals, serve, heard.append, lambda: 0.0)
    await fleet.take_over([], None)
    fleet.start(tasks)
    await until(lambda: len(fleet.serving()) == 2)
    before = [worker["pid"] for worker in fleet.status()]
    assert [worker["ready"] for worker in fleet.status()] == [True, True]
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: totals.worker_restarts == 1 and len(fleet.serving()) == 2)
    after = [worker["pid"] for worker in fleet.status()]
    assert after[0] != before[0] and after[1] == before[1]

    socket.create_connection(("127.0.0.1", port)).close()  # its origin refuses, so asyncio may see the reset only
    await until(lambda: heard)
    assert (heard[0].count, b"connect_refused" in heard[0].lines) == (1, True)
    await fleet.ask()
    assert totals.apps["x"].started == 1

    fleet.drain(5)
    await asyncio.wait_for(fleet.empty.wait(), 10)
    assert (fleet.workers, totals.worker_restarts) == ({}, 1)
    await fleet.end(ends_former_workers=True)
    await tasks.stop()
    fleet.close()
    memory.close()
    for sock in listeners:
        sock.close()


async def test_workers_that_are_ended_stay_so(free_port):
    totals, memory, tasks = Totals(), SharedMemory(1, 64), Tasks()
    fleet = Fleet(Path("/nowhere/control.sock"), 1, memory, totals, lambda workers: None, print, lambda: 0.0)
    fleet.start(tasks)
    await until(lambda: fleet.workers and fleet.workers[0].started.is_set())
    assert fleet.serving() == []
    await fleet.ask()  # nobody is
    (pid,) = [worker.pid for worker in fleet.all()]
    await fleet.end(ends_former_workers=False)
    assert not Path(f"/proc/{pid}").exists()
    await tasks.stop()
    fleet.close()
    memory.close()


def test_a_worker_that_has_said_nothing_yet_gets_the_time_of_a_start():
    life = WorkerLife()
    assert [patience(life, limit_s) for limit_s in (0, 3, 60)] == [0, START_SILENCE_S, 60]
    life.handle(WorkerEvent.STARTED)
    life.tell(1)
    assert [patience(life, limit_s) for limit_s in (0, 3, 60)] == [0, 3, 60]


async def test_a_worker_that_does_not_serve_in_time_is_ended_before_an_upgrade(monkeypatch):
    monkeypatch.setattr(fleets, "HOLD_TIMEOUT_S", 0.1)
    totals, memory, tasks = Totals(), SharedMemory(1, 64), Tasks()
    fleet = Fleet(Path("/nowhere/control.sock"), 1, memory, totals, lambda workers: None, print, lambda: 0.0)
    fleet.start(tasks)
    await until(lambda: fleet.workers and fleet.workers[0].started.is_set())
    await fleet.hold()
    with ExitStack() as opened:
        assert fleet.give(opened) == []
    await until(lambda: totals.worker_restarts == 1)
    await asyncio.sleep(0.2)
    assert fleet.workers == {}  # none begins
    fleet.keep()
    await until(lambda: fleet.workers)
    await fleet.end(ends_former_workers=False)
    await tasks.stop()
    fleet.close()
    memory.close()


async def test_a_worker_that_ends_while_others_are_taken_over_is_nobody_to_wait_for(tmp_path):
    control, heard = tmp_path / "control.sock", []
    totals, memory = Totals(), SharedMemory(1, 64)
    fleet = Fleet(control, 1, memory, totals, lambda workers: None, heard.append, lambda: 0.0)
    bank = ListenerBank()
    ending, staying = Orphan(control, 0), Orphan(control, 1, silent=True)

    async def end():
        """The one that is taken first ends before the other one answers."""
        await until(lambda: staying.messages == [Take()])
        ending.channel.send(Events(1, b"{}\n"))
        ending.channel.send(Measures(0, False, {"x": AppMeasures(started=2)}, WorkerMeasures(), 2, False))
        ending.close()
        await until(lambda: "x" in totals.apps and totals.apps["x"].ended)
        staying.introduce()

    await asyncio.gather(fleet.take_over([], bank), end())
    assert [former.place for former in fleet.all()] == [1]
    assert [message.count for message in heard] == [1]
    assert totals.apps["x"].ended == {Reason.WORKER_LOST: 2}
    fleet.drain(1)
    staying.close()
    await asyncio.wait_for(fleet.empty.wait(), 5)
    bank.drop_adopted()
    fleet.close()
    memory.close()


def test_pauses_grow():
    assert [pause_after(strikes) for strikes in (0, PART_OF_STRIKE, 1, 2, 3)] == [0, 0, 0.1, 0.2, 0.4]
    assert pause_after(20) == pause_after(5000) == MAX_BACKOFF_S


async def test_a_place_is_kept_whatever_fails(tmp_path, monkeypatch):
    """The supervisor cannot tell the first worker what to serve; later ones cannot start at all."""
    told = []

    def serve(workers):
        told.extend(workers)
        raise OSError(24, "Too many open files")

    totals, memory, tasks = Totals(), SharedMemory(1, 64), Tasks()
    fleet = Fleet(Path("/nowhere/control.sock"), 1, memory, totals, serve, print, lambda: 0.0)
    fleet.start(tasks)
    await until(lambda: len(told) == 2)
    assert fleet.ends == {0: "killed by SIGKILL"}
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    await until(lambda: fleet.ends[0].startswith("it cannot be started: "))
    await until(fleet.pauses)
    assert fleet.workers == {} and fleet.pauses()[0] > 0
    monkeypatch.undo()
    before = len(told)
    await until(lambda: len(told) > before)
    await fleet.end(ends_former_workers=False)
    await tasks.stop()
    assert fleet.pauses() == {}
    fleet.close()
    memory.close()
