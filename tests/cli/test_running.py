import json

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
        daemon.write("apps: {x: {}}")
        refused = spectrum("reload", "--socket", daemon.socket)
        assert refused.exit_code == 1
        assert f"{daemon.path}:1:" in refused.stderr
