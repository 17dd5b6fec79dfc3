"""What reloads do to apps and listeners, with an engine that only numbers them."""

import errno

import pytest

from spectrum.control.loader import load_text
from spectrum.core.snapshot import ListenerKey, compile_snapshot
from spectrum.plane.registry import Registry
from tests.plane.parts import Parts


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


def test_targets_that_are_gone_are_told_and_others_kept():
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
    assert sum(signs.connect_failures for signs in engine.parts.balancers.take_signs().values()) == told


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
