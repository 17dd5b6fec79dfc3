import msgspec
import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.balancing.pools import Standing
from spectrum.core.features import compile_snapshot
from spectrum.core.names import name_key
from spectrum.core.records.reasons import Reason
from spectrum.engine.target import Target
from spectrum.plane.balancing.routes import MAX_PORT_ROUTES, BalancedRoute, DirectRoute, PortRoutes
from tests.plane.parts import Parts

CLIENT = b"\xc0\0\2\x63", 5
NAME = "ANY b.example tcp 0-0"


def compiled(app, more=""):
    return compile_snapshot(load_text(f"{more}\napps: {{x: {{{app}}}}}", "f"), 1)


def direct(offset):
    return DirectRoute(offset, Parts().balancers)


def places(targets):
    return [f"{target.host}:{target.port}" for target in targets]


class Balanced(Parts):
    def __init__(
        self, pools, app="protocol: tcp/80-81, edge_ips: [127.0.0.9], load_balancer: lb", offset=1, names=None
    ):
        super().__init__()
        self.offset, self.app, self.route = offset, app, None
        self.apply(pools, names)

    def apply(self, pools, names=None):
        more = f"pools: {{{pools}}}\nload_balancers: {{lb: {{default_pools: [p]}}}}"
        snapshot = compiled("protocol: tcp/80-81, edge_ips: [127.0.0.9], load_balancer: lb", more)
        self.balancers.apply(snapshot)
        self.settings = snapshot.apps[0]
        self.route = self.route or BalancedRoute(1, 81, self.balancers)
        return self.route.aim(self.settings, names or {})


def test_direct_routes_continue_with_the_others():
    route = direct(1)
    settings = compiled("protocol: tcp/80-81, origin_direct: ['tcp://192.0.2.1:90-91', 'tcp://192.0.2.2:70-71']").apps[
        0
    ]
    assert route.choose(*CLIENT) is Reason.NO_ORIGIN
    route.aim(settings, {})
    targets, tries = route.choose(*CLIENT)
    assert (sorted(places(targets)), tries) == (["192.0.2.1:91", "192.0.2.2:71"], 1)
    assert route.after([targets[0]], *CLIENT) == (targets[1],)
    assert route.find("192.0.2.1", 91) in targets
    assert route.find("192.0.2.1", 90) is None


def test_each_origin_has_one_target_however_many_orders_there_are(monkeypatch):
    made = []
    monkeypatch.setattr(
        "spectrum.plane.balancing.routes.Target", lambda *args, **more: made.append(args) or Target(*args, **more)
    )
    origins = ", ".join(f"'tcp://192.0.2.{i}:90'" for i in range(1, 251))
    route = direct(0)
    route.aim(compiled(f"protocol: tcp/80, origin_direct: [{origins}]").apps[0], {})
    assert len(made) == 250
    assert len(route.fixed_orders()) == 250 and len(set(route.targets())) == 250


def test_fixed_orders_include_every_origin():
    """The engine begins with the one behind the first."""
    route = direct(0)
    origins = ", ".join(f"'tcp://192.0.2.{n}:90'" for n in (1, 2, 3))
    route.aim(compiled(f"protocol: tcp/80, origin_direct: [{origins}]").apps[0], {})
    for _ in range(4):
        ways = [route.choose(*CLIENT)[0], *route.fixed_orders()[1:]]
        assert {places(targets)[0] for targets in ways} == {f"192.0.2.{n}:90" for n in (1, 2, 3)}


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_services_by_their_records(transport):
    route = direct(0)
    body = f"protocol: {transport}/80, origin_dns: {{name: _x._{transport}.example.org, type: SRV}}"
    settings = compiled(body).apps[0]
    route.aim(settings, {})
    assert route.choose(*CLIENT) is Reason.UNRESOLVED
    records = ("20 0 3 192.0.2.3", "10 3 1 192.0.2.1", "10 1 2 2001:db8::2")
    route.aim(settings, {f"SRV _x._{transport}.example.org {transport} 0-0": records})
    orders = [places(route.choose(*CLIENT)[0]) for _ in range(4)]
    assert sorted(order[0] for order in orders) == ["192.0.2.1:1"] * 3 + ["2001:db8::2:2"]
    assert all(order[2] == "192.0.2.3:3" for order in orders)
    assert route.find("192.0.2.3", 3).port == 3
    assert route._host_name(settings, 0) == "example.org"


