"""What reloads do to apps and listeners, with an engine that only numbers them."""

import contextlib
import errno
import gc
import os
import socket
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.core.difference import difference
from spectrum.core.features import compile_snapshot
from spectrum.core.server_names import ServerNames
from spectrum.core.snapshot import AppSettings, ListenerKey
from spectrum.engine.datagrams import Datagrams
from spectrum.engine.loop import Loop
from spectrum.engine.relay import Relay
from spectrum.plane.apps import RunningApp, RunningListener
from spectrum.plane.balancing.routes import DirectRoute
from spectrum.plane.registry import Registry
from spectrum.wire.client_hello import ClientHello
from tests.engine.harness import watched
from tests.plane.parts import Parts
from tests.properties import examples


class Engine:
    def __init__(self, transport="udp"):
        self.added, self.removed = [], []
        self.parts = Parts()
        self.registry = Registry(transport, self.parts.balancers, self.add, self.remove)

    def add(self, fd, app, address, port):
        self.added.append((app, address, port))
        return len(self.added) - 1

    def remove(self, listener, drain):
        self.removed.append((listener.number, drain))

    def apply(self, bodies, without=(), **more):
        text = "apps:\n" + "".join(f"  {name}: {{{body}}}\n" for name, body in bodies.items())
        snapshot = compile_snapshot(load_text(text, "x"), 1)
        descriptors = {key: 0 for key in snapshot.listener_keys() if key not in without}
        return self.registry.apply(snapshot, descriptors, {}, **more)


def body(ports="53", origin="192.0.2.1", more="", transport="udp", origin_ports=None):
    where = origin_ports or ports
    return f"protocol: {transport}/{ports}, origin_direct: ['{transport}://{origin}:{where}']{more}"


def test_apps_of_the_other_transport_are_passed_over():
    engine = Engine()
    assert engine.apply({"a": body(), "b": body(transport="tcp")}) == []
    assert engine.added == [(0, b"", 53)]


def test_ranges_addresses_and_wildcards():
    engine = Engine()
    engine.apply({"a": body("53-54", more=", edge_ips: [192.0.2.9, '::']")})
    assert engine.added == [(0, b"\xc0\0\2\t", 53), (0, b"", 53), (0, b"\xc0\0\2\t", 54), (0, b"", 54)]
    registry = engine.registry
    assert registry.find("192.0.2.9", 53).number == 0
    assert registry.find("2001:db8::1", 54).number == 3
    assert registry.find("192.0.2.8", 53) is None


def test_a_reload_keeps_what_did_not_change():
    engine = Engine()
    engine.apply({"a": body(), "b": body("55")})
    gone = engine.apply({"a": body(more=", proxy_protocol: simple"), "c": body("56")})
    assert gone == [ListenerKey("", 55, "udp")]
    assert engine.removed == [(1, True)]
    assert [port for _, _, port in engine.added] == [53, 55, 56]
    assert engine.registry.listeners.keys() == {0, 2}
    # Another app on the same port is another listener, whose queue the old one does not drain.
    assert engine.apply({"z": body(), "c": body("56")}) == []
    assert engine.removed[1:] == [(0, False)]


def test_a_listener_whose_descriptor_is_another_one_is_begun_again():
    engine = Engine()
    snapshot = engine.parts.compile(f"apps: {{a: {{{body()}}}}}")
    for descriptor, removed in ((3, []), (3, []), (4, [(0, False)])):
        engine.registry.apply(snapshot, dict.fromkeys(snapshot.listener_keys(), descriptor), {})
        assert engine.removed == removed
        assert [listener.descriptor for listener in engine.registry.listeners.values()] == [descriptor]


def test_removed_targets_are_reported_and_others_kept():
    engine = Engine()
    told = []
    two = "protocol: udp/53, origin_direct: ['udp://192.0.2.1:53', 'udp://192.0.2.2:53']"
    engine.apply({"a": two})
    before = engine.registry.listeners[0].route.find("192.0.2.1", 53)
    engine.apply({"a": body()}, unused=lambda listener, targets: told.append((listener.number, targets)))
    assert [(number, [t.host for t in targets]) for number, targets in told] == [(0, ["192.0.2.2"])]
    assert engine.registry.listeners[0].route.find("192.0.2.1", 53) is before
    # Other options make another target of the same address.
    engine.apply({"a": body(more=", source_ips: [127.0.0.1]")}, unused=lambda listener, targets: told.append(targets))
    assert told[1] == [before]


def test_names_that_change_tell_what_is_gone():
    engine = Engine()
    engine.apply({"a": "protocol: udp/53, origin_dns: {name: x.example, type: A}, origin_port: 53"})
    told = []
    key = "A x.example udp 53-53"
    for addresses in (("192.0.2.1", "192.0.2.2"), ("192.0.2.2",)):
        engine.registry.resolve({key: addresses}, [key], lambda _, targets: told.extend(targets))
    assert [target.host for target in told] == ["192.0.2.1"]


