"""Floods of real packets against apps that are served: they are met by rules within seconds, and sessions go on."""

import json
import os
import re
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spectrum.cli.client import ask
from tests.e2e.hosts import edge, spectrum
from tests.engine.harness import eventually

LEARNED_S = 1.0
# Sends what a vector is made of, to the address and port that it is given.
FLOOD = """
import subprocess, sys
from ipaddress import IPv4Address
import numpy as np
from spectrum.simulation.aim import TargetApp, aimed
from spectrum.simulation.frames import build
from spectrum.simulation.normal import World
from spectrum.simulation.sender import FrameSender
from spectrum.simulation.vectors import flood
vector, port, per_s, seconds, near = sys.argv[1:]
link = bytes.fromhex(near.replace(":", "")) + bytes.fromhex("020000000001")
rows = flood(World(5), vector, 4_000, 1.0, 1)
rows = rows.where(rows["version"] == 4)
target = TargetApp(IPv4Address("10.231.1.1"), None, (int(port), int(port)))
frames = build(aimed(rows, target), link, np.random.default_rng(1))
with FrameSender("e1b", frames) as sender:
    print("begins", flush=True)
    print(sender.run(float(per_s), float(seconds)), flush=True)
"""
# A player: ten datagrams a second, each of which is answered; says how many were, and were not.
PLAYER = """
import socket, sys, time
from contextlib import suppress
seconds = float(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(1)
    sock.connect(("10.231.1.1", 7000))
    sent = came = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sock.send(b"GV\\1" + sent.to_bytes(4, "big") + bytes(20))
        sent += 1
        try:
            came += sock.recv(100) != b""
        except TimeoutError:
            pass
        if sent % 4 == 1:  # others come, and leave again
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"GV\\1" + bytes(24), ("10.231.1.1", 7000))
            with suppress(OSError):
                socket.create_connection(("10.231.1.1", 7001), 1).close()
        time.sleep(0.05)
print(sent, came)
"""
ORIGIN = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 9000))
    while True:
        data, client = sock.recvfrom(2000)
        sock.sendto(data, client)
"""


@pytest.fixture
def learned():
    """A folder that another user may have: pytest's own are closed to others."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "learned"


def text(filesystem, learned):
    return (
        f"kernel: {{bpffs: {filesystem}}}\n"
        "filter: {interfaces: [e1a], guard: [10.231.2.0/24]}\n"
        f"ddos: {{store: {learned}, learning_time: {LEARNED_S}s, expire_after: 12s}}\n"
        "apps:\n  game: {protocol: udp/7000, origin_direct: ['udp://127.0.0.1:9000']}\n"
        "  web: {protocol: tcp/7001, origin_direct: ['tcp://127.0.0.1:1']}"
    )


def near(hosts):
    """The hardware address of the edge's end of the cable to the client."""
    return re.search(r"link/ether (\S+)", hosts.call("e", "ip", "link", "show", "e1a"))[1]


def test_floods_are_mitigated_and_sessions_continue(hosts, start, tmp_path, filesystem, learned):
    start("e", sys.executable, "-c", ORIGIN)
    control = edge(start, tmp_path, text(filesystem, learned))
    start.supervisor = start.running[-1]

    def ddos():
        return ask(control, "GET", "/status")["ddos"]

    def explained():
        said = "\n".join(line for line in start.printed().splitlines() if '"Level"' in line or '"Event"' not in line)
        return f"{ddos()}\n{said}"

    player = start("c", sys.executable, "-c", PLAYER, "22")
    played = start.last_printed
    eventually(lambda: len(ddos().get("apps", {})) == 2 and ddos()["state"] == "on", 60, explained)
    address = near(hosts)
    floods = [
        start("c", sys.executable, "-c", FLOOD, vector, port, "20000", "9", address)
        for vector, port in (("udp_fixed", "7000"), ("syn_fixed", "7001"))
    ]
    eventually(lambda: len(ddos()["rules"]) >= 2, 15, explained)

    def attacks():
        return ask(control, "GET", "/attacks")["attacks"]

    both = {("game", 7000), ("web", 7001)}
    eventually(lambda: {(one["app"], one["destination_port"]) for one in attacks()} >= both, 5, attacks)
    assert all(one["mitigated_after"] <= 3 for one in attacks()), attacks()
    names = {rule["name"] for rule in ddos()["rules"]}

    # Whoever is killed, rules stay, and the next one goes on with them.
    os.kill(ddos()["pid"], signal.SIGKILL)
    eventually(lambda: ddos()["restarts"] == 1 and ddos()["pid"], 15, explained)
    assert names <= {rule["name"] for rule in ddos()["rules"]}
    start.supervisor.kill()
    start.supervisor.wait()
    status = hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
    assert all(f"rule ddos/{name}: " in status for name in names), status
    edge(start, tmp_path, text(filesystem, learned))
    assert names <= {rule["name"] for rule in ddos()["rules"]}, explained()

    for one in floods:
        one.wait(30)
    eventually(lambda: not ddos()["rules"], 40, explained)
    eventually(lambda: not ask(control, "GET", "/attacks?state=open")["attacks"], 15, explained)
    player.wait(60)
    sent, came = map(int, played().split())
    # No rule matches a session in use. Before the first rule the flood fills the queues of the workers' sockets, where
    # a busy machine gives workers too little: what is lost there is counted.
    overflowed = int(hosts.call("e", "awk", "/^Udp:/ {print $6}", "/proc/net/snmp").split()[-1])
    assert sent - came <= (12 if overflowed else 3), (
        f"{came} of {sent} of a session were answered; {overflowed} overflowed"
    )


def test_a_trial_at_the_running_daemon(hosts, start, tmp_path, filesystem, learned):
    start("e", sys.executable, "-c", ORIGIN)
    on_loopback = text(filesystem, learned).replace("e1a", "lo").replace("10.231.2.0/24", "192.0.2.0/24")
    control = edge(start, tmp_path, on_loopback)
    eventually(lambda: ask(control, "GET", "/status")["ddos"]["state"].startswith("on"), 60)
    said = hosts.call(
        "e",
        *spectrum("ddos", "simulate", "udp_fixed", "--loopback", "-c", tmp_path / "edge.yaml"),
        *("--app", "game", "--rate", "20000", "--seconds", "4", "--json"),
        timeout_s=120,
    )
    found = json.loads(said)
    assert found["detection"].startswith("on"), said
    assert found["dropped"] > found["sent"] / 4 > 0, said
    assert found["mitigated_after"] is not None and found["by"].startswith("rule ddos/"), said
    assert [one["app"] for one in found["attacks"]] == ["game"], said
    assert found["good"]["answered"] > found["good"]["sent"] / 2 > 0, said
    assert found["good"]["broken"] == 0, said
