"""Records of flows."""

import time

import pytest

from spectrum.core.access.rules import Verdict
from spectrum.core.records.reasons import Reason
from spectrum.engine.census import Census, Rates
from spectrum.engine.flow_keeper import FlowOutcome
from spectrum.plane.access.firewall import ClientPlaces
from spectrum.plane.apps import RunningApp
from spectrum.plane.flows.records import FlowRecords, flow_reason
from spectrum.plane.limits import Limiter
from spectrum.wire import simple_proxy
from tests.engine.harness import eventually, port_of
from tests.engine.test_datagrams import ask, datagrams
from tests.plane.parts import Parts
from tests.plane.udp_parts import body, edge


def test_simple_proxy_protocol_and_the_record(make, free_port, origin):
    plane = make({"x": body(free_port(), origin, more=", proxy_protocol: simple, timeouts: {idle: 100ms}")})
    with plane.running(), datagrams() as client:
        ask(client, edge(plane), b"question")
        data, peer = origin.recvfrom(1000)
        assert simple_proxy.parse(data).client_port == port_of(client)
        origin.sendto(data[:38] + b"answer!", peer)
        assert client.recv(100) == b"answer!"
        eventually(lambda: plane.lines)
        (event,) = plane.events()
        assert (event["Event"], event["Status"], event["Reason"]) == ("disconnect", 200, "idle_timeout")
        assert (event["ClientProto"], event["OriginProto"], event["ProxyProtocol"]) == ("udp", "udp", "simple")
        assert (event["ClientIP"], event["ClientPort"]) == ("127.0.0.1", port_of(client))
        assert (event["OriginIP"], event["OriginPort"]) == ("127.0.0.1", port_of(origin))
        assert (event["ClientBytes"], event["OriginBytes"]) == (8, 7)
        assert (event["ClientDatagrams"], event["OriginDatagrams"]) == (1, 1)
        assert event["SessionId"].startswith("u0.")
        assert (event["EdgeIP"], event["EdgePort"]) == edge(plane).getsockname()[:2]
        assert event["ConnectDuration"] > 0
    measures = plane.plane.take_measures()["x"]
    assert (measures.started, measures.active) == (1, 0)
    assert (measures.bytes_from_client, measures.bytes_from_origin) == (8, 7)
    assert (measures.datagrams_from_client, measures.datagrams_from_origin) == (1, 1)
    assert sum(measures.connect.counts) == sum(measures.duration.counts) == 1
    (counted,) = measures.origins.values()
    assert (counted.connected, counted.ended) == (1, 1)
    assert plane.plane.take_measures() == {}


@pytest.mark.parametrize(
    ("outcome", "error", "reason"),
    [
        (FlowOutcome.FLOW_EVICTED, 0, Reason.EVICTED),
        (FlowOutcome.FLOW_CONNECT_FAILED, 101, Reason.CONNECT_UNREACHABLE),
        (FlowOutcome.FLOW_CONNECT_FAILED, 0, Reason.NO_ORIGIN),
        (FlowOutcome.FLOW_REFUSED, 0, Reason.INTERNAL_ERROR),
        (FlowOutcome.FLOW_REFUSED, Reason.UNRESOLVED, Reason.UNRESOLVED),
        (FlowOutcome.FLOW_ORIGIN_ERROR, 111, Reason.INTERNAL_ERROR),
    ],
)
def test_reasons(outcome, error, reason):
    assert flow_reason(outcome, error) is reason


@pytest.mark.parametrize(
    ("verdict", "rule", "matched"),
    [(None, "", "UNKNOWN"), (Verdict("no", True, "BLOCK_IP"), "no", "BLOCK_IP")],
)
def test_what_a_record_tells(verdict, rule, matched):
    parts = Parts()
    snapshot = parts.compile("apps: {x: {protocol: udp/1, origin_direct: ['udp://127.0.0.1:2']}}")
    app = RunningApp(0, snapshot.apps[0], parts.balancers)
    records = FlowRecords(ClientPlaces(), Limiter(Census(), Rates()), parts.firewall, 3)
    records.read_clock()
    now = time.monotonic_ns()
    client, edge = (b"\xc0\0\2\1", 4000), (b"\xc0\0\2\x09", 53)
    item = (0, FlowOutcome.FLOW_IDLE, 0, *client, None, now - 9, now - 4, now, 5, 6, 7, 8, 99, *edge, None)
    event = records.ended(app, Reason.IDLE_TIMEOUT, item, verdict)
    assert (event.SessionId, event.ClientProto, event.OriginProto) == ("u3.63", "udp", "udp")
    assert (event.ClientBytes, event.OriginBytes, event.ClientDatagrams, event.OriginDatagrams) == (5, 6, 7, 8)
    assert (event.AccessRule, event.ClientMatchedIpFirewall) == (rule, matched)
    assert event.ConnectDuration == 5
    connect = records.told(app, (0, FlowOutcome.FLOW_CONNECTED, *item[2:]), verdict)
    assert (connect.Event, connect.SessionId, connect.Timestamp) == ("connect", "u3.63", event.ConnectTimestamp)
    progress = records.told(app, (0, FlowOutcome.FLOW_PROGRESS, *item[2:16], (1, 2, 3, 4)), verdict)
    since = progress.ClientBytesSince, progress.OriginBytesSince, progress.ClientDatagramsSince
    assert (progress.Event, *since, progress.OriginDatagramsSince) == ("progress", 1, 2, 3, 4)
    assert (progress.DisconnectTimestamp, progress.Reason, progress.ClientDatagrams) == (None, "", 7)