@pytest.mark.parametrize(("port", "expected"), [(", port: 8080", "192.0.2.1:8081"), ("", "192.0.2.1:81")])
def test_ports_keep_their_offset(port, expected):
    made = Balanced(f"p: {{origins: [{{name: a, address: 192.0.2.1{port}}}]}}")
    targets, tries = made.route.choose(*CLIENT)
    assert (places(targets), tries) == ([expected], 1)
    assert targets[0].number == made.balancers.origins[targets[0].number].number
    assert made.route.choose(*CLIENT)[0] is targets


def test_the_next_origin_after_one_that_failed():
    made = Balanced("p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2}]}")
    (first,), tries = made.route.choose(*CLIENT)
    assert tries == 2
    (second,) = made.route.after([first], *CLIENT)
    assert {first.host, second.host} == {"192.0.2.1", "192.0.2.2"}
    assert made.route.after([first, second], *CLIENT) == ()


def test_names():
    pools = "p: {origins: [{name: a, address: b.example, port: 7}]}"
    made = Balanced(pools)
    assert made.route.choose(*CLIENT) is Reason.UNRESOLVED
    key = "ANY b.example tcp 7-7"
    assert made.apply(pools, {key: ("192.0.2.1", "192.0.2.2")}) == []
    ways = [places(made.route.choose(*CLIENT)[0]) for _ in range(4)]
    assert ways[0] != ways[1]
    assert sorted(ways[0]) == sorted(ways[1]) == ["192.0.2.1:8", "192.0.2.2:8"]
    # Two for each address, one of them staggered; the first of its order is not.
    assert "192.0.2.1:8" in places(made.apply(pools, {key: ("192.0.2.2",)}))
    assert places(made.route.choose(*CLIENT)[0]) == ["192.0.2.2:8"]


def test_a_name_without_an_address_is_passed_over():
    made = Balanced(
        "p: {origins: [{name: a, address: b.example, weight: 1}, {name: b, address: 192.0.2.2, weight: 0.01}]}"
    )
    assert {tuple(places(made.route.choose(*CLIENT)[0])) for _ in range(50)} == {("192.0.2.2:81",)}


def test_reloads_keep_targets_and_tell_of_those_gone():
    two = "p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2%s}]}"
    made = Balanced(two % "")
    kept = {made.route.choose(*CLIENT)[0][0] for _ in range(50)}
    assert len(kept) == 2
    assert made.apply(two % "") == []
    assert set(made.route.targets()) == kept
    # Disabled, it still has sessions: only what is out of the file is gone.
    assert made.apply(two % ", enabled: false") == []
    gone = made.apply("p: {origins: [{name: a, address: 192.0.2.1}]}")
    assert places(gone) == ["192.0.2.2:81"]
    assert places(made.route.targets_of({target.number for target in kept})) == ["192.0.2.1:81"]
    # An origin that a reload took away while somebody was being connected to it.
    assert places(made.route.after(gone, *CLIENT)) == ["192.0.2.1:81"]


def test_nobody_is_left():
    made = Balanced("p: {origins: [{name: a, address: 192.0.2.1}], enabled: false}")
    assert made.route.choose(*CLIENT) is Reason.NO_ORIGIN


def test_found_by_address():
    made = Balanced("p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2, enabled: false}]}")
    assert places([made.route.find("192.0.2.1", 81)]) == ["192.0.2.1:81"]
    assert made.route.find("192.0.2.1", 80) is None
    assert made.route.find("192.0.2.2", 81) is None


def test_down_origins_get_nobody():
    made = Balanced("p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2}]}")
    (first,), _ = made.route.choose(*CLIENT)
    made.balancers.take_standings({first.number: Standing(False)})
    assert {made.route.choose(*CLIENT)[0][0].number for _ in range(20)} == set(made.balancers.origins) - {first.number}


