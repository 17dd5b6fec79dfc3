"""The helper's loop, with lines to several supervisors."""

import os
import socket
import threading

import pytest

from spectrum.helper import serving
from spectrum.helper.serving import HelperServer
from spectrum.helper.work import RequestHandler
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.filter.drops import Drops
from spectrum.link.helper import PROTOCOL, Done, Greet, Greeting, HelperLine, NotDone, OpenLine, RemoveFilter, SetDrops
from tests.engine.harness import eventually


@pytest.fixture
def line(tmp_path):
    """A line to one that serves; it ends with the test."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    thread = threading.Thread(target=HelperServer(HelperLine(theirs), RequestHandler(tmp_path)).run)
    thread.start()
    line = HelperLine(ours)
    line.limit(5)
    yield line
    line.close()
    thread.join(5)
    assert not thread.is_alive(), "it ends when nobody is left"


def one_more(line):
    _, (descriptor,) = line.ask(OpenLine())
    made = HelperLine(socket.socket(fileno=descriptor))
    made.limit(5)
    return made


def say(line, packet):
    with socket.socket(fileno=os.dup(line.fileno())) as sock:
        sock.send(packet)


def test_answers(line):
    assert line.ask(Greet()) == (Greeting(PROTOCOL, os.getpid()), [])
    assert line.ask(RemoveFilter()) == (Done(False), [])
    answer, _ = line.ask(SetDrops("ddos", Drops()))
    assert isinstance(answer, NotDone)
    # What came with a request is closed.
    with open(os.devnull, "rb") as file:
        before = len(os.listdir("/proc/self/fd"))
        line.ask(Greet(), [file.fileno()] * 300)
        assert len(os.listdir("/proc/self/fd")) == before


def test_what_it_does_not_understand_ends_nothing(line):
    say(line, b"\0\x92\xa5Later\1")
    answer, _ = line._receive()  # what `ask` waits for
    assert b"not understood" in answer
    assert line.ask(Greet())[0] == Greeting(PROTOCOL, os.getpid())


def test_a_successor_continues(line):
    successor = one_more(line)
    assert successor.ask(Greet())[0] == Greeting(PROTOCOL, os.getpid())
    line.close()
    assert successor.ask(Greet())[0] == Greeting(PROTOCOL, os.getpid())
    successor.close()


def test_so_many_at_most(line):
    lines = [one_more(line) for _ in range(serving.MAX_LINES - 1)]
    answer, _ = line.ask(OpenLine())
    assert isinstance(answer, NotDone)
    for one in lines:
        one.close()
    eventually(lambda: [close_all(given) for answer, given in [line.ask(OpenLine())] if isinstance(answer, Greeting)])


def test_one_that_stops_in_the_middle_holds_the_others_up_for_a_while_only(line, monkeypatch):
    monkeypatch.setattr(serving, "LINE_TIMEOUT_S", 0.1)
    stuck = one_more(line)
    say(stuck, b"\1")
    assert line.ask(Greet())[0] == Greeting(PROTOCOL, os.getpid())
    stuck.close()
