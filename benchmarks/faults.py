"""The fault table: reloads under load, a killed worker, and readers that are stuck, each proxy in the same run."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from benchmarks.peers import ORIGIN_PORT, PORT, envoy_cluster, envoy_listener, tool_path, write_file
from benchmarks.processes import PROXY_CORE, Running
from benchmarks.report import RESULTS
from benchmarks.rounds import Figures, Rows, work_folder

LONG_SESSIONS, SHORT_CLIENTS = 50, 4
RELOADS, RELOAD_EVERY_S = 10, 0.5
AFTER_KILL_S = 4.0
STUCK_S = 20.0
TRICKLE = 40
# Asks the origin for more than any queue holds.
MUCH = b"G"
TCP_ESTABLISHED = "01"
NEVER = float("inf")

ROWS: Rows = {
    "reload_failed": (f"{RELOADS} reloads under load: new sessions that failed", "", True),
    "reload_cut": (f"the same: of {LONG_SESSIONS} long sessions, cut", "", True),
    "reload_processes": ("the same: processes afterwards, while the long sessions go on", "", True),
    "reload_mib": ("the same: their memory", "MiB", True),
    "kill_failed": ("a worker killed under load: new sessions that failed", "", True),
    "kill_cut": (f"the same: of {LONG_SESSIONS} long sessions, cut", "", True),
    "kill_out_s": ("the same: until new sessions succeed again", "s", True),
    "stuck_s": (f"a reader that reads nothing is ended after (inf: not within {STUCK_S:.0f} s)", "s", True),
    "trickle_s": (f"a reader that takes {TRICKLE} bytes a second is ended after", "s", True),
}

# Each with what it has for these faults: TCP_USER_TIMEOUT, which Spectrum makes of its keepalive, or keepalive alone.
PATIENCE_MS = 4000
HAPROXY = f"""
global
    nbthread 2
    maxconn 5000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend front
    bind 127.0.0.1:{PORT} tcp-ut {PATIENCE_MS}ms
    default_backend back
backend back
    server origin 127.0.0.1:{ORIGIN_PORT} tcp-ut {PATIENCE_MS}ms
"""
NGINX = f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {{folder}}/nginx.pid;
error_log {{folder}}/error.log;
worker_processes 2;
events {{{{ worker_connections 5000; }}}}
stream {{{{
    proxy_timeout 1h;
    server {{{{ listen 127.0.0.1:{PORT} reuseport so_keepalive=2s:1s:2; proxy_pass 127.0.0.1:{ORIGIN_PORT}; }}}}
}}}}
"""
# TCP_USER_TIMEOUT, in milliseconds, as accepted sockets inherit it (tcp(7)).
_PATIENCE = f"    socket_options: [{{level: 6, name: 18, int_value: {PATIENCE_MS}, state: STATE_PREBIND}}]"
_ENVOY_LISTENER = envoy_listener("front", PORT).replace("    filter_chains:", f"{_PATIENCE}\n    filter_chains:")
ENVOY = f"""
static_resources:
  listeners:{_ENVOY_LISTENER}
  clusters:{envoy_cluster("front", ("127.0.0.1",), ORIGIN_PORT)}
"""
SPECTRUM = f"""
apps:
  front:
    protocol: tcp/{PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{ORIGIN_PORT}]
    keepalive: {{{{idle: 2s, interval: 1s, count: 2}}}}
workers: 2
control: {{{{socket: {{folder}}/control.sock}}}}
"""


@dataclass
class Peer:
    """A proxy: how it is started, which signal reloads it, and whether a process of it is one of several workers."""

    command: Callable[[Path], list[str]]
    reload: signal.Signals | None
    has_workers: bool = True


def _haproxy(folder: Path) -> list[str]:
    return ["haproxy", "-W", "-db", "-f", str(write_file(folder, "haproxy.cfg", HAPROXY))]


def _nginx(folder: Path) -> list[str]:
    return ["nginx", "-c", str(write_file(folder, "nginx.conf", NGINX.format(folder=folder)))]


def _envoy(folder: Path) -> list[str]:
    config = write_file(folder, "envoy.yaml", ENVOY.replace("{folder}", str(folder)))
    program = shutil.which("envoy", path=tool_path())
    assert program is not None, "missing tools were asked for at the start"
    return [program, "-c", str(config), "--concurrency", "2", "--disable-hot-restart", "-l", "error"]


def _spectrum(folder: Path) -> list[str]:
    config = write_file(folder, "spectrum.yaml", SPECTRUM.format(folder=folder))
    return [sys.executable, "-m", "spectrum", "run", "-c", str(config)]


PEERS = {
    "haproxy": Peer(_haproxy, signal.SIGUSR2),
    "nginx": Peer(_nginx, signal.SIGHUP),
    # A static file is not read again; a killed process is all of it.
    "envoy": Peer(_envoy, None, has_workers=False),
    "spectrum": Peer(_spectrum, signal.SIGHUP),
}