def test_with_their_own_address_clients_are_led_to_origins_of_their_family():
    made = Balanced("p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: '2001:db8::1'}]}")
    transparent = msgspec.structs.replace(made.settings, transparent=True)
    made.route.aim(transparent, {})
    six = b"\x20\1\x0d\xb8" + bytes(12)
    for client, host in ((CLIENT[0], "192.0.2.1"), (six, "2001:db8::1")):
        ways = [made.route.choose(client, port)[0] for port in range(20)]
        assert {target.host for way in ways for target in way} == {host}
        assert made.route.after([ways[0][0]], client, 5) == ()
    only = Balanced("p: {origins: [{name: a, address: 192.0.2.1}]}")
    only.route.aim(msgspec.structs.replace(only.settings, transparent=True), {})
    assert only.route.choose(six, 5) is Reason.SOURCE_FAMILY


TPROXY = "protocol: tcp/{first}-65000, tproxy: {{port: 15000, prefixes: [192.0.2.0/24]}}"
TWO = ", origin_direct: ['tcp://192.0.2.1:{first}-65000', 'tcp://192.0.2.2:{first}-65000']"


def ported(first):
    return compiled((TPROXY + TWO).format(first=first)).apps[0]


def test_each_port_has_its_route():
    settings = ported(1000)
    routes = PortRoutes(lambda port: direct(port - settings.first_port))
    assert routes.aim(settings, {}) == []
    for port in (1000, 1001, 65000, 1000):
        targets, _ = routes.choose(*CLIENT, port)
        assert sorted(places(targets)) == [f"192.0.2.1:{port}", f"192.0.2.2:{port}"]
        assert routes.after([targets[0]], *CLIENT) == (targets[1],)
    assert len(routes.targets()) == 6
    found = routes.find("192.0.2.1", 1001, 1001)
    assert found in routes.targets()
    assert routes.find("192.0.2.1", 1000, 1001) is None
    assert routes.targets_of({0}) == list(routes.targets())


def test_a_range_that_moves_leads_elsewhere():
    moved = {"first": 1000}
    routes = PortRoutes(lambda port: direct(port - moved["first"]))
    routes.aim(ported(1000), {})
    before, _ = routes.choose(*CLIENT, 2000)
    assert routes.aim(ported(1000), {}) == []
    assert routes.choose(*CLIENT, 2000)[0][0] in before
    moved["first"] = 900
    assert set(routes.aim(ported(900), {})) == set(before)
    assert routes.after([before[0]], *CLIENT) == ()
    assert sorted(places(routes.choose(*CLIENT, 2000)[0])) == ["192.0.2.1:2000", "192.0.2.2:2000"]


def test_who_scans_all_ports_does_not_fill_the_memory():
    settings = ported(1000)
    routes = PortRoutes(lambda port: direct(port - 1000))
    routes.aim(settings, {})
    first, _ = routes.choose(*CLIENT, 1000)
    for port in range(1001, 1000 + MAX_PORT_ROUTES + 200):
        routes.choose(*CLIENT, port)
    assert len(routes.targets()) == 2 * MAX_PORT_ROUTES + 400  # those that made room are counted a last time
    assert set(first) <= set(routes.targets())
    assert routes.after([first[0]], *CLIENT) == ()
    gone = routes.aim(settings, {})
    assert len(gone) == 400
    assert set(first) <= set(gone)
    assert routes.choose(*CLIENT, 1000)[0] != first


def test_targets_have_the_names_that_records_tell():
    balanced = Balanced("p: {origins: [{name: a, address: 192.0.2.1}]}")
    target = balanced.route.choose(*CLIENT)[0][0]
    assert (target.pool, target.origin) == ("p", "a")
    route = direct(0)
    settings = compiled("protocol: tcp/80, origin_dns: {name: b.example}, origin_port: 7").apps[0]
    route.aim(settings, {name_key(settings.origin_name): ("192.0.2.1",)})
    target = route.choose(*CLIENT)[0][0]
    assert (target.pool, target.origin) == ("", "b.example")


