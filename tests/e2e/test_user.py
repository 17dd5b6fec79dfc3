"""A daemon that root starts and that serves as nobody: low ports, reload, replacement, upgrade."""

import os
import re
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from spectrum.cli.client import DaemonError, ask
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.processes import sockets_of
from tests.e2e.test_surroundings import greeter
from tests.engine.harness import eventually

ROOT = Path(__file__).parents[2]
# Python, its packages and the checkout may be where only root gets: here everybody finds them.
BESIDE = """
set -e
mkdir {folder}/python {folder}/packages {folder}/checkout
mount --bind {sys.base_prefix} {folder}/python
mount --bind {packages} {folder}/packages
mount --bind {checkout} {folder}/checkout
cd {folder}
export PYTHONPATH={folder}/checkout:{folder}/packages
export LD_LIBRARY_PATH={folder}/python/lib
{more}
exec {folder}/python/bin/{python} -m spectrum {command}
"""


def beside(folder, command, more=""):
    """A script that runs `spectrum` from where everybody finds it, after what is to be done before."""
    return BESIDE.format(
        folder=folder,
        sys=sys,
        packages=site.getsitepackages()[0],
        checkout=ROOT,
        python=Path(os.path.realpath(sys.executable)).name,
        more=more,
        command=command,
    )


