import json
import socket

import pytest
from click.testing import CliRunner

from spectrum.cli.main import main
from tests.e2e.daemon import Daemon

GOOD = "apps: {x: {protocol: tcp/22, origin_direct: [tcp://192.0.2.1:22]}}\n"


def spectrum(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["status"], ["reload"], ["origin"]])
def test_help(command):
    result = spectrum(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_check(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(GOOD)
    result = spectrum("check", "-c", path)
    assert (result.exit_code, result.output) == (0, f"{path}: 1 app on 1 listener, no faults\n")


def test_check_prints_every_fault(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("apps:\n  x: {protocl: tcp/22}\n")
    for command in ("check", "run"):
        result = spectrum(command, "-c", path)
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"{path}:2:") for line in lines)


def test_no_daemon(tmp_path):
    for command in ("status", "reload"):
        result = spectrum(command, "--socket", tmp_path / "none")
        assert result.exit_code == 1
        assert result.stderr.startswith("no daemon answers on")


def test_wrong_command_lines():
    assert spectrum("run", "--workers", "0").exit_code == 2
    assert spectrum("origin").exit_code == 2
    assert spectrum("origin", "--tcp", "nowhere").exit_code == 2
    assert spectrum("fly").exit_code == 2


def test_an_address_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = spectrum("origin", "--tcp", f"127.0.0.1:{taken.getsockname()[1]}")
        assert result.exit_code == 1
        assert "in use" in result.stderr


def test_status_and_reload(tmp_path, free_port):
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    with Daemon(tmp_path, text) as daemon:
        shown = spectrum("status", "--socket", daemon.socket)
        assert shown.exit_code == 0
        assert "serving, pid" in shown.output
        as_json = json.loads(spectrum("status", "--json", "--socket", daemon.socket).output)
        assert as_json["apps"][0]["name"] == "x"
        assert spectrum("reload", "--socket", daemon.socket).output == "reloaded, nothing changed\n"
        daemon.write("apps: {x: {}}")
        refused = spectrum("reload", "--socket", daemon.socket)
        assert refused.exit_code == 1
        assert f"{daemon.path}:1:" in refused.stderr
