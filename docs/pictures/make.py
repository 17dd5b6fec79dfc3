"""Draws docs/pictures/terminal.svg: what commands print of a daemon with clients.

Run it as root in a checkout: `.venv/bin/python docs/pictures/make.py`. It runs in a network namespace of its own, with
addresses that are for documentation (RFC 5737).
"""

import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ
from threading import Thread

from rich.console import Console
from rich.text import Text

INSIDE = "--inside"
WIDTH = 132
EDGE, ORIGINS = "198.51.100.1", ("192.0.2.1", "192.0.2.2", "192.0.2.3")
CLIENTS = ("203.0.113.7", "203.0.113.20", "203.0.113.99", "203.0.113.140")
FILE = """
control: {{socket: {folder}/control.sock}}
workers: 2
monitors:
  db: {{type: tcp, interval: 1s, timeout: 1s}}
pools:
  db:
    origins:
      - {{name: a, address: 192.0.2.1, port: 5432}}
      - {{name: b, address: 192.0.2.2, port: 5432}}
      - {{name: c, address: 192.0.2.3, port: 5432}}
    monitor: db
    origin_steering: {{policy: least_connections}}
load_balancers:
  db: {{default_pools: [db], session_affinity: ip}}
apps:
  db: {{preset: postgresql, edge_ips: [198.51.100.1], load_balancer: db, limits: {{client: {{sessions: 20}}}}}}
  ssh: {{preset: ssh, edge_ips: [198.51.100.1], origin_direct: ["tcp://192.0.2.3:22"], proxy_protocol: v2}}
"""
COMMANDS = (
    ("status",),
    ("sessions", "--sort", "bytes"),
    ("explain", "--app", "db", "--client", "203.0.113.7"),
)


def answer(listener: socket.socket) -> None:
    """Answer each client with four times what it sends."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):  # at the end
            while data := connection.recv(65536):
                connection.sendall(4 * data)

    while True:
        Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def talk(stack: ExitStack, client: str, port: int, size: int) -> None:
    """Leave a session open in which a client has sent so much."""
    sock = stack.enter_context(socket.create_connection((EDGE, port), 5, (client, 0)))
    for _ in range(size // 1000):
        sock.sendall(bytes(1000))
        left = 4000
        while left:
            left -= len(sock.recv(left))


def in_terminal(command: list[str]) -> str:
    """Return what a command prints to a terminal."""
    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, pack("HHHH", 60, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with subprocess.Popen(command, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        output = b""
        while True:
            try:
                output += os.read(ours, 65536)
            except OSError:  # its end is closed
                break
    os.close(ours)
    if process.returncode:
        raise SystemExit(output.decode())
    return output.decode().replace("\r\n", "\n")


def record(folder: Path) -> str:
    """Return a picture of the commands' output."""
    path = folder / "spectrum.yaml"
    path.write_text(FILE.format(folder=folder))
    spectrum = [sys.executable, "-m", "spectrum"]
    with ExitStack() as stack:
        for address, port in ((ORIGINS[0], 5432), (ORIGINS[1], 5432), (ORIGINS[2], 22)):
            listener = stack.enter_context(socket.create_server((address, port)))
            Thread(target=answer, args=(listener,), daemon=True).start()
        log = stack.enter_context((folder / "log").open("wb"))
        daemon = subprocess.Popen([*spectrum, "run", "-c", str(path)], stdout=log, stderr=log)
        stack.callback(daemon.wait)
        stack.callback(daemon.terminate)
        while not (folder / "control.sock").exists():
            time.sleep(0.1)
        time.sleep(3)
        for place, client in enumerate(CLIENTS):
            talk(stack, client, 5432, 20_000 * (place + 1))
        talk(stack, CLIENTS[0], 22, 90_000)
        time.sleep(2)
        console = Console(record=True, width=WIDTH, file=(folder / "shown").open("w"), force_terminal=True)
        for number, arguments in enumerate(COMMANDS):
            typed = " ".join(("spectrum", *arguments))
            console.print(Text.assemble("\n" * bool(number), ("$ ", "bold green"), (typed, "bold")))
            printed = in_terminal([*spectrum, *arguments, "--socket", str(folder / "control.sock")])
            console.print(Text.from_ansi(printed.rstrip().replace(str(folder), "/etc/spectrum")))
    return console.export_svg(title="spectrum", unique_id="spectrum")


def main() -> None:
    """Write the picture."""
    if INSIDE not in sys.argv:
        inside = ["unshare", "--net", sys.executable, *sys.argv, INSIDE]
        raise SystemExit(subprocess.run(inside, check=False).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (EDGE, *ORIGINS, *CLIENTS):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        picture = record(Path(folder))
    # Nothing is loaded from elsewhere: where the font is not there, the letters are as wide.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    Path(__file__).with_name("terminal.svg").write_text(picture)


if __name__ == "__main__":
    main()
