import json
import os
import signal
import socket
import subprocess

from spectrum.control.processes.succession import OPTION
from spectrum.kernel.installation import python
from tests.certificates import Authority
from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

GOOD = "apps: {x: {protocol: tcp/22, origin_direct: [tcp://192.0.2.1:22]}}\n"


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


def test_wrong_command_lines():
    assert spectrum("run", "--workers", "0").exit_code == 2
    assert "--watch: standard input cannot be read again" in spectrum("run", "--watch", "-c", "-").stderr


def test_check_prints_each_file(tmp_path):
    path, more = tmp_path / "f.yaml", tmp_path / "teams" / "a.yaml"
    more.parent.mkdir()
    path.write_text(f"include: [teams/*]\n{GOOD}")
    more.write_text(GOOD.replace("x:", "y:").replace("/22", "/23"))
    result = spectrum("check", "-c", path)
    assert result.output == f"{path}: 1 app\n{more}: 1 app\n2 files: 2 apps on 2 listeners, no faults\n"


def test_check_of_standard_input():
    command = [*python("spectrum"), "check", "-c", "-"]
    done = subprocess.run(command, input=GOOD, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "standard input: 1 app on 1 listener, no faults\n")
    done = subprocess.run(command, input="apps: 5", capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr[:20]) == (1, "standard input:1:7: ")


def test_a_file_from_standard_input_outlives_an_upgrade(tmp_path, free_port):
    control = tmp_path / "s"
    text = (
        f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
        f"control: {{socket: {control}}}\n"
    )
    command = [*python("spectrum"), "run", "-c", "-", "--workers", "1"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    process.stdin.write(text.encode())
    process.stdin.close()
    pids = [process.pid]
    try:
        eventually(lambda: "serving" in (tmp_path / "log").read_text(), 60)
        assert "cannot be read again" in spectrum("reload", "--socket", control).stderr
        for _ in range(2):
            upgraded = spectrum("upgrade", "--socket", control)
            assert upgraded.exit_code == 0, upgraded.output
            pids.append(int(upgraded.output.split()[-1]))
    finally:
        os.kill(pids[-1], signal.SIGTERM)
        process.wait(30)


def test_run_serves_until_it_is_told_to_end(tmp_path, free_port):
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    with Daemon(tmp_path, text) as daemon:
        assert len(daemon.worker_pids()) == 1
    assert daemon.process.returncode == 0


def test_run_tells_why_it_cannot_serve(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "f.yaml"
        path.write_text(
            f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
            f"control: {{socket: {tmp_path / 'socket'}}}\n"
        )
        command = [*python("spectrum"), "run", "-c", path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and "in use" in done.stderr


def test_a_successor_tells_its_predecessor_of_faults(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("apps: {x: {}}\n")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    result = spectrum("run", "-c", path, OPTION, theirs.detach())
    assert result.exit_code == 1
    with ours:
        assert f"{path}:1:" in json.loads(ours.recv(65536))["errors"][0]


def test_check_tells_what_run_would_refuse(tmp_path):
    path = tmp_path / "f.yaml"
    for text, says in (
        ("api: {}", ":2:6: api: its process does not run as root: name its user"),
        (
            f"user: nobody\napi: {{listen: 'unix:{tmp_path}/api.sock'}}",
            f"api.listen: unix:{tmp_path}/api.sock is the API's own socket beside the control socket",
        ),
        (f"api: {{user: nobody, listen: 'unix:{path}'}}", f"api.listen: {path} exists and is not a socket"),
    ):
        path.write_text(f"{GOOD}{text}\ncontrol: {{socket: '{tmp_path}/control.sock'}}\n")
        for command in ("check", "run"):
            result = spectrum(command, "-c", path)
            assert (result.exit_code, says in result.stderr) == (1, True), result.stderr
            assert len(result.stderr.splitlines()) == 1


def test_check_tells_of_a_control_folder_that_others_can_write(tmp_path, monkeypatch):
    path, folder = tmp_path / "f.yaml", tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    path.write_text(GOOD)
    for command in ("check", "run"):
        result = spectrum(command, "-c", path)
        assert result.exit_code == 1
        assert "can be written by other users (mode 0777); remove it, or set control.socket" in result.stderr
    path.write_text(f"{GOOD}control: {{socket: {folder}/control.sock}}\n")
    result = spectrum("check", "-c", path)
    assert (result.exit_code, "could answer in place of this daemon" in result.stderr) == (0, True)


def test_check_warns_of_what_does_nothing(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(f"{GOOD}rulesets: {{default: {{}}}}\n")
    result = spectrum("check", "-c", path)
    assert result.exit_code == 0 and result.stderr.startswith("warning: rulesets: default does nothing while no")


def test_check_warns_of_certificates_that_have_expired(tmp_path):
    chain, key = Authority().issue("a.example", days=-3).write(tmp_path, "a")
    path = tmp_path / "f.yaml"
    path.write_text(f"{GOOD}certificates: {{a: {{certificate: {chain}, key: {key}}}}}\n")
    result = spectrum("check", "-c", path)
    assert result.exit_code == 0
    assert result.stderr == "warning: certificate a expired 3 days ago\n"
    assert result.stdout == f"{path}: 1 app on 1 listener, no faults\n"
