"""Peers that die, or only seem to, in each state of a TCP connection: every session ends in time, with its own reason.

The peers are in a network namespace, where nftables drops their packets without a word. The states are those of "When
TCP sockets refuse to die": one session for each, towards a client and towards an origin, all at once.
"""

import json
import re
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, suppress

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.namespace import EDGE, FAR
from tests.engine.harness import eventually, port_of, read_all
from tests.engine.harness import listening as listen

# Keepalive ends after 3 s, TCP_USER_TIMEOUT after 2.5 s; drain_pace has 4 s.
QUICK = "keepalive: {idle: 1s, interval: 1s, count: 2}, timeouts: {connect: 1s, idle: 20s}"
WITHIN_S = 15
# By state, how it ends: what the peer's side of the session is called comes before it.
STATES = {
    "idle": "timeout",  # nothing is under way: keepalive
    "busy": "timeout",  # data are not acknowledged: TCP_USER_TIMEOUT
    "zero_window": "stuck",  # it lives, and says that it has no room
    "trickle": "stuck",  # it lives, and takes a few bytes now and then: drain_pace
    "fin_wait_1": "timeout",  # our FIN is not acknowledged
    "fin_wait_2": "timeout",  # our FIN was, its own never comes
    "close_wait": "timeout",  # its FIN came, then it was gone
    "alive": None,
}
DEAD = [state for state, end in STATES.items() if end == "timeout"]

PEER = """
import json, socket, sys, threading, time
edge, client_ports, origin_ports = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
slow = ("zero_window", "trickle")

def made(state):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if state in slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return sock

listeners = {}
for state, port in origin_ports.items():
    listeners[state] = made(state)
    listeners[state].bind(("", port))
    listeners[state].listen()
print("listening", flush=True)
sockets = {}
for state, port in client_ports.items():
    sockets["client", state] = made(state)
    sockets["client", state].connect((edge, port))
    sockets["client", state].sendall(b"hello")
for state, listener in listeners.items():
    sockets["origin", state], _ = listener.accept()
    sockets["origin", state].sendall(b"hello")

def trickle(sock):
    while True:
        time.sleep(0.5)
        sock.recv(20)

def echo(sock):
    while data := sock.recv(100):
        sock.sendall(data)

sys.stdin.readline()
for (side, state), sock in sockets.items():
    if state == "close_wait":
        sock.shutdown(socket.SHUT_WR)
    elif state == "fin_wait_2":
        while sock.recv(100):
            pass
    elif state in ("trickle", "alive"):
        threading.Thread(target=trickle if state == "trickle" else echo, args=(sock,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def drop(namespace, ports):
    """Drop every packet to and from these ports, at the peers' host."""
    ports = ", ".join(map(str, ports))
    rules = f"tcp sport {{ {ports} }} drop; tcp dport {{ {ports} }} drop;"
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; {rules} }}\n" for hook in ("input", "output")
    )
    command = ["ip", "netns", "exec", namespace.name, "nft", "-f", "-"]
    subprocess.run(command, input=f"table inet dead {{\n{chains}}}\n".encode(), check=True, timeout=20)


def stuff(sock):
    """Send until there is no more room."""
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while sock.send(bytes(65536)):
            pass
    sock.setblocking(True)


def write_on(sock):
    """Write until a reset can have come back: where a FIN came before, reading does not tell."""
    sock.sendall(b"anybody?")
    time.sleep(0.1)
    sock.sendall(b"anybody?")


@pytest.fixture
def bodies(free_port):
    """Ports by state: of apps whose client is at the far host, of apps whose origin is, and of those origins."""
    return [{state: free_port() for state in STATES} for _ in range(3)]