def test_listeners_of_other_workers_are_left_to_them():
    engine = Engine()
    engine.apply({"a": body("53-54")}, without=[ListenerKey("", 54, "udp")])
    assert [port for _, _, port in engine.added] == [53]


def test_a_removed_listener_stays_known_while_it_has_sessions():
    engine = Engine()
    engine.apply({"a": body()})
    listener = engine.registry.listeners[0]
    listener.open = listener.app.open = 1
    engine.apply({"b": body("55")})
    assert listener.removed
    assert 0 in engine.registry.listeners
    engine.registry.leave(listener)
    assert 0 not in engine.registry.listeners
    assert engine.registry.in_slot(listener.app.slot) is listener.app
    engine.registry.remove_all()
    assert engine.registry.listeners == {}


@pytest.mark.parametrize(("error", "told"), [(errno.ECONNREFUSED, 1), (errno.EADDRNOTAVAIL, 0), (errno.EMFILE, 0)])
def test_what_this_machine_ran_out_of_is_no_sign_of_an_origin(error, told):
    engine = Engine()
    text = """
pools: {p: {origins: [{name: a, address: 192.0.2.1}]}}
load_balancers: {lb: {default_pools: [p]}}
apps: {x: {protocol: udp/53, load_balancer: lb}}"""
    snapshot = engine.parts.compile(text)
    engine.parts.balancers.apply(snapshot)
    engine.registry.apply(snapshot, dict.fromkeys(snapshot.listener_keys(), 0), {})
    (target,), _ = engine.registry.listeners[0].route.choose(b"\x7f\0\0\1", 5)
    engine.registry.count_failure(0, target, error)
    assert sum(outcomes.connect_failures for outcomes in engine.parts.balancers.take_outcomes().values()) == told


def test_a_tproxy_listener_is_found_by_what_it_takes():
    engine = Engine()
    more = ", tproxy: {port: 15000, prefixes: [198.51.100.0/24, '2001:db8::/64']}"
    engine.apply({"a": body("53-60", more=more)})
    assert engine.added == [(0, b"", 0), (0, b"", 0)]
    registry = engine.registry
    assert registry.find("198.51.100.9", 60).number == 0
    assert registry.find("2001:db8::9", 53).number == 1
    for address, port in (("198.51.100.9", 61), ("198.51.101.9", 60), ("2001:db8:0:1::9", 53)):
        assert registry.find(address, port) is None
    route = registry.listeners[0].route
    assert [target.port for target in route.choose(b"\x7f\0\0\1", 5, 55)[0]] == [55]
    engine.apply({"a": body("54-60", more=more)})
    assert registry.listeners[0].route is route
    assert [target.port for target in route.choose(b"\x7f\0\0\1", 5, 55)[0]] == [55]
    engine.apply({"a": body("54-60", more="")})
    assert engine.removed == [(0, True), (1, True)]


# --- with engines: what is watched after reloads ----------------------------------------------------------------------

PORTS = (1, 2)
NAMES = {f"ANY x.example {transport} 1-1": ("192.0.2.8", "192.0.2.9") for transport in ("tcp", "udp")}
LISTENER_TOKEN = 1 << 63


