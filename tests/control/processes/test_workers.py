import asyncio
import errno
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.control.processes.workers import WorkerProcess, last_line
from spectrum.core.balancing.pools import Standing
from spectrum.core.configuration.config import Config
from spectrum.core.difference import Difference
from spectrum.core.features import compile_snapshot
from spectrum.kernel.descriptors import memory_file
from spectrum.kernel.sockets import open_listeners
from spectrum.link.messages import Applied, Ask
from spectrum.link.snapshots import encode_difference, encode_snapshot, read_snapshot
from spectrum.link.takeover import Measures
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Tasks
from tests.control.keepers import until


@pytest.fixture
def flows():
    """A memory file for UDP flows."""
    descriptor = os.memfd_create("flows")
    yield descriptor
    os.close(descriptor)


def snapshot(port, generation=1):
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    return compile_snapshot(load_text(text, "x"), generation)


@pytest.fixture
def shared():
    memory = SharedMemory(5, 64)
    yield memory
    memory.close()


def test_a_memory_file_holds_the_snapshot():
    made = snapshot(22)
    descriptor = memory_file("snapshot", encode_snapshot(made))
    assert read_snapshot(descriptor) == made
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


async def test_a_worker_lives(free_port, flows, shared):
    heard, exits = [], []
    worker = WorkerProcess(
        4,
        lambda _, message: heard.append(message),
        lambda w, status: exits.append((w.number, status)),
        Path("/nowhere/control.sock"),
    )
    assert worker.pid == 0
    worker.start(flows, shared)
    ended = Tasks().start(worker.wait(), "wait")
    port = free_port()
    listeners = open_listeners("127.0.0.1", port, 1)
    for generation in (1, 2):
        wanted = snapshot(port, generation)
        files = [memory_file("snapshot", encode_snapshot(wanted)), memory_file("prefixes", load_access(Config())[1])]
        worker.tell_names({"A x": ("192.0.2.1",)})
        worker.tell_health({number: Standing(True) for number in range(1, 5000)}, {"a": 0.1})
        keys = frozenset(wanted.listener_keys())
        outcome = worker.configure(
            generation, keys, list(keys - worker.known), files, lambda keys: dict.fromkeys(keys, listeners[0].fileno())
        )
        for descriptor in files:
            os.close(descriptor)
        assert await asyncio.wait_for(outcome, 10) == ""
    assert worker.life.serves and worker.serves(2) and not worker.serves(1)
    assert Applied(2) in heard
    after = snapshot(port, 3)
    change = Difference(2, 3, wanted.apps, after.apps)
    descriptor = memory_file("difference", encode_difference(change))
    outcome = worker.change(change, [descriptor], lambda keys: dict.fromkeys(keys, listeners[0].fileno()))
    os.close(descriptor)
    assert await asyncio.wait_for(outcome, 10) == ""
    assert worker.serves(3)
    worker.tell(Ask(5))
    async with asyncio.timeout(5):
        while not any(isinstance(message, Measures) and message.number == 5 for message in heard):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    worker.drain(1)
    await asyncio.wait_for(ended, 10)
    assert exits == [(4, 0)]

    worker.kill()
    for sock in listeners:
        sock.close()


async def test_a_worker_that_is_given(flows, shared):
    worker = WorkerProcess(4, lambda *_: None, lambda *_: None, Path("/nowhere/control.sock"))
    with ExitStack() as opened:
        assert worker.give(opened) is None
        worker.start(flows, shared)
        ended = Tasks().start(worker.wait(), "wait")
        await asyncio.wait_for(worker.started.wait(), 10)
        given = worker.give(opened)
        assert (given.place, given.pid, given.relieved) == (4, worker.pid, False)
        assert str(worker) == f"worker 4 (pid {worker.pid})"
        channel = os.dup(given.channel)
        worker.detach()
        assert worker.give(opened) is None
        signal.pidfd_send_signal(given.process, signal.SIGKILL)
    os.close(channel)
    await asyncio.wait_for(ended, 10)


async def test_a_worker_that_cannot_be_started(flows, shared, monkeypatch):
    def fail(command, *_):
        raise OSError(errno.EAGAIN, "x")

    monkeypatch.setattr("spectrum.control.processes.workers.Child", fail)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="x"):
        WorkerProcess(4, lambda *_: None, lambda *_: None, Path("/x")).start(flows, shared)
    assert os.listdir("/proc/self/fd") == before


async def test_a_killed_worker_is_reported(flows, shared):
    exits = []
    worker = WorkerProcess(4, lambda *_: None, lambda _, status: exits.append(status), Path("/x"))
    worker.start(flows, shared)
    worker.kill()
    await asyncio.wait_for(worker.wait(), 5)
    assert exits == [-9]


async def test_a_worker_that_does_not_read_is_told_the_last_word_only(flows, shared):
    worker = WorkerProcess(4, lambda *_: None, lambda *_: None, Path("/x"))
    worker.start(flows, shared)
    await asyncio.wait_for(worker.started.wait(), 10)
    ended = Tasks().start(worker.wait(), "wait")
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        files = [memory_file("snapshot", b"x"), memory_file("prefixes", load_access(Config())[1])]
        outcome = worker.configure(7, frozenset(), [], files, lambda keys: {})
        for descriptor in files:
            os.close(descriptor)
        for round_ in range(200):
            worker.tell_names({f"A x{number}": ("192.0.2.1",) * 20 for number in range(500)})
            worker.tell_health({number: Standing(round_ % 2 == 0) for number in range(1, 2000)}, {"a": 0.1})
            worker.tell_tickets([bytes([round_]) * 80])
        worker.ask(1)
        waiting = len(worker._channel._waiting)
        assert waiting < 10, "a second or two of what was told"
        assert worker.life.owes
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    await until(lambda: not worker._channel.waits and not worker._late_names)
    assert await asyncio.wait_for(outcome, 10)
    worker.kill()
    await asyncio.wait_for(ended, 10)
    assert worker.life.told == 7 and not worker.life.owes


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ('x\n{"Timestamp": "t", "Level": "error", "Message": "no room"}\n', "no room"),
        ("[1]", "[1]"),
        ('{"other": 1}', '{"other": 1}'),
    ],
)
def test_the_last_line(said, line):
    assert last_line(said) == line
