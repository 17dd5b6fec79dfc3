"""An edge and clients in namespaces of their own, and floods of real packets by the cable between them."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

import msgspec
import pytest

from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.simulation.flooding import READY, FloodPlan, frames_of
from spectrum.simulation.network import CLIENTS_4, TrialNetwork, edge_addresses, entered
from spectrum.simulation.sender import FrameSender
from spectrum.simulation.trial import in_namespaces
from tests.e2e.daemon import Daemon

FOUR, SIX = map(str, edge_addresses())
UDP_PORT, TCP_PORT, ORIGIN_PORT = 7000, 443, 47_100
FRAMES = 1_000
APPS = f"""
workers: 1
drain_timeout: 100ms
apps:
  game: {{protocol: udp/{UDP_PORT}, origin_direct: ['udp://127.0.0.1:{ORIGIN_PORT}']}}
  web: {{protocol: tcp/{TCP_PORT}, origin_direct: ['tcp://127.0.0.1:{ORIGIN_PORT}']}}
"""


class Lab:
    """Edge and clients in namespaces; the origin echoes."""

    def __init__(self, stack, network, tmp_path):
        self.stack, self.network, self.folder = stack, network, tmp_path
        self.where = in_namespaces(network)
        command = [sys.executable, "-m", "spectrum.simulation.echo", f"tcp/{ORIGIN_PORT}", f"udp/{ORIGIN_PORT}"]
        with entered(network.edge):
            self.origin = subprocess.Popen(command)
        stack.callback(self.origin.wait)
        stack.callback(self.origin.terminate)

    def serve(self, filter_text="", more=""):
        """A daemon, with the filter if anything is said of it, and more in its file."""
        text = APPS + (f"filter:\n  interfaces: [filtered]\n{filter_text}" if filter_text else "") + more
        with entered(self.network.edge):
            daemon = self.stack.enter_context(Daemon(self.folder, text))
            self.filter = self.stack.enter_context(PinnedFilter()) if filter_text else None
        return daemon

    def again(self):
        """Another daemon with the same file, after the supervisor of one was killed."""
        with entered(self.network.edge):
            text, _, _ = (self.folder / "spectrum.yaml").read_text().rpartition("\ncontrol:")
            return self.stack.enter_context(Daemon(self.folder, text))

    def count(self, name):
        return self.filter.counts()[name][0]

    def flood(self, vector, count=FRAMES):
        """Send so many packets of a flood, at 20,000 a second; return how many went."""
        where = self.where
        plan = FloodPlan(vector, where.interface, where.link, FOUR, SIX, _ports(vector), 0, 0, 0, count)
        with entered(self.network.clients), FrameSender(where.interface, frames_of(plan)) as sender:
            sent = 0
            for _ in range(0, count, 50):
                sent += sender.send(50)
                time.sleep(0.0025)
        return sent

    def begin(self, vector, seconds, per_s, frames=FRAMES):
        """Begin a flood; it ends by itself."""
        where = self.where
        plan = FloodPlan(vector, where.interface, where.link, FOUR, SIX, _ports(vector), per_s, seconds, 0, frames)
        command = [sys.executable, "-m", "spectrum.simulation.flooding", msgspec.json.encode(plan).decode()]
        return self.begin_at_clients(command)

    def begin_at_clients(self, command):
        """Start a program of the clients, and have it begin when it says that it is ready."""
        with entered(self.network.clients):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.enter_context(process)
        self.stack.callback(process.terminate)
        assert process.stdout.readline().strip() == READY
        process.stdin.write("\n")
        process.stdin.flush()
        return process

    def session(self, source=0, address=FOUR):
        """A session through the edge, from one of the clients' addresses."""
        with entered(self.network.clients):
            bound = (str(CLIENTS_4[source].ip), 0) if address == FOUR else None
            sock = socket.create_connection((address, TCP_PORT), 5, source_address=bound)
        self.stack.callback(sock.close)
        return sock

    def heard(self):
        """A socket that has all frames of the clients' end of the cable."""
        with entered(self.network.clients):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
            sock.bind((self.where.interface, 3))
        self.stack.callback(sock.close)
        sock.setblocking(False)
        return sock


def _ports(vector):
    port = TCP_PORT if vector.startswith(("syn", "v6_syn", "rst", "ack", "fin")) else UDP_PORT
    return port, port


@pytest.fixture
def learned():
    """A folder that another user may have: pytest's own are closed to others."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield f"{folder}/learned"


@pytest.fixture
def lab(require, tmp_path):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(TrialNetwork(f"spf{os.getpid() % 100_000}"))
        yield Lab(stack, network, tmp_path)


def echoes(sock, data=b"token"):
    sock.sendall(data)
    got = b""
    while len(got) < len(data):
        got += sock.recv(100)
    return got == data
