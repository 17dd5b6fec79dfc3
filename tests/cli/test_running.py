import json
import os
import signal

from spectrum import __version__
from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon


def test_no_daemon(tmp_path):
    for command in ("status", "reload"):
        result = spectrum(command, "--socket", tmp_path / "none")
        assert result.exit_code == 1
        assert result.stderr.startswith("no daemon answers on")


def test_status_and_reload(tmp_path, free_port):
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    with Daemon(tmp_path, text) as daemon:
        shown = spectrum("status", "--socket", daemon.socket)
        assert shown.exit_code == 0
        assert "serving, pid" in shown.output
        as_json = json.loads(spectrum("status", "--json", "--socket", daemon.socket).output)
        assert as_json["apps"][0]["name"] == "x"
        assert spectrum("reload", "--socket", daemon.socket).output == "reloaded, nothing changed\n"
        daemon.write(text.replace("127.0.0.1:1]", "127.0.0.1:2]") + "\nworkers: 2")
        changed = spectrum("reload", "--socket", daemon.socket).output.splitlines()
        assert changed[-1] == "reloaded" and changed[-2].startswith("requires a restart: workers"), changed
        daemon.write("apps: {x: {}}")
        refused = spectrum("reload", "--socket", daemon.socket)
        assert refused.exit_code == 1
        assert f"{daemon.path}:1:" in refused.stderr


def test_explain_and_samples(tmp_path, free_port):
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    with Daemon(tmp_path, text) as daemon:
        explain = ("explain", "--socket", daemon.socket, "--client", "192.0.2.1", "--app")
        assert spectrum(*explain, "x").output.startswith("1. ")
        assert json.loads(spectrum(*explain, "x", "--json").output)["steps"]
        refused = spectrum(*explain, "y")
        assert (refused.exit_code, refused.output) == (1, refused.stderr)
        refused = spectrum("samples", "--socket", daemon.socket)
        assert refused.exit_code == 1 and refused.stderr


def test_upgrade(tmp_path, free_port):
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    with Daemon(tmp_path, text) as daemon:
        done = spectrum("upgrade", "--socket", daemon.socket)
        assert done.exit_code == 0, done.output
        assert done.output == f"upgraded from {__version__} to {__version__}, pid {daemon.status()['pid']}\n"
        os.kill(daemon.status()["pid"], signal.SIGTERM)
        assert daemon.process.wait(10) == 0


SAMPLES = {
    "top": [
        {"verdict": "passed", "source": "192.0.2.1", "packets_per_second": 5.0, "bytes_per_second": 500.0},
        {"verdict": "dropped", "source": "192.0.2.200", "packets_per_second": 1.0, "bytes_per_second": 60.0},
    ]
}


def test_samples_are_a_table(monkeypatch):
    monkeypatch.setattr("spectrum.cli.running.ask_daemon", lambda *_: SAMPLES)
    assert spectrum("samples", "--by", "verdict,source").output.splitlines() == [
        "verdict  source       packets per second  bytes per second",
        "passed   192.0.2.1    5.0                 500.0",
        "dropped  192.0.2.200  1.0                 60.0",
    ]
    assert json.loads(spectrum("samples", "--json").output) == SAMPLES
