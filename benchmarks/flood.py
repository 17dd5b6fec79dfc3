"""What an established session notices of a flood: round trips through the edge while its other core is flooded.

Over a cable between two namespaces. The flood comes in on one core; client, edge and origin share the other one.
"""

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.cli.client import ask
from spectrum.wire.icmp import checksum
from tests.e2e.hosts import Hosts, serves, spectrum

FLOOD_CORE, SESSION_CORE = 0, 1
ROWS: Rows = {
    "p50_us": ("round trip, p50", "µs", True),
    "p99_us": ("round trip, p99", "µs", True),
    "flood_per_s": ("packets of the flood", "1/s", False),
}
WAYS = ("no flood", "spectrum's filter", "nftables", "nothing")

_ECHO = """
import os, socket
os.sched_setaffinity(0, {1})
server = socket.create_server(("127.0.0.1", 7100))
while True:
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
"""
_TRIPS = """
import json, os, socket, sys, time
os.sched_setaffinity(0, {1})
with socket.create_connection(("10.231.1.1", 7000)) as sock:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took, end = [], time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        began = time.perf_counter()
        sock.sendall(b"x" * 200)
        got = 0
        while got < 200:
            got += len(sock.recv(200))
        took.append(time.perf_counter() - began)
took.sort()
print(json.dumps([took[len(took) // 2] * 1e6, took[len(took) * 99 // 100] * 1e6]))
"""
_NFT = "table netdev f { chain c { type filter hook ingress device e1a priority 0; ip saddr 198.51.100.0/24 drop; }; }"


@contextmanager
def _edge(way: str, folder: Path) -> Iterator[Hosts]:
    hosts = Hosts("c", "e")
    running = []
    try:
        hosts.cable("e", "c", 1)
        control = folder / "control.sock"
        lists = "filter: {interfaces: [e1a], guard: [10.231.1.2/32], lists: {bad: {prefixes: [198.51.100.0/24]}}}\n"
        (folder / "edge.yaml").write_text(
            "apps: {x: {protocol: tcp/7000, origin_direct: ['tcp://127.0.0.1:7100']}}\nworkers: 1\n"
            f"control: {{socket: {control}}}\n" + lists * (way == "spectrum's filter")
        )
        if way == "nftables":
            hosts.call("e", "nft", "-f", "-", text=_NFT)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running.append(hosts.start("e", sys.executable, "-c", _ECHO, **quiet))
        command = ["taskset", "-c", str(SESSION_CORE), *spectrum("run", "-c", folder / "edge.yaml")]
        running.append(hosts.start("e", *command, **quiet))
        deadline = time.monotonic() + 20
        while not serves(control):
            if time.monotonic() > deadline:
                raise RuntimeError("the edge does not serve")
            time.sleep(0.05)
        yield hosts
        ask(control, "GET", "/status")
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(10)
        hosts.close()


def blocked_frame(hosts: Hosts) -> str:
    """A datagram from a blocked address to a port where nobody listens, 60 bytes in all, as hexadecimal digits."""
    link = json.loads(hosts.call("e", "ip", "-j", "link", "show", "e1a"))[0]["address"].replace(":", "")
    addresses = ip_address("198.51.100.7").packed + ip_address("10.231.1.1").packed
    head = struct.pack("!BBHHHBB", 0x45, 0, 46, 0, 0, 64, 17)
    packet = head + struct.pack("!H", checksum(head + addresses)) + addresses + struct.pack("!HHHH", 5000, 6000, 26, 0)
    return link + "020000000001" + "0800" + packet.hex() + "00" * 18


def measure_way(way: str, seconds: int) -> Figures:
    """Flood an edge that defends itself in one way, and see what its session notices."""
    with work_folder("flood") as folder:
        tool = folder / "flood"
        subprocess.run(["gcc", "-O2", "-Wall", "-o", tool, Path(__file__).with_name("flood.c")], check=True)
        with _edge(way, folder) as hosts:
            flood = None
            if way != "no flood":
                command = ["taskset", "-c", str(FLOOD_CORE), tool, "e1b", blocked_frame(hosts), str(seconds + 1)]
                flood = hosts.start("c", *command, stdout=subprocess.PIPE, text=True)
                time.sleep(0.5)
            p50, p99 = json.loads(hosts.python("c", _TRIPS, str(seconds), timeout_s=seconds + 30))
            sent = int(flood.communicate()[0]) / (seconds + 1) if flood else 0.0
    return {"p50_us": p50, "p99_us": p99, "flood_per_s": sent}
