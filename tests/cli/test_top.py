"""AppRates from one answer to the next, what fits into a terminal, and keys on a real one."""

import json
import os
import pty
import socket
import subprocess
import sys
import time

import pytest

from spectrum.cli import top as module
from spectrum.cli.top import AppRates, TopView, Watch, as_plain, lines, ordered, printable, trouble_text
from spectrum.core.analytics.figures import NB
from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

DOWN = {
    "kind": "origin_down",
    "severity": "failed",
    "name": "db/pg-2",
    "since": 0,
    "facts": {"reason": "connect_timeout\x1b[2J", "share": {}},
}


def answer(number, at, apps, is_all=False, troubles=()):
    return {
        "at": at,
        "number": number,
        "is_all": is_all,
        "version": "1.9.0",
        "node": "edge",
        "generation": 3,
        "workers": {"serving": 2, "wanted": 2},
        "apps": apps,
        "troubles": list(troubles),
    }


FIRST = answer(1, 100.0, {"web": [5, 100, 0, 0, 1000, 2000, 0, {}], "ssh": [1, 7, 0, 0, 0, 0, 0, {}]}, is_all=True)
SECOND = answer(2, 102.0, {"web": [7, 120, 4, 2, 3000, 10_000, 0, {}]}, troubles=[DOWN])


def test_rates_are_differences_by_time():
    watch = Watch()
    assert watch.take(FIRST).totals == AppRates(6)
    view = watch.take(SECOND)
    assert watch.number == 2
    assert view.apps == {"web": AppRates(7, 10, 2, 1, 1000, 4000), "ssh": AppRates(1)}
    assert view.totals == AppRates(8, 10, 2, 1, 1000, 4000)
    # Another daemon: nothing is less than nothing, and what it does not have is gone.
    after = watch.take(answer(1, 103.0, {"web": [0, 3, 0, 0, 0, 0, 0, {}]}, is_all=True))
    assert after.apps == {"web": AppRates(0)}


def test_what_is_over_is_no_trouble():
    over = DOWN | {"kind": "attacks_ended", "severity": "past"}
    assert Watch().take(answer(1, 100.0, {}, is_all=True, troubles=[DOWN, over])).troubles == [DOWN]


def test_orders():
    apps = {"a": AppRates(1, failed=5), "c": AppRates(2, bytes_in=7), "b": AppRates(2)}
    assert [name for name, _ in ordered(apps, "sessions")] == ["b", "c", "a"]
    assert ordered(apps, "failed")[0][0] == "a"
    assert ordered(apps, "in")[0][0] == "c"
    assert [name for name, _ in ordered(apps, "app")] == ["a", "b", "c"]


def shown(view, by="sessions", width=200, height=30):
    return [line.replace(NB, " ").rstrip() for line in lines(view, by, width, height)]


def test_what_is_shown():
    watch = Watch()
    watch.take(FIRST)
    view = watch.take(SECOND)
    head, totals, _, trouble, _, *apps = shown(view)
    assert head == "spectrum 1.9.0 at edge   generation 3   2 workers, all serving   00:01:42 UTC"
    assert totals == "8 sessions   10/s new   8.00 kbit/s in   32.0 kbit/s out   2/s refused   1/s failed"
    assert trouble == "! origin down: db/pg-2 (reason connect_timeout?[2J)", "a terminal is not told what to do"
    assert [line.split() for line in apps[:3]] == [
        ["app", "sessions", "new", "in", "out", "refused", "failed"],
        ["web", "7", "10/s", "8.00", "kbit/s", "32.0", "kbit/s", "2/s", "1/s"],
        ["ssh", "1", "0/s", "0", "bit/s", "0", "bit/s", "0/s", "0/s"],
    ]
    assert shown(view, height=9)[-1] == "1 more apps"
    assert max(map(len, shown(view, width=40))) == 40


def test_many_troubles_and_workers_that_are_missing():
    view = TopView(workers=(1, 2), troubles=[DOWN | {"since": time.time() - 61}] * 10)
    told = shown(view)
    assert "1 of 2 workers serve" in told[0]
    assert told[3].startswith("! origin down: db/pg-2, for 61 s")
    assert "! and 2 more" in told
    assert trouble_text({"kind": "restart_needed", "name": "", "facts": {}}) == "restart needed:"
    assert printable("a\x00b\n") == "a?b?"


@pytest.fixture
def daemon(monkeypatch):
    asked, answers = [], iter([FIRST, SECOND])

    def ask(path, method, resource):
        asked.append(f"{method} {resource}")
        return next(answers)

    monkeypatch.setattr(module, "ask_daemon", ask)
    return asked


def test_once(daemon):
    done = spectrum("top", "--once", "--interval", "0.2", "--sort", "new")
    assert (done.exit_code, daemon) == (0, ["GET /live", "GET /live?after=1"])
    assert "web" in done.output.splitlines()[-2]


def test_json(daemon):
    done = spectrum("top", "--once", "--json", "--interval", "0.2")
    told = json.loads(done.output)
    assert (told["totals"]["new"], told["apps"][0]["app"], told["workers"]) == (10, "web", {"serving": 2, "wanted": 2})
    assert told["troubles"][0]["name"] == "db/pg-2"
    assert as_plain(TopView(), "app")["apps"] == []


def test_without_a_daemon(tmp_path):
    done = spectrum("top", "--once", "--socket", tmp_path / "none.sock")
    assert done.exit_code == 1
    assert "no daemon answers" in done.output


PROGRAM = """
import itertools, sys
from spectrum.cli import top
from tests.cli.test_top import FIRST, SECOND
answers = itertools.chain([FIRST], itertools.repeat(SECOND))
top.ask_daemon = lambda *_: next(answers)
top.top(["--interval", "0.2"], standalone_mode=False)
"""


def test_keys_on_a_terminal():
    ours, theirs = pty.openpty()
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read = []

    def says(text):
        def look():
            read.append(os.read(ours, 65536).decode(errors="replace"))
            return text in "".join(read)

        eventually(look)

    try:
        says("sorted by sessions")
        os.write(ours, b"f")
        says("sorted by failed")
        os.write(ours, b"x ")
        says("sorted by failed, paused")
        os.write(ours, b"q")
        says("\x1b[?25h\x1b[?1049l")
        assert program.wait(10) == 0
    finally:
        program.kill()
        program.wait()
        os.close(ours)


def test_a_daemon_without_the_api(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = f"apps: {{web: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.2:{port}']}}}}"
    with Daemon(tmp_path, text) as daemon:
        done = spectrum("top", "--once", "--json", "--interval", "0.2", "--socket", daemon.socket)
        told = json.loads(done.output)
    assert (done.exit_code, told["workers"]["serving"] > 0, told["totals"]["sessions"]) == (0, True, 0)