def test_every_state_ends_in_time_with_its_reason(namespace, require, tmp_path, free_port, bodies):
    require("nft")
    clients, origins, far_origins = bodies
    metrics = free_port()
    with ExitStack() as stack:
        local = {state: stack.enter_context(listen()) for state in STATES}
        apps = "".join(
            f"  client-{state}: {{protocol: tcp/{clients[state]}, edge_ips: [{EDGE}], drain_pace: 10000, "
            f"origin_direct: [tcp://127.0.0.1:{port_of(local[state])}], {QUICK}}}\n"
            f"  origin-{state}: {{protocol: tcp/{origins[state]}, edge_ips: [127.0.0.1], drain_pace: 10000, "
            f"origin_direct: [tcp://{FAR}:{far_origins[state]}], {QUICK}}}\n"
            for state in STATES
        )
        daemon = stack.enter_context(Daemon(tmp_path, f"metrics: {{listen: 127.0.0.1:{metrics}}}\napps:\n{apps}"))
        peer = namespace.run(PEER, EDGE, json.dumps(clients), json.dumps(far_origins))
        stack.callback(peer.communicate)
        stack.callback(peer.kill)
        assert peer.stdout.readline() == b"listening\n"
        ends = {
            f"origin-{state}": stack.enter_context(socket.create_connection(("127.0.0.1", origins[state]), 5))
            for state in STATES
        }
        for state in STATES:
            ends[f"client-{state}"], _ = local[state].accept()
            stack.enter_context(ends[f"client-{state}"])
        for sock in ends.values():
            sock.settimeout(5)
            assert sock.recv(5) == b"hello"
        time.sleep(1.2)  # the keepalive of origins is armed within a second
        for side in ("client", "origin"):
            ends[f"{side}-fin_wait_2"].shutdown(socket.SHUT_WR)
        peer.stdin.write(b"go\n")
        peer.stdin.flush()
        assert peer.stdout.readline() == b"ready\n"
        drop(namespace, [ports[state] for ports in (clients, far_origins) for state in DEAD])
        began = time.monotonic()
        for side in ("client", "origin"):
            ends[f"{side}-busy"].sendall(bytes(50_000))
            ends[f"{side}-fin_wait_1"].shutdown(socket.SHUT_WR)
            for state in ("zero_window", "trickle"):
                stuff(ends[f"{side}-{state}"])
        # And a new one, whose SYN is not answered.
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", origins["idle"]), 5) as late:
            late.recv(1)
        expected = {
            f"{side}-{state}": f"{side}_{end}" for side in ("client", "origin") for state, end in STATES.items() if end
        }
        events = daemon.wait_for_events(len(expected) + 1, WITHIN_S)
        assert time.monotonic() - began < WITHIN_S
        syn_sent = [event for event in events if event["Reason"] == "connect_timeout"]
        assert [event["Application"] for event in syn_sent] == ["origin-idle"]
        found = {event["Application"]: event["Reason"] for event in events if event not in syn_sent}
        assert found == expected
        for name in expected:  # the other side knows that it was no normal end
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                (write_on if name.endswith("close_wait") else read_all)(ends[name])
        for side in ("client", "origin"):
            ends[f"{side}-alive"].sendall(b"still here")
            assert ends[f"{side}-alive"].recv(100) == b"still here"
        page = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5).read().decode()
        counted = re.findall(r'spectrum_sessions_closed_total\{app="(.+)",reason="(.+)"\} 1', page)
        assert set(counted) == {*expected.items(), ("origin-idle", "connect_timeout")}
        eventually(lambda: sum(worker["sessions"] for worker in daemon.status()["workers"]) == 2)


def test_an_origin_that_accepts_and_is_silent(tmp_path, free_port):
    port = free_port()
    with listen() as origin:
        body = f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{port_of(origin)}]"
        with (
            Daemon(tmp_path, f"apps: {{x: {{{body}, timeouts: {{idle: 1s}}}}}}") as daemon,
            socket.create_connection(("127.0.0.1", port), 5) as client,
        ):
            client.sendall(b"anybody?")
            assert client.recv(1) == b""
            (event,) = daemon.wait_for_events(1)
            assert (event["Reason"], event["ClientBytes"], event["OriginBytes"]) == ("idle_timeout", 8, 0)
