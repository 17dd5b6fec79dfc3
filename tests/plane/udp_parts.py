"""A UDP plane with a real engine and real sockets, without processes."""

import json
import select

import pytest

from spectrum.core.difference import difference
from spectrum.engine.loop import Loop
from spectrum.plane.udp import UdpPlane
from tests.engine.harness import MemoryFile, port_of
from tests.engine.test_datagrams import Recorder, ask, datagrams, settle
from tests.plane.parts import Parts


class Plane(Recorder):
    """A plane that runs in the harness's thread; sockets are opened as the supervisor would."""

    def __init__(self, bodies, memory=None, max_flows=100, more=""):
        self.lines, self.faults, self.answers = [], [], []
        self.looks, self.guarded = 0, set()
        self.loop = Loop()
        self.parts = Parts()
        self.memory = MemoryFile() if memory is None else memory
        self.plane = UdpPlane(
            self.loop,
            lambda count, lines, *_: self.lines.extend(lines.splitlines()),
            self.memory,
            max_flows,
            lambda *answer: self.answers.append(answer),
            self.parts.balancers,
            self.parts.memory.loads,
            places=self.parts.places,
            firewall=self.parts.firewall,
            breathe=self.look,
        )
        self.engine = self.plane.engine
        self.sockets = {}
        self.snapshot = None
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
                self.sockets[key] = datagrams(key.address, key.port)
                self.sockets[key].setblocking(False)
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


@pytest.fixture
def make():
    made = []

    def build(bodies, **options):
        made.append(Plane(bodies, **options))
        return made[-1]

    yield build
    for plane in made:
        for sock in plane.sockets.values():
            sock.close()


@pytest.fixture
def origin():
    with datagrams() as sock:
        yield sock


def body(port, *origins, more=""):
    where = ", ".join(f"'udp://127.0.0.1:{o if isinstance(o, int) else port_of(o)}'" for o in origins)
    return f"protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: [{where}]{more}"


def edge(plane):
    return next(iter(plane.sockets.values()))


def confirm(plane, client, origin):
    """Two round trips; returns the address that the origin sees."""
    for _ in range(2):
        ask(client, edge(plane), b"x")
        peer = origin.recvfrom(1000)[1]
        origin.sendto(b"y", peer)
        client.recv(100)
    return peer


def led(port, more=""):
    return f"protocol: udp/{port}, edge_ips: [127.0.0.1], load_balancer: lb{more}"


def number(plane, name):
    return next(n for n, origin in plane.parts.balancers.origins.items() if origin.name == name)


def readable(sock, timeout_s=1):
    return bool(select.select([sock], [], [], timeout_s)[0])


DIALECTS = {
    "off": "",
    "simple": ", proxy_protocol: simple",
    "lenient": ", proxy_protocol: simple, spp_replies: lenient",
    "shared": ", proxy_protocol: simple, origin_socket: shared",
    "first": ", proxy_protocol: v2",
    "standalone": ", proxy_protocol: v2, proxy_header_datagram: standalone",
    "each": ", proxy_protocol: v2, proxy_header_datagram: each",
}


def seen_of(plane, client, origin, count=3):
    """What an origin gets of a client, and what the client gets of answers with the header, and without."""
    got = []
    for _ in range(count):
        ask(client, edge(plane), b"x")
        plane.loop.process()
        settle()
        while readable(origin, 0):
            data, peer = origin.recvfrom(1000)
            got.append(data.replace(port_of(client).to_bytes(2, "big"), b"**"))
            for answer in (data[:38] + b"y", b"z"):
                origin.sendto(answer, peer)
            settle()
            plane.loop.process()
            settle()
    while readable(client, 0):
        got.append(client.recv(100).replace(port_of(client).to_bytes(2, "big"), b"**"))
    return got