class Engines:
    """Both engines and their registries; a port's sockets stay open, as if another process had them too."""

    def __init__(self):
        self.parts = Parts()
        self.loop = Loop()
        memory = os.memfd_create("flows")
        flows = Datagrams(self.loop, self, memory, max_flows=8)
        os.close(memory)
        self.relay = Relay(self.loop, self)
        unlisten = {
            "tcp": lambda listener, drain: self.relay.remove_listener(listener.number, drain),
            "udp": lambda listener, drain: flows.remove_listener(listener.number, 1),
        }
        engines = {"tcp": self.relay, "udp": flows}
        self.registries = {
            name: Registry(
                name, self.parts.balancers, engine.add_listener, unlisten[name], breathe=partial(self.look, name)
            )
            for name, engine in engines.items()
        }
        self.sockets = {}
        for port in PORTS:
            for transport, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
                sock = self.sockets[ListenerKey("127.0.0.1", port, transport)] = socket.socket(type=kind)
                sock.bind(("127.0.0.1", 0))
                if transport == "tcp":
                    sock.listen()
                sock.setblocking(False)
        self.clients = []
        self.looks = 0

    def accepted(self, batch):
        for name, *_ in batch:
            self.relay.hold(name, 60_000)

    def ended(self, batch):
        pass

    def apply(self, snapshot, before=None):
        """Serve a snapshot: as a whole, or what differs from the one before."""
        descriptors = {key: self.sockets[key].fileno() for key in snapshot.listener_keys()}
        differing = difference(before, snapshot) if before is not None else None
        balancers, concerned = self.parts.balancers, []
        if differing is None:
            balancers.apply(snapshot)
        else:
            _, concerned = balancers.change(differing)
        for transport, registry in self.registries.items():
            if differing is None:
                gone = registry.apply(snapshot, descriptors, NAMES)
            else:
                gone = registry.change(differing, descriptors, NAMES)
                registry.aim_again(concerned, NAMES)
            for listener in registry.listeners.values():
                if not listener.removed and listener.app.settings.load_balancer:
                    listener.route.choose(bytes(4), 1)  # only then it has targets
            if before is not None:
                keys = [
                    {key for key in one.listener_keys() if key.transport == transport} for one in (before, snapshot)
                ]
                assert set(gone) == keys[0] - keys[1]

    def state(self):
        """What is served, and how."""
        return {transport: _state(registry) for transport, registry in self.registries.items()}

    def stall(self):
        """Meet the limit of sessions, where there is a listener to meet it at."""
        self.relay.max_sessions = self.relay.active
        for key, sock in self.sockets.items():
            if key.transport == "tcp" and sock.fileno() in watched(self.loop):
                self.clients.append(socket.create_connection(sock.getsockname()))
        while not self.relay.stalled and any(fd in watched(self.loop) for fd in self.descriptors("tcp")):
            self.loop.process()

    def resume(self):
        self.relay.max_sessions = 1_000_000

    def descriptors(self, transport):
        return [sock.fileno() for key, sock in self.sockets.items() if key.transport == transport]

    def look(self, transport):
        """Between two apps: who comes now meets settings and origins that belong together, and the app of its name."""
        self.looks += 1
        served = [one for one in self.registries[transport].listeners.values() if not one.removed]
        for listener in served:
            if listener.app.settings.load_balancer:
                continue
            hosts = {target.host for target in listener.route.targets()}
            named = NAMES["ANY x.example udp 1-1"] if listener.app.settings.origin_name else ()
            assert hosts == {address for address, _ in listener.app.settings.origins}.union(named)
            assert listener.names is not None or not listener.holds or [o.key for o in served].count(listener.key) == 1

    def assert_right(self, snapshot):
        """Each listener is watched, for an app of its port, and nothing else is."""
        expected = {}
        for app in snapshot.apps:
            if app.transport == "tcp" and self.relay.stalled:
                continue
            for key, _ in app.listeners():
                expected.setdefault(self.sockets[key].fileno(), set()).add((app.transport, app.name))
        tokens = watched(self.loop)
        fds = [fd for transport in self.registries for fd in self.descriptors(transport)]
        found = {}
        for fd in fds:
            if fd in tokens:
                assert tokens[fd] & LISTENER_TOKEN
                for transport in self.registries:
                    if fd in self.descriptors(transport):
                        listener = self.registries[transport].listeners[tokens[fd] & 0xFFFFFFFF]
                        assert not listener.removed
                        assert listener.descriptor == fd
                        found[fd] = (transport, listener.app.settings.name)
        assert found.keys() == expected.keys()
        assert all(app in expected[fd] for fd, app in found.items())
        assert self.relay.check_listeners() == []
        assert self.relay.deaf == {}
        for registry in self.registries.values():
            for listener in registry.listeners.values():
                shares = [other for other in registry.listeners.values() if other.key == listener.key]
                assert (listener.names is not None) == (listener.holds and bool(_sharing(shares)))

    def close(self):
        for sock in [*self.sockets.values(), *self.clients]:
            sock.close()
        self.relay = self.loop = self.registries = None
        gc.collect()  # engines know their loop and it knows them, and they hold descriptors


BALANCED = """
pools: {{p: {{origins: [{{name: o, address: {}, port: 1}}]}}}}
load_balancers: {{lb: {{default_pools: [p]}}}}
"""


def _sharing(listeners):
    return [one for one in listeners if one.app.settings.sni or one.app.settings.alpn]


def _app(number, transport, first, last, names):
    """An app on some ports; TCP ones share them, as no two have the same names."""
    ports = f"{first}-{max(first, last)}"
    if number == 5:
        return f"{{protocol: {transport}/{ports}, edge_ips: [127.0.0.1], load_balancer: lb}}"
    if number == 4:
        return f"{{protocol: {transport}/1, edge_ips: [127.0.0.1], origin_dns: {{name: x.example}}, origin_port: 1}}"
    return (
        f"{{protocol: {transport}/{ports}, edge_ips: [127.0.0.1], origin_direct: ['{transport}://192.0.2.1:{ports}']"
        f"{names.format(number) if transport == 'tcp' else ''}}}"
    )


