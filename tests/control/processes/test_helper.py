"""The helper's process as the supervisor has it."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from spectrum.control.processes import helper as module
from spectrum.control.processes.helper import Helper
from spectrum.kernel.filter.drops import Drops
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import RECEIVE_BUFFER_BYTES
from spectrum.link.helper import (
    Done,
    Filtered,
    Greet,
    Greeting,
    RemoveFilter,
    RemoveOffload,
    SetDrops,
    SetFilter,
    UndoFilter,
)


@pytest.fixture
def helper(tmp_path):
    made = Helper(tmp_path)
    yield made
    made.close()


def pid_of(helper):
    return int(helper.state.removeprefix("on: pid "))


def of_process(pid, *names):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [lines[name].strip() for name in names]


def test_it_is_started_when_it_is_needed(helper):
    assert (helper.state, helper.is_lost, helper.has_pins(), helper.another()) == ("off", False, False, None)
    helper.start()
    pid = pid_of(helper)
    answer, _ = helper.ask(Greet(), Greeting)
    assert answer.pid == pid
    with pytest.raises(PinError, match="the filter is off"):
        helper.ask(SetDrops("ddos", Drops()), Filtered)
    helper.close()
    assert not Path(f"/proc/{pid}").exists(), "it ends with its line"


def test_it_keeps_three_capabilities_and_no_other_right(helper):
    helper.start()
    pid = pid_of(helper)
    mask = f"{1 << 12 | 1 << 38 | 1 << 39:016x}"
    assert of_process(pid, "CapPrm", "CapEff", "CapBnd") == [mask] * 3
    assert of_process(pid, "CapInh", "CapAmb", "NoNewPrivs", "Seccomp") == ["0" * 16, "0" * 16, "1", "2"]
    # A terminal's or an operator's signals to all processes leave it: it ends with those who ask.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(pid, number)
    assert helper.ask(Greet(), Greeting)[0].pid == pid
    assert sorted(os.listdir(f"/proc/{pid}/fd"), key=int)[3:] == [os.listdir(f"/proc/{pid}/fd")[-1]]


async def test_a_killed_one_is_reported_and_another_one_started_by_root(helper, monkeypatch, caplog):
    monkeypatch.setattr(module, "WATCH_INTERVAL_S", 0.01)
    helper.start()
    first = pid_of(helper)
    os.kill(first, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await helper.watch()
    assert "another one is started when it is needed" in caplog.text
    assert "SIGKILL" in helper.state
    assert not helper.is_lost
    assert helper.ask(Greet(), Greeting)[0].pid != first


def test_once_root_is_left_it_is_lost(helper, caplog):
    helper.start()
    helper.leave_root()
    assert helper.ask(RemoveFilter(), Done)[0] == Done(False)
    assert not helper.is_done(RemoveFilter()), "it can be done"
    os.kill(pid_of(helper), signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(PinError, match=r"there is no helper \(pid .*SIGKILL\), and only root can start one"):
            helper.ask(Greet(), Greeting)
    assert helper.is_lost
    assert "only root can start one" in caplog.text
    assert helper.is_done(RemoveFilter())
    assert not helper.is_done(SetFilter(["lo"], FilterSettings(), Drops()))
    assert helper.another() is None
    with pytest.raises(PinError, match="only root can start one"):
        helper.start()


def test_one_that_hangs_is_killed_by_root(helper, monkeypatch, caplog):
    """Another one does what it was asked for."""
    helper.start()
    first = pid_of(helper)
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 1.0)
    os.kill(first, signal.SIGSTOP)
    assert helper.ask(RemoveFilter(), Done) == (Done(False), [])
    assert f"the helper is gone (pid {first}: it does not answer); another one is started" in caplog.text
    assert not Path(f"/proc/{first}").exists(), "it would do late what it was asked for"
    assert pid_of(helper) != first


def test_once_root_is_left_one_that_hangs_is_lost(helper, monkeypatch, caplog):
    """What was its last work is still done then: whoever changes something else goes on."""
    helper.start()
    helper.leave_root()
    helper.ask(RemoveFilter(), Done)
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.1)
    os.kill(pid_of(helper), signal.SIGSTOP)
    assert helper.ensure(RemoveFilter(), Done) is None
    assert "it does not answer), and only root can start one" in caplog.text
    with pytest.raises(PinError, match="it does not answer"):
        helper.ensure(RemoveOffload(), Done)


def test_what_is_undone_is_not_done(helper, monkeypatch):
    """A filter that was removed, or taken back, is not there any more when its helper is lost."""
    helper.start()
    helper.leave_root()
    one, other = (SetFilter([name], FilterSettings(), Drops()) for name in ("lo", "eth0"))

    def ask(self, request, descriptors=()):
        return Filtered({}), []  # the kernel is not what is tested here

    monkeypatch.setattr(module.HelperLine, "ask", ask)
    for request in (one, other, UndoFilter()):
        helper.ask(request, Filtered)
    monkeypatch.undo()
    os.kill(pid_of(helper), signal.SIGKILL)
    with pytest.raises(PinError):
        helper.ask(Greet(), Greeting)
    assert helper.is_done(one) and not helper.is_done(other) and not helper.is_done(RemoveFilter())
    assert helper.ensure(one, Filtered) is None
    with pytest.raises(PinError, match="only root can start one"):
        helper.ensure(other, Filtered)


def test_it_continues_with_a_successor(helper, tmp_path):
    helper.start()
    helper.leave_root()
    descriptor = helper.another()
    successor = Helper(tmp_path)
    successor.leave_root()
    with pytest.raises(PinError, match="none was started"):
        successor.ask(Greet(), Greeting)
    assert successor.is_lost, "until it has this one"
    successor.adopt(descriptor)
    assert (successor.state, successor.is_lost) == (helper.state, False)
    process, helper._process = helper._process, None  # which has ended, and left its child
    helper.close()
    assert successor.ask(Greet(), Greeting)[0].pid == process.pid
    successor.close()
    process.wait(5)


def test_a_helper_of_another_version_is_not_used(helper, tmp_path, monkeypatch, caplog):
    helper.start()
    helper.leave_root()
    successor = Helper(tmp_path)
    successor.leave_root()
    descriptor = helper.another()
    monkeypatch.setattr(module, "PROTOCOL", 99)
    successor.adopt(descriptor)
    assert "the helper is of another version" in caplog.text
    with pytest.raises(PinError, match="of another version"):
        successor.ask(Greet(), Greeting)


def test_one_that_does_not_start(helper, monkeypatch, caplog):
    monkeypatch.setattr(module, "MODULE", "spectrum.nothing")
    with pytest.raises(PinError, match=r"the helper does not start: it .*, exit status 1"):
        helper.start()
    monkeypatch.setattr(module, "python_command", lambda module: ["/nowhere"])
    with pytest.raises(PinError, match="the helper does not start: no such file or directory"):
        helper.ask(Greet(), Greeting)


def test_root_takes_no_other(helper, tmp_path):
    """A successor that is root starts one itself, of its own version."""
    helper.start()
    helper.leave_root()
    successor = Helper(tmp_path)
    successor.adopt(helper.another())
    assert successor.state == "off"
    successor.start()
    assert successor.state != helper.state
    successor.close()


def test_queues_are_enlarged_where_root_is_left(helper, caplog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket() as other:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        helper.enlarge([sock.fileno()])
        helper.start()
        helper.enlarge([sock.fileno()])
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before, "root does it itself"
        helper.leave_root()
        helper.enlarge([sock.fileno()])
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * RECEIVE_BUFFER_BYTES
        helper.enlarge([other.fileno()])
        assert "receive buffers of UDP sockets are limited by net.core.rmem_max: " in caplog.text
