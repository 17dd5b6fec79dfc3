"""Floods against a daemon without privileges and without the filter: its workers see them, and stop them."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spectrum.cli.client import ask
from tests.e2e.hosts import serves, spectrum
from tests.e2e.test_ddos import FLOOD, ORIGIN, PLAYER, near
from tests.engine.harness import eventually

# It may read files: where Python lies below the home of root, nobody else may start it.
_READS = "-all,+dac_read_search"
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
NOBODY = (*NOBODY, "--inh-caps", _READS, "--ambient-caps", _READS, "--bounding-set", _READS)
# Opens connections from three addresses, as fast as one process can, and says nothing; says how many were refused.
OPENINGS = """
import resource, select, socket, sys, time
from contextlib import suppress
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
end, made = time.monotonic() + float(sys.argv[1]), 0
kept = []
while time.monotonic() < end:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    with suppress(OSError):
        sock.bind((f"10.231.1.{10 + made % 3}", 0))
    with suppress(BlockingIOError):
        sock.connect(("10.231.1.1", 7001))
    kept.append(sock)
    made += 1
    if len(kept) > 200:
        kept.pop(0).close()
print(made)
"""
# A connection that is in use, and others that open now and then; says how many bytes were lost, and how many came.
CLIENT = """
import socket, sys, time
end = time.monotonic() + float(sys.argv[1])
sent = came = opened = refused = 0
with socket.create_connection(("10.231.1.1", 7001), 5) as sock:
    sock.settimeout(10)
    while time.monotonic() < end:
        sock.sendall(b"x" * 100)
        sent += 100
        while came < sent:
            data = sock.recv(1000)
            assert data, "it was ended"
            came += len(data)
        try:
            with socket.create_connection(("10.231.1.1", 7001), 2) as other:
                other.sendall(b"y")
                refused += other.recv(1) != b"y"
        except OSError:
            refused += 1
        opened += 1
        time.sleep(0.05)
print(sent, came, opened, refused)
"""
ECHO = """
import asyncio
from contextlib import suppress
async def main():
    async def serve(reader, writer):
        with suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
        writer.close()
    await asyncio.start_server(serve, "127.0.0.1", 9001)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def folder():
    """A folder of the user that the daemon is: pytest's own are closed to others."""
    with TemporaryDirectory() as made:
        os.chown(made, 65534, 65534)
        yield Path(made)


def run(start, folder, action=""):
    control = folder / "edge.sock"
    (folder / "edge.yaml").write_text(
        f"ddos: {{store: {folder / 'learned'}, learning_time: 1s, expire_after: 6s, guard: [192.0.2.0/24]{action}}}\n"
        f"control: {{socket: {control}}}\n"
        "apps:\n  game: {protocol: udp/7000, origin_direct: ['udp://127.0.0.1:9000']}\n"
        "  web: {protocol: tcp/7001, origin_direct: ['tcp://127.0.0.1:9001']}\n"
    )
    start(
        "e", "env", f"STATE_DIRECTORY={folder}", *NOBODY, *spectrum("run", "-c", folder / "edge.yaml", "--workers", "2")
    )
    eventually(lambda: serves(control), 30, start.printed)
    return control


def test_floods_are_mitigated_by_the_workers(hosts, start, folder):
    for last in (10, 11, 12):
        hosts.ip("c", "address", "add", f"10.231.1.{last}/24", "dev", "e1b")
    start("e", sys.executable, "-c", ORIGIN)
    start("e", sys.executable, "-c", ECHO)
    control = run(start, folder)

    def ddos():
        return ask(control, "GET", "/status")["ddos"]

    def attacks():
        return ask(control, "GET", "/attacks")["attacks"]

    def attacked():
        return {(one["app"], one["destination_port"]) for one in attacks()}

    def explained():
        said = "\n".join(line for line in start.printed().splitlines() if '"Level"' in line or '"Event"' not in line)
        return f"{ddos()}\n{attacks()}\n{said}"

    player = start("c", sys.executable, "-c", PLAYER, "22")
    played = start.last_printed
    client = start("c", sys.executable, "-c", CLIENT, "22")
    heard = start.last_printed
    eventually(lambda: len(ddos().get("apps", {})) == 2 and ddos()["state"] == "on", 20, explained)
    assert ddos()["seen_by"] == "workers"
    # One after the other: what two floods at once have in common is one attack.
    floods = [start("c", sys.executable, "-c", FLOOD, "udp_fixed", "7000", "12000", "10", near(hosts))]
    eventually(lambda: ("game", 7000) in attacked(), 15, explained)
    floods += [start("c", sys.executable, "-c", OPENINGS, "10")]
    eventually(lambda: attacked() >= {("game", 7000), ("web", 7001)}, 15, explained)
    eventually(lambda: len(ddos()["rules"]) >= 2, 15, explained)
    assert all(one["mitigated_after"] <= 3 for one in attacks()), attacks()
    eventually(lambda: all(one["dropped_packets"] > 1000 for one in attacks()), 20, explained)  # told every few seconds
    for one in (*floods, player, client):
        one.wait(60)
    eventually(lambda: not ddos()["rules"], 40, explained)
    sent, came = map(int, played().split())
    # No rule matches a flow in use; the queue of the socket may be full before rules are there.
    assert sent - came <= sent / 20, f"{came} of {sent} datagrams of a flow in use were answered"
    sent, came, *_ = map(int, heard().split())
    assert sent == came, heard()
