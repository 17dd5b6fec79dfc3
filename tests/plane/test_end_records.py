import time
from datetime import UTC, datetime

import msgspec
import pytest

from spectrum.core.limits.rules import Limits, app_rules
from spectrum.core.records.reasons import Reason
from spectrum.engine.census import Census, Rates
from spectrum.engine.target import Target
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.apps import RunningApp
from spectrum.plane.end_records import EndRecords
from spectrum.plane.limits import Limiter
from tests.plane.parts import Parts

APP = "apps: {x: {protocol: %s/1000, edge_ips: [127.0.0.1], origin_direct: [%s://127.0.0.1:1]}}"


@pytest.fixture
def records():
    places = ClientPlaces()
    made = EndRecords(places, Limiter(Census(), Rates()), Firewall(places))
    made.read_clock()
    return made


def item(now_ns, connected_ns=0, target=None, since=None):
    """What an engine tells."""
    ends = bytes([192, 0, 2, 1]), 4000, target, now_ns - 3000, connected_ns, now_ns
    return (0, 0, 0, *ends, 5, 6, 7, 8, 99, bytes([192, 0, 2, 9]), 22, since)


def test_the_clock(records):
    assert abs(records.wall_time(time.monotonic()) - datetime.now(UTC)).total_seconds() < 5


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_what_both_transports_tell(records, transport):
    parts, now = Parts(), time.monotonic_ns()
    app = RunningApp(0, parts.compile(APP % (transport, transport)).apps[0], parts.balancers)
    event = records.event(app, app.recorded, Reason.CLIENT_BLOCKED, item(now), {"SessionId": "9"})
    assert (event.Application, event.Reason, event.SessionId) == ("x", Reason.CLIENT_BLOCKED.label, "9")
    assert (event.ClientIP, event.ClientPort, event.ClientBytes) == ("192.0.2.1", 4000, 5)
    assert (event.EdgeIP, event.EdgePort, event.OriginIP, event.OriginBytes) == ("192.0.2.9", 22, "", 6)
    assert (event.ConnectTimestamp, event.ConnectDuration, event.Limit) == (None, 0, msgspec.UNSET)
    assert event.ClientBytesSince is msgspec.UNSET

    app.rules = app_rules(Limits(client_sessions=3), "x", transport)
    target = Target(bytes([192, 0, 2, 5]), 80, "192.0.2.5")
    event = records.event(app, app.recorded, Reason.CLIENT_LIMIT, item(now, now - 1000, target, (3, 4)), {})
    assert (event.ClientBytesSince, event.OriginBytesSince) == (3, 4)
    assert (event.OriginIP, event.OriginPort, event.ConnectDuration) == ("192.0.2.5", 80, 2000)
    assert event.ConnectTimestamp <= event.DisconnectTimestamp == event.Timestamp
    assert event.Limit == "app: client_sessions 3"
