import time
from ipaddress import ip_address

import msgspec
import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.core.records.reasons import Reason
from spectrum.plane.apps import RunningApp, RunningListener, address_text
from spectrum.plane.balancing.routes import DirectRoute
from spectrum.plane.forms import RecordedSettings
from spectrum.wire import parse
from tests.plane.parts import Parts


def settings(body):
    return compile_snapshot(load_text(f"apps: {{x: {{{body}}}}}", "x"), 1).apps[0]


def listener(body, offset=0, names=None):
    balancers = Parts().balancers
    app = RunningApp(0, settings(body), balancers)
    running = RunningListener(app, next(app.settings.listeners())[0], offset, DirectRoute(offset, balancers))
    running.aim(names or {})
    return running


def way(running):
    """The targets for a new client, or the reason why there are none."""
    found = running.route.choose(b"\xc0\0\2\x63", 5)
    return found if isinstance(found, Reason) else found[0]


def places(order):
    return [(target.host, target.port) for target in order]


def test_orders_take_turns():
    running = listener(
        "protocol: tcp/80-81, origin_direct: ['tcp://192.0.2.1:90-91', 'tcp://192.0.2.2:70-71']", offset=1
    )
    orders = [places(way(running)) for _ in range(4)]
    assert orders[0] == orders[2] == [("192.0.2.2", 71), ("192.0.2.1", 91)]
    assert orders[1] == orders[3] == [("192.0.2.1", 91), ("192.0.2.2", 71)]


def test_names_are_taken_as_they_come():
    running = listener("protocol: tcp/80, origin_dns: {name: x.example, type: A}, origin_port: 8080")
    assert way(running) is Reason.UNRESOLVED
    running.aim({"A x.example tcp 8080-8080": ("192.0.2.1",)})
    first = way(running)[0]
    assert places([first]) == [("192.0.2.1", 8080)]
    running.aim({"A x.example tcp 8080-8080": ("192.0.2.1", "192.0.2.2")})
    assert any(first in order for order in running.route.orders)  # its counters go on


def test_changed_settings_make_new_targets():
    running = listener("protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90']")
    old = way(running)[0]
    running.app.configure(msgspec.structs.replace(running.app.settings, user_timeout_ms=1))
    running.aim({})
    assert way(running)[0] is not old


def test_no_origin_at_all():
    running = listener("protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90']")
    running.app.configure(msgspec.structs.replace(running.app.settings, origins=()))
    running.aim({})
    assert way(running) is Reason.NO_ORIGIN


@pytest.mark.parametrize("version", ["off", "v1", "v2"])
@pytest.mark.parametrize(
    ("client", "edge"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::2"),
        ("192.0.2.1", "2001:db8::2"),
        ("2001:db8::1", "192.0.2.2"),
    ],
)
def test_headers_to_the_origin(version, client, edge):
    app = RunningApp(
        0,
        settings(f"protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90'], proxy_protocol: {version}"),
        Parts().balancers,
    )
    data = app.encode(ip_address(client).packed, 1, ip_address(edge).packed, 2, b"")
    if version == "off":
        assert data == b""
        return
    header, length = parse(data)
    assert length == len(data)
    assert (str(header.source.address), str(header.destination.address)) == (client, edge)
    assert (header.source.port, header.destination.port) == (1, 2)


def test_measures_are_taken_with_the_targets_counts():
    running = listener("protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90']")
    running.app.listeners.add(running)
    running.app.measures.started = 2
    assert running.app.take_measures().started == 2
    assert running.app.take_measures().started == 0


def test_texts():
    assert address_text(b"\x7f\0\0\1") == "127.0.0.1"
    assert address_text(bytes(15) + b"\1") == "::1"


def test_source_address_of_the_origins_family():
    running = listener(
        "protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90'], source_ips: ['2001:db8::5', 127.0.0.5]"
    )
    assert places(way(running)) == [("192.0.2.1", 90)]


def test_records_tell_what_was_configured_when_a_session_was_accepted():
    app = listener("protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:90']").app
    before = app.recorded
    app.open = 1
    accepted = time.monotonic_ns()
    for changed in ({"proxy_protocol": "v2"}, {"user_timeout_ms": 1}, {"ip_firewall": True}):
        app.configure(msgspec.structs.replace(app.settings, **changed))
    assert app.recorded_at(accepted) == before == RecordedSettings("off", False, "off")
    assert (
        app.recorded_at(time.monotonic_ns())
        == app.recorded
        == app.terms.recorded
        == RecordedSettings("v2", True, "off")
    )
    app.open = 0  # nobody asks any more
    app.configure(app.settings)
    assert app.recorded_at(accepted) == app.recorded


def test_what_flows_get_is_asked_for_once():
    app = RunningApp(0, settings("protocol: udp/80, origin_direct: ['udp://192.0.2.1:80']"), Parts().balancers)
    assert not app.take_manner()
    app.configure(settings("protocol: udp/80, origin_direct: ['udp://192.0.2.2:80']"))
    assert not app.take_manner(), "origins are another matter"
    app.configure(settings("protocol: udp/80, origin_direct: ['udp://192.0.2.1:80'], proxy_protocol: simple"))
    assert app.take_manner()
    assert not app.take_manner()
