"""A TCP plane with a real engine and real sockets, without processes."""

import json
import socket

import pytest

from spectrum.core.difference import difference
from spectrum.engine.loop import Loop
from spectrum.plane.tcp import TcpPlane
from tests.engine.harness import Recorder, listening, port_of
from tests.plane.parts import Parts


class Plane(Recorder):
    """A plane that runs in the harness's thread; sockets are opened as the supervisor would."""

    def __init__(self, bodies, more=""):
        self.lines = []
        self.faults = []
        self.looks, self.guarded = 0, set()
        self.loop = Loop()
        self.parts = Parts()
        emit = lambda count, lines, *_: self.lines.extend(lines.splitlines())  # noqa: E731
        guard = {"places": self.parts.places, "firewall": self.parts.firewall}
        self.plane = TcpPlane(
            self.loop, emit, self.parts.balancers, self.parts.memory.loads, **guard, breathe=self.look
        )
        self.relay = self.plane.relay
        self.sockets, self.snapshot = {}, None
        self.gone = self.apply(bodies, more=more)

    def look(self):
        """Between two apps of a reload clients are taken: of one that asks for rules from now on, none without them."""
        self.looks += 1
        for listener in self.plane._listeners.values():
            app = listener.app.settings
            begins = app.ip_firewall and app.name not in self.guarded
            if begins and not listener.removed and self.parts.firewall.judge_of(app.name):
                assert listener.app.judge is not None

    def apply(self, bodies, names=None, more="", as_difference=False):
        text = more + "\napps:\n" + "".join(f"  {name}: {{{body}}}\n" for name, body in bodies.items())
        apps = (listener.app.settings for listener in self.plane._listeners.values())
        self.guarded = {app.name for app in apps if app.ip_firewall}
        snapshot = self.parts.compile(text)
        for key in snapshot.listener_keys():
            if key not in self.sockets:
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((key.address, key.port))
                sock.listen()
                sock.setblocking(False)
                self.sockets[key] = sock
        descriptors = {key: sock.fileno() for key, sock in self.sockets.items()}
        before, self.snapshot = self.snapshot, snapshot
        if as_difference:
            change = difference(before, snapshot)
            concerned = self.parts.balancers.change(change)
            return self.plane.change(change, snapshot, descriptors, names or {}, *concerned)
        stopped = self.parts.balancers.apply(snapshot)
        return self.plane.apply(snapshot, descriptors, names or {}, stopped)

    def events(self):
        return [json.loads(line) for line in self.lines]

    def close(self):
        for sock in self.sockets.values():
            sock.close()


@pytest.fixture
def make():
    made = []

    def build(bodies, **options):
        made.append(Plane(bodies, **options))
        return made[-1]

    yield build
    for plane in made:
        plane.close()


@pytest.fixture
def origin():
    with listening() as sock:
        yield sock


def body(port, origin, more=""):
    return f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{port_of(origin)}]{more}"


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), 5)
    sock.settimeout(5)
    return sock


def received(origin):
    connection, _ = origin.accept()
    with connection:
        connection.settimeout(5)
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
        return data


def exchange(port, origin, *pieces):
    """Send pieces, half-close, and return what the origin got."""
    with connect(port) as sock:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        return received(origin)


def assert_refused(port, data):
    """Raise ConnectionError, wherever the reset is met first."""
    with connect(port) as sock:
        sock.sendall(data)
        sock.recv(1)


ACCEPT = ", accept_proxy_protocol: {from: [127.0.0.0/8], timeout: 300ms}"


def led(port, more=""):
    return f"protocol: tcp/{port}, edge_ips: [127.0.0.1], load_balancer: lb{more}"


def unused_port():
    with listening() as sock:
        return port_of(sock)


def number(plane, name):
    return next(n for n, origin in plane.parts.balancers.origins.items() if origin.name == name)
