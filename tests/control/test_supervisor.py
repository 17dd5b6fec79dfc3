"""Starts and reloads that fail; everything else about the supervisor is in tests/e2e/test_daemon.py."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from spectrum.control import supervisor
from spectrum.control.configuration.loader import load_text
from spectrum.control.processes.fleet import Fleet
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.records.totals import Totals
from spectrum.control.supervisor import StartError, Supervisor
from spectrum.core.names import NameSettings
from spectrum.core.records.measures import WorkerMeasures
from spectrum.core.tls.settings import CertificateSettings, TlsFiles
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import ListenError
from spectrum.link.takeover import Measures
from spectrum.plane.memory import SharedMemory
from spectrum.tasks import Tasks
from tests.control.keepers import until
from tests.control.supervised import supervised


def config(port, tmp_path):
    return load_text(
        f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}",
        "x",
    )


async def test_addresses_of_names_that_are_of_no_use(tmp_path, free_port):
    port = free_port()
    refuse = Supervisor(tmp_path / "f", config(port, tmp_path), workers=1)._refuse_address
    name = NameSettings("a.example", "", 60, port, port)
    assert refuse(name, "192.0.2.1") is None
    assert refuse(name, "127.0.0.1") == f"127.0.0.1 port {port} is the listener of app x: a loop"
    assert "nobody can be reached at 0.0.0.0" in refuse(name, "0.0.0.0")
    assert "link-local IPv6 addresses are not supported" in refuse(name, "fe80::5")


async def test_workers_that_do_not_start_are_told(tmp_path, free_port, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no engine here >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(broken))
    refusing = Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1)
    monkeypatch.setattr(refusing._bank, "open", lambda *_: pytest.fail("a port is opened that nobody serves"))
    with pytest.raises(StartError, match="workers end as soon as they start\nworker 0: exit status 3: no engine here"):
        await refusing.run()
    assert not (tmp_path / "control.sock").exists()


async def test_workers_that_do_not_answer_are_told(tmp_path, free_port, monkeypatch):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(silent))
    monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 0.3)
    with pytest.raises(StartError, match=r"not ready within 0\.3 s"):
        await Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1).run()


async def test_who_asks_while_it_starts_is_answered(tmp_path, free_port, monkeypatch):
    """A silent name server, or thousands of listeners, make a start last; the control socket is there first."""
    text = (
        "pools: {p: {origins: [{name: o, address: 127.0.0.1, port: 1}]}}\nload_balancers: {b: {default_pools: [p]}}\n"
        f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], load_balancer: b}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}"
    )
    running = Supervisor(tmp_path / "f", load_text(text, "x"), workers=1)
    reached, asked = asyncio.Event(), asyncio.Event()

    async def slow(names):
        reached.set()
        await asked.wait()

    monkeypatch.setattr(running._names, "watch", slow)
    daemon = Tasks().start(running.run(), "daemon")
    await reached.wait()
    status = await running.status()
    assert (status["generation"], status["pools"], status["apps"]) == (0, [], [])
    assert b"spectrum_build_info" in await running.render()
    with pytest.raises(ValueError, match="not serving yet"):
        running.explain("x", "192.0.2.1", 0)
    assert (await running.reload()).errors == ["the daemon is not serving yet"]
    asked.set()
    await until(running.ready)
    await until(lambda: running._state.generation)
    assert [pool["name"] for pool in (await running.status())["pools"]] == ["p"]
    running._stop()
    await daemon


async def test_a_worker_that_does_not_watch_a_listener_is_not_ready(tmp_path, free_port):
    running = Supervisor(tmp_path / "f", config(free_port(), tmp_path), workers=1)
    memory = SharedMemory(1, 64)
    fleet = running._fleet = Fleet(tmp_path, 1, memory, Totals(), print, print, lambda: 0.0)
    memory.close()
    worker = fleet.workers[0] = WorkerProcess(0, fleet._heard, print, tmp_path / "control.sock")
    worker.ready.set()
    for deaf in (0, 2, 0):
        fleet._heard(worker, Measures(0, False, {}, WorkerMeasures(), 0, False, deaf=deaf))
        assert running.ready() == (not deaf)
        assert fleet.status()[0]["deaf"] == deaf


def test_shared_listeners_are_warned_of(tmp_path, free_port):
    """With fewer descriptors than listeners times workers, all workers share one socket each, and both serve."""
    ports = [free_port() for _ in range(100)]
    apps = "".join(
        f"  a{p}: {{protocol: tcp/{p}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}\n" for p in ports
    )
    path = tmp_path / "f.yaml"
    path.write_text(f"apps:\n{apps}control: {{socket: {tmp_path}/control.sock}}\n")
    shell = f"ulimit -n 300; exec {sys.executable} -m spectrum run -c {path} --workers 2"
    daemon = subprocess.Popen(["sh", "-c", shell], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        told = daemon.stderr.readline() + daemon.stderr.readline()
        assert "workers share each listener" in told
        assert "serving 100 apps" in told
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", ports[50]), 5) as sock:
            sock.recv(1)  # served: there is no origin
    finally:
        daemon.terminate()
        daemon.communicate(timeout=10)
    assert daemon.returncode == 0


def app(name, port, more=""):
    return f"  {name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]{more}}}\n"


def pool(name):
    return (
        f"pools: {{{name}: {{origins: [{{name: o, address: 127.0.0.1, port: 1}}]}}}}\n"
        f"load_balancers: {{b: {{default_pools: [{name}]}}}}\n"
    )


def state_of(daemon, port):
    """What a refused reload must leave as it is."""
    (listener,) = [sockets[0] for key, sockets in daemon._bank._sockets.items() if key.port == port]
    return {
        "config": daemon._config,
        "plan": daemon._plan_served,
        "listeners": daemon._bank.keys(),
        "keepalive": listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "names": set(daemon._names._watched),
        "health": (dict(daemon._health.members), dict(daemon._health.standings)),
        "numbers": dict(daemon._numbers._assigned),
        "offload": daemon._offload.state,
        "workers": [(worker.pid, worker.generation) for worker in daemon._fleet.serving()],
        "descriptors": len(os.listdir("/proc/self/fd")),
        "generation": daemon._state.generation,
    }


def failing(exception):
    """Return a function that fails the first time, when what was changed is put back it does not."""
    calls = []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise exception

    return fail


async def test_a_reload_that_fails_at_any_step_changes_nothing(tmp_path, free_port, monkeypatch):
    port, new = free_port(), free_port()
    before = f"apps:\n{app('x', port)}" + pool("p")
    after = f"apps:\n{app('x', port, ', keepalive: {idle: 30}')}{app('y', new)}" + pool("q")
    error = OSError(24, "Too many open files")
    steps = [
        ("_bank.open", ListenError("no port")),
        ("_bank.tune", error),
        ("_names.watch", error),
        ("_offload.apply", ZeroDivisionError("a bug")),
        ("_bound.apply", PinError("no map")),
        ("_filter.remove", PinError("no unlink")),
        ("_health.apply", ZeroDivisionError("a bug")),
        ("_health.addresses_for_workers", error),
        ("_records.configure", error),
    ]
    async with supervised(tmp_path, before, workers=2) as (daemon, write):
        write(after)
        expected = state_of(daemon, port)
        for path, exception in steps:
            *owners, name = path.split(".")
            owner = getattr(daemon, owners[0]) if owners else daemon
            with monkeypatch.context() as patch:
                original, fail = getattr(owner, name), failing(exception)

                def step(*args, fail=fail, original=original, **kwargs):
                    fail()
                    return original(*args, **kwargs)

                patch.setattr(owner, name, step)
                reloaded = await daemon.reload()
            assert reloaded.errors and not reloaded.changes, path
            assert not daemon._state.last_reload_successful
            await until(lambda: state_of(daemon, port) == expected)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", new)
        with monkeypatch.context() as patch:  # memory files, of the first and of the second worker's turn
            patch.setattr(supervisor, "memory_file", lambda *_: (_ for _ in ()).throw(error))
            assert (await daemon.reload()).errors == ["the system refused something: too many open files"]
        await until(lambda: state_of(daemon, port) == expected)

        # One worker cannot, the other one could.
        with monkeypatch.context() as patch:
            broken = TlsFiles((CertificateSettings("c", b"none", b"none", b"", ()),))
            patch.setattr(supervisor, "load_tls", lambda config: broken)
            *refused, last = (await daemon.reload()).errors
            assert [line.split(" (pid")[0] for line in refused] == ["worker 0", "worker 1"]
            assert last == "all workers go on with generation 1"
        await until(lambda: state_of(daemon, port) == expected)

        assert (await daemon.reload()).errors == []
        assert [worker.generation for worker in daemon._fleet.serving()] == [2, 2]
        assert daemon._state.last_reload_successful
        (_, writer) = await asyncio.open_connection("127.0.0.1", new)
        writer.close()


async def test_a_worker_that_stands_still_is_told_and_replaced(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr("spectrum.control.processes.fleet.SILENT_S", 1.5)
    monkeypatch.setattr("spectrum.control.processes.fleet.LOOK_EVERY_S", 0.5)
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"worker_timeout: 3s\napps:\n{app('x', port)}", workers=2) as (daemon, write):
        pid = daemon._fleet.workers[1].pid
        os.kill(pid, signal.SIGSTOP)
        write(f"worker_timeout: 3s\napps:\n{app('x', port)}{app('y', new)}")
        assert (await daemon.reload()).errors == [f"worker 1 (pid {pid}) does not answer; nothing has changed"]
        await until(lambda: not daemon.ready())
        page = (await daemon.render()).decode()
        assert 'spectrum_worker_up{worker="1"} 0.0' in page
        assert [one["ready"] for one in (await daemon.status())["workers"]] == [True, False]
        await until(daemon.ready)
        assert daemon._totals.workers_killed == 1
        assert (await daemon.reload()).errors == []
        assert [one["generation"] for one in (await daemon.status())["workers"]] == [2, 2]


async def test_a_worker_that_stops_in_the_middle_of_a_reload_catches_up(tmp_path, free_port, monkeypatch):
    """It wakes with the refused snapshot before it, and must not stay with it."""
    monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT_S", 0.3)
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}", workers=2) as (daemon, write):
        write(f"apps:\n{app('y', new)}")
        pid = daemon._fleet.workers[1].pid
        spread = daemon._spread

        async def stop_first(*args):
            os.kill(pid, signal.SIGSTOP)
            await spread(*args)

        with monkeypatch.context() as patch:
            patch.setattr(daemon, "_spread", stop_first)
            errors = (await daemon.reload()).errors
        assert errors[0] == f"worker 1 (pid {pid}) has not answered within 0.3 s"
        assert [worker.generation for worker in daemon._fleet.serving()] == [1, 1]
        os.kill(pid, signal.SIGCONT)
        stopped = daemon._fleet.workers[1]
        await until(lambda: not stopped.owes and not stopped.outdated and stopped.generation == 1)
        assert (await daemon.reload()).errors == []
        assert [worker.generation for worker in daemon._fleet.serving()] == [2, 2]


async def test_a_reload_does_not_outlive_the_service(tmp_path, free_port, monkeypatch):
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        write(f"apps:\n{app('y', new)}")
        os.kill(daemon._fleet.workers[0].pid, signal.SIGSTOP)
        reloads = asyncio.gather(daemon.reload(), daemon.reload(), daemon.upgrade(""))
        await until(daemon._applying.locked)
        daemon._stop()
        answers = await asyncio.wait_for(reloads, 2)
        assert [answer.errors for answer in answers] == [["the daemon is stopping"]] * 3
        assert (await daemon.reload()).errors == (await daemon.upgrade("")).errors == ["the daemon is stopping"]
        os.kill(daemon._fleet.workers[0].pid, signal.SIGCONT)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", new)


async def test_a_reload_tells_what_takes_a_restart_and_which_files_changed(tmp_path, free_port):
    port = free_port()
    blocked = tmp_path / "blocked"
    blocked.write_text("192.0.2.1\n")
    rule = f"access_rules: {{bad: {{target: ip_range, file: {blocked}, action: block}}}}\n"
    text = f"{rule}apps:\n{app('x', port, ', ip_firewall: true')}"
    async with supervised(tmp_path, text) as (daemon, write):
        answer = await daemon.reload()
        assert (answer.errors, answer.changes, answer.restart) == ([], [], [])
        write(f"max_flows: 1000\n{text}")
        for _ in range(2):  # until it is restarted, or the file says so no more
            answer = await daemon.reload()
            assert (answer.changes, answer.restart) == ([], ["max_flows 100000 -> 1000"])
            assert (await daemon.status())["restart_needed"] == ["max_flows 100000 -> 1000"]
            assert b"spectrum_config_restart_needed 1.0" in await daemon.render()
        write(text)
        answer = await daemon.reload()
        assert (answer.changes, answer.restart) == ([], [])
        assert b"spectrum_config_restart_needed 0.0" in await daemon.render()
        blocked.write_text("192.0.2.2\n")
        assert (await daemon.reload()).changes == [f"changed file {blocked}"]
        assert (await daemon.reload()).changes == []


async def test_a_file_that_cannot_be_read_to_its_end_holds_up_no_more_than_its_reload(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(supervisor, "READ_TIMEOUT_S", 0.3)
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        text = daemon._path.read_text()
        daemon._path.unlink()
        os.mkfifo(daemon._path)
        for found in ("the file, or one that it names, is not read within 0.3 s", "is still being read"):
            assert found in (await daemon.reload()).errors[0]
        daemon._path.write_text(text)  # lets the reader go
        await until(lambda: daemon._reader.done())
        daemon._path.unlink()
        write(f"apps:\n{app('y', new)}")
        assert (await daemon.reload()).errors == []


async def test_a_stop_while_a_reload_reads_ends_it(tmp_path, free_port, monkeypatch):
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        goes_on, read = threading.Event(), daemon._read_file
        monkeypatch.setattr(daemon, "_read_file", lambda: (goes_on.wait(10), read())[1])
        write(f"apps:\n{app('y', new)}")
        reloads = asyncio.gather(daemon.reload())
        await until(lambda: daemon._reader is not None)
        daemon._stop()
        goes_on.set()
        assert (await reloads)[0].errors == ["the daemon is stopping"]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", new)