@pytest.fixture
def folder():
    """A folder that everybody can read, other than pytest's."""
    path = Path(tempfile.mkdtemp(prefix="spectrum-user-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def of_process(pid, name):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return lines[name].split()


def runs(pid):
    """Whether a process has not ended; nobody may have asked how it did."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def daemon(folder):
    """Starts it; returns its file, its control socket, and what asks it."""
    control = folder / "run" / "control.sock"
    script = beside(folder, f"run -c {folder}/spectrum.yaml --workers 2")

    def status():
        try:
            return ask(control, "GET", "/status")
        except DaemonError:
            return {"generation": 0, "workers": []}

    def serves():
        return [worker["ready"] for worker in status()["workers"] if "relieved" not in worker] == [True, True]

    def start(text, under=""):
        (folder / "spectrum.yaml").write_text(f"{text}\nuser: nobody\ncontrol: {{socket: {control}}}\n")
        with (folder / "err.log").open("wb") as err:
            command = script.replace("exec ", f"exec {under} ")
            process = subprocess.Popen(["unshare", "--mount", "sh", "-c", command], stdout=err, stderr=err)
        started.append(process)
        said = (folder / "err.log").read_text
        eventually(lambda: serves() and "serving" in said(), 20, said)
        return process

    start.control, start.status, start.serves = control, status, serves
    started = []
    yield start
    if pid := status().get("pid"):
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not runs(pid), 20)
    for process in started:
        process.wait(10)


def app(name, port, origin):
    return f"  {name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.78], origin_direct: [tcp://127.0.0.1:{origin}]}}\n"


def test_it_serves_as_nobody(daemon, folder):
    def visit(port):
        with socket.create_connection(("127.0.0.78", port), 5) as sock:
            assert sock.recv(2) == b"hi"

    def recorded():
        path = folder / "kept/file"
        return path.read_text().count("RecordId") if path.exists() else 0

    def api():
        return daemon.status().get("api", {"pid": 0})["pid"]

    with greeter() as origin:
        records = f"records: {{journal: {{path: {folder}/kept}}, sinks: {{file: {{path: {folder}/kept/file}}}}}}\n"
        served_by = f"api: {{listen: unix:{folder}/run/public.sock}}\n"
        process = daemon(records + served_by + "apps:\n" + app("x", 77, origin))
        visit(77)
        first = daemon.status()
        for pid in (first["pid"], *(worker["pid"] for worker in first["workers"])):
            assert of_process(pid, "Uid") == ["65534"] * 4
            assert of_process(pid, "CapEff") == ["0000000000002400"]
            assert of_process(pid, "NoNewPrivs") == ["1"]
        assert daemon.control.stat().st_uid == 65534
        eventually(lambda: api() != 0, 30)
        before = api()
        assert of_process(before, "Uid") == ["65534"] * 4
        assert of_process(before, "CapPrm") == of_process(before, "CapEff") == ["0" * 16]

        # A reload opens one more low port.
        path = folder / "spectrum.yaml"
        path.write_text(path.read_text().replace("apps:\n", "apps:\n" + app("y", 78, origin)))
        assert ask(daemon.control, "POST", "/reload")["errors"] == []
        visit(78)
        eventually(lambda: recorded() == 2)

        # A worker that dies is replaced.
        os.kill(first["workers"][0]["pid"], signal.SIGKILL)
        eventually(lambda: daemon.serves() and daemon.status()["workers"][0]["pid"] != first["workers"][0]["pid"], 10)

        # The successor of an upgrade is nobody, too.
        answer = ask(daemon.control, "POST", "/upgrade", 60)
        assert answer["errors"] == [], answer
        assert process.wait(10) == 0
        eventually(lambda: daemon.serves() and daemon.status()["pid"] != first["pid"], 20)
        assert of_process(daemon.status()["pid"], "Uid") == ["65534"] * 4
        eventually(lambda: api() not in (0, before), 30)
        visit(77)
        visit(78)
        eventually(lambda: recorded() == 4)


def count_of(filesystem, name):
    with PinnedFilter(filesystem) as one:
        return one.counts()[name][0]


def reaches(source, port):
    try:
        with socket.create_connection(("127.0.0.78", port), 0.3, source_address=(source, 0)) as sock:
            return sock.recv(2) == b"hi"
    except TimeoutError:
        return False


def as_the_unit_bounds_it():
    """What runs a command with the capabilities of the unit that we ship."""
    unit = (ROOT / "config" / "spectrum.service").read_text()
    (names,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    return "setpriv --bounding-set -all," + ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names.split())


def is_bound(address):
    try:
        with socket.create_connection((address, 4711), 5) as sock:
            return sock.recv(2) == b"hi"
    except ConnectionRefusedError:
        return False


def test_the_helper_filters_and_binds_for_nobody(daemon, folder, filesystem, require):
    """They change by a reload, before an upgrade and after it; a helper that is killed is missed only for changes."""
    path = folder / "spectrum.yaml"

    def text(*prefixes):
        lists = f"lists: {{drop: {{prefixes: [{', '.join(prefixes)}]}}}}"
        rules = f"filter: {{interfaces: [lo], guard: [127.0.0.1/32], sample_one_in: 1, {lists}}}"
        bound = f"bindings: [{{prefix: 127.{prefixes[0].split('.')[3][:2]}.0.0/16, port: 0}}]"
        other = f"  b: {{protocol: tcp/79, {bound}, origin_direct: [tcp://127.0.0.1:{origin}]}}\n"
        return f"kernel: {{bpffs: {filesystem}}}\n{rules}\napps:\n{app('x', 77, origin)}{other}"

    def reload(*prefixes):
        path.write_text(f"{text(*prefixes)}\nuser: nobody\ncontrol: {{socket: {daemon.control}}}\n")
        return ask(daemon.control, "POST", "/reload")["errors"]

    with greeter() as origin:
        require("setpriv")
        process = daemon(text("127.0.0.66/32"), as_the_unit_bounds_it())
        helper = daemon.status()["kernel"]["helper"]
        pid = int(helper.removeprefix("on: pid "))
        assert of_process(pid, "CapEff") == ["000000c000001000"]
        assert of_process(daemon.status()["pid"], "Uid") == ["65534"] * 4
        assert (reaches("127.0.0.66", 77), reaches("127.0.0.67", 77)) == (False, True)
        assert is_bound("127.66.0.1") and not is_bound("127.67.0.1")
        assert count_of(filesystem, "list drop") > 0
        answer = ask(daemon.control, "GET", "/samples?by=verdict&seconds=60")
        assert {one["verdict"] for one in answer["top"]} >= {"list drop", "passed"}, answer

        assert reload("127.0.0.67/32") == []
        assert (reaches("127.0.0.66", 77), reaches("127.0.0.67", 77)) == (True, False)
        assert is_bound("127.67.0.1") and not is_bound("127.66.0.1")
        assert "there is no interface nowhere" in reload_with(daemon, path, "[lo]", "[lo, nowhere]")[0]
        assert reload("127.0.0.67/32") == []

        assert ask(daemon.control, "POST", "/upgrade", 60)["errors"] == []
        assert process.wait(10) == 0
        eventually(daemon.serves, 20)
        assert daemon.status()["kernel"]["helper"] == helper, "it goes on with the successor"
        assert reload("127.0.0.66/32") == []
        assert (reaches("127.0.0.66", 77), reaches("127.0.0.67", 77)) == (False, True)

        os.kill(pid, signal.SIGKILL)
        said = (folder / "err.log").read_text
        eventually(lambda: "there is no helper (pid" in said(), 10, said)
        assert daemon.serves()
        assert (reaches("127.0.0.66", 77), reaches("127.0.0.67", 77)) == (False, True)
        assert "only root can start one" in reload("127.0.0.67/32")[0]
        assert reload("127.0.0.66/32") == [], "programs and tables stay in the kernel"
        path.write_text(path.read_text().replace("apps:\n", "apps:\n" + app("y", 78, origin)))
        assert ask(daemon.control, "POST", "/reload")["errors"] == []
        assert reaches("127.0.0.67", 78)
        os.kill(daemon.status()["pid"], signal.SIGTERM)
        eventually(lambda: "`spectrum kernel detach` removes them" in said(), 10, said)


@contextmanager
def echo():
    """A UDP origin that answers as it was asked; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def answer():
            with suppress(OSError):  # closed
                while True:
                    data, peer = sock.recvfrom(100)
                    sock.sendto(data, peer)

        threading.Thread(target=answer, daemon=True).start()
        yield sock.getsockname()[1]


def queues(pids):
    """The length of the queues of listeners on port 778, and of sockets that are connected to anything."""
    for pid in pids:
        for sock in sockets_of(pid):
            with sock:
                if (sock.family, sock.type) != (socket.AF_INET, socket.SOCK_DGRAM):
                    continue
                size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                if sock.getsockname()[1] == 778:
                    yield "778", size
                elif is_connected(sock):
                    yield "shared", size


def is_connected(sock):
    try:
        return bool(sock.getpeername())
    except OSError:
        return False


def test_the_helper_lets_the_kernel_move_flows_for_nobody(daemon, folder, filesystem):
    """With seccomp on; switched off and on by reloads, and after an upgrade; without the helper flows go on."""
    with echo() as origin, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.78", 777))
        text = (
            f"kernel: {{bpffs: {filesystem}}}\nseccomp: true\nudp_offload: {{interfaces: [lo]}}\n"
            f"apps:\n  x: {{protocol: udp/777, edge_ips: [127.0.0.78], origin_direct: [udp://127.0.0.1:{origin}]}}\n"
            f"  y: {{protocol: udp/778, edge_ips: [127.0.0.78], origin_direct: [udp://127.0.0.1:{origin}], "
            "proxy_protocol: simple, origin_socket: shared}\n"
        )

        def moved():
            for _ in range(3):
                client.send(b"hello")
                assert client.recv(100) == b"hello"
            return sum(worker["offloaded"] for worker in daemon.status()["workers"])

        process = daemon(text)
        first = daemon.status()
        assert first["kernel"]["udp_offload"] == "on: lo"
        eventually(lambda: moved() == 1, 10)
        for worker in first["workers"]:
            assert (of_process(worker["pid"], "Uid"), of_process(worker["pid"], "Seccomp")) == (["65534"] * 4, ["2"])
        client.connect(("127.0.0.78", 778))
        client.send(b"hello")
        assert client.recv(100) == b"hello"
        pids = [worker["pid"] for worker in first["workers"]]
        eventually(
            lambda: sorted(name for name, size in queues(pids) if size == 2 * 2**22) == ["778", "778", "shared"], 10
        )
        client.connect(("127.0.0.78", 777))
        path = folder / "spectrum.yaml"
        assert reload_with(daemon, path, "udp_offload: {", "udp_offload: false #{") == []
        eventually(lambda: moved() == 0, 10)
        assert reload_with(daemon, path, "udp_offload: false #{", "udp_offload: {") == []
        eventually(lambda: moved() == 1, 10)
        assert ask(daemon.control, "POST", "/upgrade", 60)["errors"] == []
        assert process.wait(10) == 0
        eventually(daemon.serves, 20)
        eventually(lambda: moved() == 1, 10)
        os.kill(int(first["kernel"]["helper"].removeprefix("on: pid ")), signal.SIGKILL)
        said = (folder / "err.log").read_text
        eventually(lambda: "there is no helper (pid" in said(), 10, said)
        assert ask(daemon.control, "POST", "/reload")["errors"] == []
        assert (moved(), daemon.status()["kernel"]["udp_offload"]) == (1, "on: lo")
        assert reload_with(daemon, path, "udp_offload: {", "udp_offload: false #{") == []
        eventually(lambda: moved() == 0, 10)


def reload_with(daemon, path, old, new):
    path.write_text(path.read_text().replace(old, new))
    return ask(daemon.control, "POST", "/reload")["errors"]


def test_an_upgrade_does_not_change_the_user(daemon, folder):
    with greeter() as origin:
        daemon("apps:\n" + app("x", 77, origin))
        path = folder / "spectrum.yaml"
        path.write_text(path.read_text().replace("user: nobody", "user: www-data"))
        answer = ask(daemon.control, "POST", "/reload")
        assert answer["errors"] == []
        assert answer["restart"] == ["user nobody -> www-data"]
        assert "only root can switch to www-data" in ask(daemon.control, "POST", "/upgrade", 60)["errors"][0]
        assert daemon.serves()


PEER = """
import socket
sock = socket.create_server(("127.0.0.1", 2200))
while True:
    connection, peer = sock.accept()
    connection.sendall(("%s %d" % peer).encode())
    connection.close()
"""
VISIT = """
import socket
sock = socket.create_connection(("127.0.0.1", 2222), 5)
sock.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 22\\r\\n")
print(sock.recv(100).decode())
"""


def test_mmproxy_serves_as_nobody(require, folder):
    """With the capability for clients' addresses, and without system calls that it does not need."""
    require("ip", "unshare", "nsenter")
    control = folder / "mm" / "control.sock"
    script = beside(
        folder,
        f"mmproxy --listen 127.0.0.1:2222 --to 127.0.0.1:2200 --allow 127.0.0.0/8 --install --socket {control}",
        f"ip link set lo up; {sys.executable} -c '{PEER}' &",
    )
    with (folder / "err.log").open("wb") as err:
        command = ["unshare", "--mount", "--net", "sh", "-c", script]
        process = subprocess.Popen(command, stdout=err, stderr=err, start_new_session=True)
    try:

        def workers():
            try:
                return [w["pid"] for w in ask(control, "GET", "/status")["workers"] if w["ready"]]
            except DaemonError:
                return []

        eventually(workers, 20, lambda: (folder / "err.log").read_text())
        for pid in (process.pid, *workers()):
            assert of_process(pid, "Uid") == ["65534"] * 4
            assert of_process(pid, "NoNewPrivs") == ["1"]
        assert of_process(workers()[0], "Seccomp") == ["2"]
        told = subprocess.run(
            ["nsenter", "-t", str(process.pid), "-n", sys.executable, "-c", VISIT],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert told.stdout == "203.0.113.7 4711\n", told.stderr + (folder / "err.log").read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # all of them, the server too
        process.wait(10)