@dataclass
class Load:
    """Long sessions that are used now and then, and short ones all the time.

    Attributes:
        failed: When new sessions failed.
        succeeded: When they did not.
        cut: Long sessions that ended.
    """

    failed: list[float] = field(default_factory=list)
    succeeded: list[float] = field(default_factory=list)
    cut: int = 0
    stopped: bool = False

    async def short(self) -> None:
        """Open, ask, be answered, close."""
        while not self.stopped:
            began = time.monotonic()
            try:
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
                    writer.write(b"x" * 100)
                    await reader.readexactly(100)
                    writer.close()
                self.succeeded.append(time.monotonic())
            except (OSError, EOFError, TimeoutError):
                self.failed.append(began)
                await asyncio.sleep(0.005)

    async def long(self) -> None:
        """Use a session five times a second."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            while not self.stopped:
                writer.write(b"ping")
                await reader.readexactly(4)
                await asyncio.sleep(0.2)
        except (OSError, EOFError):
            self.cut += 1
        else:
            writer.close()


class _Echo(asyncio.Protocol):
    """Echoes; who asks for MUCH gets more than any queue holds."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(bytes(50_000_000) if data == MUCH else data)


async def _under_load(during: Callable[[], Awaitable[None]]) -> Load:
    load = Load()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(LONG_SESSIONS):
            tasks.create_task(load.long())
        await asyncio.sleep(0.3)
        for _ in range(SHORT_CLIENTS):
            tasks.create_task(load.short())
        await asyncio.sleep(1)
        await during()
        load.stopped = True
    return load


async def _reloads(peer: Peer, running: Running) -> Figures:
    figures: Figures = {}

    async def during() -> None:
        assert peer.reload is not None, "asked for before"
        for _ in range(RELOADS):
            os.kill(running.pids()[0], peer.reload)
            await asyncio.sleep(RELOAD_EVERY_S)
        await asyncio.sleep(1)
        figures["reload_processes"] = len(running.pids())
        figures["reload_mib"] = running.memory_bytes() / 2**20

    load = await _under_load(during)
    return figures | {"reload_failed": len(load.failed), "reload_cut": load.cut}


async def _kill(peer: Peer, running: Running) -> Figures:
    killed_at = 0.0

    async def during() -> None:
        nonlocal killed_at
        pids = running.pids()
        killed_at = time.monotonic()
        os.kill(pids[-1] if peer.has_workers else pids[0], signal.SIGKILL)
        await asyncio.sleep(AFTER_KILL_S)

    load = await _under_load(during)
    after = [at for at in load.succeeded if at > max([killed_at, *load.failed])]
    out_s = (max(load.failed) - killed_at if load.failed else 0.0) if after else NEVER
    return {"kill_failed": len(load.failed), "kill_cut": load.cut, "kill_out_s": max(0.0, out_s)}


def _established(client_port: int) -> bool:
    """Tell whether the proxy's socket towards a client is (proc_net_tcp.rst: addresses are in hexadecimal)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ends = f":{PORT:04X}", f":{client_port:04X}"
    return any(row[1].endswith(ends[0]) and row[2].endswith(ends[1]) and row[3] == TCP_ESTABLISHED for row in rows)


def _stuck(bytes_per_second: int) -> float:
    """Return after how many seconds a slow reader is ended."""
    with socket.create_connection(("127.0.0.1", PORT), 5) as sock:
        sock.sendall(MUCH)
        began = time.monotonic()
        while time.monotonic() - began < STUCK_S:
            time.sleep(0.5)
            # A kernel that gives up on a closed window tells its peer nothing: it is seen at the proxy's end.
            if not _established(sock.getsockname()[1]):
                return time.monotonic() - began
            if bytes_per_second:
                sock.recv(bytes_per_second // 2)
    return NEVER


async def _with_origin(work: Callable[[], Awaitable[Figures]]) -> Figures:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", ORIGIN_PORT, backlog=1000)
    try:
        return await work()
    finally:
        server.close()


def measure_peer(name: str) -> Figures:
    """Put one proxy through everything, started anew for each fault."""
    peer = PEERS[name]

    async def stuck(_: Peer, __: Running) -> Figures:
        nothing, little = await asyncio.gather(*(asyncio.to_thread(_stuck, pace) for pace in (0, TRICKLE)))
        return {"stuck_s": nothing, "trickle_s": little}

    figures: Figures = {}
    for fault in (_reloads, _kill, stuck):
        if fault is _reloads and peer.reload is None:
            continue
        with work_folder(name) as folder:
            running = Running(peer.command(folder), PROXY_CORE, folder / "output.log")
            try:
                running.wait_for_port(PORT)
                figures |= asyncio.run(_with_origin(partial(fault, peer, running)))
            finally:
                with suppress(ProcessLookupError, subprocess.SubprocessError):
                    running.stop()
    return figures


def table(results: dict[str, Figures]) -> str:
    """Return a Markdown table; a dash stands where a proxy has no such thing."""
    lines = ["| fault | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]
    for row, (title, unit, _) in ROWS.items():
        cells = [_cell(figures[row]) if row in figures else "-" for figures in results.values()]
        lines.append(f"| {title}{', ' * bool(unit)}{unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(figure: float) -> str:
    return f"{figure:,.0f}" if 1000 <= figure < NEVER else f"{figure:.3g}"


def write(text: str) -> Path:
    """Write the table to benchmarks/results/ and return its path."""
    path = RESULTS / "faults.md"
    path.write_text(text + "\n")
    return path
