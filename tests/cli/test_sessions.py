import json

import pytest

from spectrum.cli import sessions as module
from tests.cli.harness import spectrum

ONE = {
    "id": "100.7",
    "transport": "tcp",
    "app": "web",
    "state": "relaying",
    "client": "192.0.2.9:5000",
    "edge": "192.0.2.8:80",
    "origin": "192.0.2.1:22",
    "origin_name": "p/one",
    "age_s": 61.0,
    "idle_s": 0.5,
    "bytes_from_client": 100,
    "bytes_from_origin": 2000,
    "worker_pid": 100,
}


class Daemon:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, monkeypatch, *answers):
        self.asked, self._answers = [], list(answers)
        monkeypatch.setattr(module, "ask_daemon", self.ask)

    def ask(self, path, method, resource):
        self.asked.append(f"{method} {resource}")
        return self._answers.pop(0)


def shown(*sessions, total=None, silent=()):
    return {"sessions": list(sessions), "total": len(sessions) if total is None else total, "silent": list(silent)}


def test_a_table(monkeypatch):
    other = ONE | {"id": "u0.9", "origin": None, "origin_name": None}
    daemon = Daemon(monkeypatch, shown(ONE, other, total=5, silent=["worker pid 50"]))
    done = spectrum("sessions", "--app", "web", "--older-than", "1m", "--limit", 2)
    assert daemon.asked[0].startswith("GET /sessions?")
    assert {"app=web", "limit=2", "older_than=1m", "sort=age"} == set(daemon.asked[0].partition("?")[2].split("&"))
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["id", "app", "proto"]
    assert "192.0.2.1:22 (p/one)" in lines[1]
    assert lines[1].split()[-6:] == ["0s", "100", "B", "2.0", "kB", "relaying"]
    assert "1m 1s" in lines[1]
    assert lines[3] == "2 of 5 sessions; --limit shows more"
    assert done.stderr == "worker pid 50 does not answer: its sessions are not included\n"


def test_json_and_faults(monkeypatch):
    Daemon(monkeypatch, shown(ONE), {"errors": ["no", "never"]})
    assert json.loads(spectrum("sessions", "--json").stdout) == shown(ONE)
    done = spectrum("sessions", "--client", "x")
    assert (done.exit_code, done.stderr) == (1, "no\nnever\n")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_again_and_again(monkeypatch, options):
    daemon = Daemon(monkeypatch, shown(ONE), shown())
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    done = spectrum("sessions", "--watch", "--interval", 7, *options)
    assert isinstance(done.exception, IndexError)  # there was no third answer
    assert (slept, len(daemon.asked)) == ([7.0, 7.0], 3)
    assert done.stdout.count("\n") == (2 if options else 5)


def test_kill(monkeypatch):
    def killed(count):
        return {"killed": count, "silent": []}

    daemon = Daemon(monkeypatch, shown(total=1), killed(1))
    assert spectrum("kill", "100.7").output == "1 session ended\n"
    assert daemon.asked == ["GET /sessions?ids=100.7&limit=0", "POST /sessions/kill?ids=100.7"]
    daemon = Daemon(monkeypatch, killed(3))
    assert spectrum("kill", "--client", "192.0.2.0/24", "--yes").output == "3 sessions ended\n"
    assert daemon.asked == ["POST /sessions/kill?client=192.0.2.0%2F24&ids="]
    Daemon(monkeypatch, shown(total=2))
    done = spectrum("kill", "--app", "web")  # nobody confirms
    assert done.exit_code == 1
    assert "end 2 sessions and flows?" in done.output
    Daemon(monkeypatch, shown(total=0), killed(0))
    done = spectrum("kill", "100.7")
    assert (done.exit_code, done.stderr) == (1, "no such session is open\n")
    done = spectrum("kill")
    assert done.exit_code == 2
    assert "which sessions?" in done.stderr