# --- bounds -----------------------------------------------------------------------------------------------------------

TWO_ORIGINS = "protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90', 'tcp://192.0.2.2:90']"


def bounded(body):
    """A route, and the parts that count its sessions."""
    parts = Parts()
    snapshot = parts.compile(f"apps: {{x: {{{body}}}}}")
    parts.balancers.apply(snapshot)
    return DirectRoute(0, parts.balancers), snapshot, parts


def test_a_full_origin_of_an_app_is_passed_over():
    route, snapshot, parts = bounded(f"{TWO_ORIGINS}, origin_max_sessions: 1")
    route.aim(snapshot.apps[0], {})
    full = set()
    parts.balancers.is_full = lambda place, most: place in full
    assert route.fixed_orders() == ()  # it depends on what they have
    one, other = route.choose(*CLIENT)[0]
    assert sorted((one.place, other.place)) == sorted(snapshot.origin_places["x"])
    assert (one.number, other.number) == (0, 0)
    full.add(one.place)
    for _ in range(3):
        assert route.choose(*CLIENT) == ((other,), 1)
    full.add(other.place)
    assert route.choose(*CLIENT) is Reason.ORIGIN_FULL


def test_the_addresses_of_a_name_are_one_origin():
    route, snapshot, _ = bounded(
        "protocol: tcp/80, origin_dns: {name: b.example}, origin_port: 7, origin_max_sessions: 2"
    )
    settings = snapshot.apps[0]
    route.aim(settings, {name_key(settings.origin_name): ("192.0.2.1", "192.0.2.2")})
    assert {target.place for target in route.targets()} == set(snapshot.origin_places["x"])
    assert list(route.preconnected()) == [(target, 2) for target in route.targets()]


def test_an_app_has_one_budget_until_its_settings_change():
    route, snapshot, parts = bounded(f"{TWO_ORIGINS}, retry_budget: {{percent: 5}}")
    route.aim(snapshot.apps[0], {})
    (budget,) = {target.retries for target in route.targets()}
    assert budget is not None
    parts.balancers.apply(snapshot)
    assert route.aim(snapshot.apps[0], {}) == []
    assert {target.retries for target in route.targets()} == {budget}
    changed = parts.compile(f"apps: {{x: {{{TWO_ORIGINS}, retry_budget: {{percent: 6}}}}}}")
    parts.balancers.apply(changed)
    assert route.aim(changed.apps[0], {}) == []
    assert budget not in {target.retries for target in route.targets()}
    unbounded = parts.compile(f"apps: {{x: {{{TWO_ORIGINS}}}}}")
    parts.balancers.apply(unbounded)
    route.aim(unbounded.apps[0], {})
    assert {target.retries for target in route.targets()} == {None}


def test_a_pool_has_one_budget():
    balanced = Balanced(
        "p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2}], retry_budget: {}}"
    )
    list(balanced.route.preconnected())
    one, other = balanced.route.targets()
    assert one.retries is other.retries is not None
    balanced.apply("p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2}]}")
    assert {target.retries for target in balanced.route.targets()} == {None}


def test_origins_that_clients_may_be_sent_to_are_preconnected():
    origins = "{name: a, address: 192.0.2.1, max_sessions: 9}, {name: b, address: 192.0.2.2}"
    balanced = Balanced(f"p: {{origins: [{origins}, {{name: c, address: 192.0.2.3, weight: 0}}]}}")
    assert [(t.host, most) for t, most in balanced.route.preconnected()] == [("192.0.2.1", 9), ("192.0.2.2", 0)]
    number = balanced.route.targets()[0].number
    balanced.balancers.take_standings({number: Standing(False)})
    assert [t.host for t, _ in balanced.route.preconnected()] == ["192.0.2.2"]
    balanced.balancers.take_standings({number: Standing(True)})
    assert len(list(balanced.route.preconnected())) == 2


def test_a_listener_with_every_port_preconnects_nothing():
    assert list(PortRoutes(direct).preconnected()) == []