@st.composite
def _reloads(draw):
    """Files with some of a few apps each, in any order, some under another name; and what happens after each."""
    transports, ports = st.sampled_from(["tcp", "tcp", "tcp", "udp"]), st.sampled_from(PORTS)
    names = st.sampled_from([", sni: [a{}.example]", ", sni: [a{}.example]", ", alpn: [p{}]", ""])
    pool = [_app(number, draw(transports), draw(ports), draw(ports), draw(names)) for number in range(6)]
    steps = []
    for _ in range(draw(st.integers(2, 5))):
        order = draw(st.permutations(range(len(pool))))[: draw(st.integers(1, len(pool)))]
        renamed = draw(st.sampled_from([-1, -1, *range(len(pool))]))
        origin = f"192.0.2.{draw(st.integers(1, 2))}"
        leads_to = draw(st.sampled_from(["192.0.2.1", "192.0.2.2", "x.example"]))
        bodies = [body.replace("192.0.2.1", origin) for body in pool]
        file = [(f"{'n' if number == renamed else 'a'}{number}", bodies[number]) for number in order]
        steps.append(
            (BALANCED.format(leads_to), file, draw(st.sampled_from(["", "", "stall", "resume"])), draw(st.booleans()))
        )
    return steps


def _state(registry):
    places = {}
    for (key, name), listener in registry._by_key.items():
        leads_to = [(target.host, target.port) for target in listener.route.targets()]
        if listener.app.settings.load_balancer:
            leads_to.sort()
        places[key, name] = listener.app.settings, listener.offset, leads_to, listener in listener.app.listeners
        holder = next(other for other in registry._by_key.values() if other.key == key and other.holds)
        for hello in (ClientHello("", ()), *(ClientHello(f"a{i}.example", (f"p{i}",)) for i in range(5))):
            found = holder.names.find(hello) if holder.names else holder
            places[key, hello] = found and found.app.settings.name
    return {
        "places": places,
        "apps": {name: app.settings for name, app in registry._apps.items()},
        "names": {name: {one.key for one in found} for name, found in registry._by_name.items()},
        "balancers": {name: {one.key for one in found} for name, found in registry._by_balancer.items()},
        "keys": {key: set(names) for key, names in registry._places.items()},
        "listeners": len([one for one in registry.listeners.values() if not one.removed]),
    }


def _compile(parts, balanced, apps):
    """A snapshot of the apps, without the last ones where they do not go together."""
    for count in range(len(apps), 1, -1):
        with contextlib.suppress(ConfigError):
            return parts.compile(balanced + _text(apps[:count]))
    return parts.compile(balanced + _text(apps[:1]))


def _text(apps):
    return "apps:\n" + "".join(f"  {name}: {body}\n" for name, body in apps)


@examples(40)
@given(_reloads())
def test_every_listener_is_watched_after_any_reloads(steps):
    engines = Engines()
    try:
        before = None
        for balanced, apps, then, by_difference in steps:
            snapshot = _compile(engines.parts, balanced, apps)
            engines.apply(snapshot, before if by_difference else None)
            before = snapshot
            engines.assert_right(snapshot)
            fresh = Engines()
            try:
                fresh.apply(snapshot)
                assert engines.state() == fresh.state()
            finally:
                fresh.close()
            assert engines.looks
            if then:
                getattr(engines, then)()
                engines.assert_right(snapshot)
    finally:
        engines.close()


def test_what_is_gone_leaves_no_cycle():
    """Nothing collects cycles of what a reload left: they would stay for as long as the worker lives."""
    parts = Parts()
    loop = Loop()
    relay = Relay(loop, parts)
    unlisten = lambda listener, drain: relay.remove_listener(listener.number, drain)  # noqa: E731
    registry = Registry("tcp", parts.balancers, relay.add_listener, unlisten)
    app = "{{protocol: tcp/{}, edge_ips: [127.0.0.1], origin_direct: ['tcp://192.0.2.{}:1'], {}}}"
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        one.setblocking(False)
        other.setblocking(False)
        sockets = {1: one.fileno(), 2: other.fileno()}
        gc.collect()
        gc.disable()
        try:
            counts = []
            for number in range(12):
                sharing = [app.format(1, number, f"sni: [{name}{number}.example]") for name in "ab"]
                alone = app.format(2, number, f"timeouts: {{connect: {number + 1}s}}")
                apps = [*sharing, alone][: 3 - number % 3]
                snapshot = parts.compile(_text([(f"app{i}-{number % 2}", body) for i, body in enumerate(apps)]))
                registry.apply(snapshot, {key: sockets[key.port] for key in snapshot.listener_keys()}, {})
                kinds = (RunningApp, RunningListener, DirectRoute, ServerNames, AppSettings)
                counts.append([sum(isinstance(one, kind) for one in gc.get_objects()) for kind in kinds])
        finally:
            gc.enable()
    assert counts[5] == counts[11]
