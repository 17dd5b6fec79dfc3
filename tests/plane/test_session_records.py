import time

import msgspec

from spectrum.core.access.rules import Verdict
from spectrum.core.limits.rules import Limits, app_rules
from spectrum.core.records.events import Attempt
from spectrum.core.records.reasons import Reason
from spectrum.engine.census import Census, Rates
from spectrum.engine.sessions import Outcome
from spectrum.engine.target import Target
from spectrum.plane.access.firewall import ClientPlaces
from spectrum.plane.apps import RunningApp
from spectrum.plane.forms import session_id
from spectrum.plane.limits import Limiter
from spectrum.plane.session import Session
from spectrum.plane.session_records import SessionRecords
from tests.plane.parts import Parts

APP = "apps: {x: {protocol: tcp/1000, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1], proxy_protocol: v1}}"


def records():
    parts = Parts()
    app = RunningApp(0, parts.compile(APP).apps[0], parts.balancers)
    made = SessionRecords(ClientPlaces(), Limiter(Census(), Rates()), parts.firewall)
    made.read_clock()
    return made, app


def ended(now_ns):
    """What the engine tells of a session without an origin."""
    return (
        0,
        Outcome.REFUSED,
        0,
        bytes([192, 0, 2, 1]),
        4000,
        None,
        now_ns,
        0,
        now_ns,
        5,
        6,
        7,
        8,
        99,
        bytes([192, 0, 2, 9]),
        22,
        None,
    )


def test_a_plain_session():
    made, app = records()
    event = made.ended(app, Reason.CLIENT_BLOCKED, ended(time.monotonic_ns()), None)
    assert (event.ClientIP, event.ClientPort, event.Application) == ("192.0.2.1", 4000, "x")
    assert (event.ProxyProtocol, event.OriginIP, event.ConnectTimestamp, event.AccessRule) == ("v1", "", None, "")
    assert (event.SessionId, event.EdgeIP, event.EdgePort) == (session_id(99), "192.0.2.9", 22)
    assert event.Attempts is event.Limit is msgspec.UNSET
    assert (event.ClientBytes, event.OriginBytes, event.ClientTcpRtt) == (5, 6, 7000)
    assert abs(event.Timestamp.timestamp() - time.time()) < 5


def test_what_is_known_of_others():
    made, app = records()
    session = Session()
    session.verdict = Verdict("no", True, "BLOCK_IP")
    event = made.ended(app, Reason.CLIENT_BLOCKED, ended(time.monotonic_ns()), session)
    assert event.AccessRule == "no"
    assert event.AccessPrefix is event.AccessList is msgspec.UNSET  # the rule is gone


def test_a_session_that_is_open():
    made, app = records()
    now = time.monotonic_ns()
    target = Target(bytes([192, 0, 2, 5]), 22, "192.0.2.5")
    item = (0, Outcome.CONNECTED, 0, *ended(now)[3:5], target, now - 9_000_000, now - 5_000_000, 0, *ended(now)[9:])
    event = made.told(app, item, None)
    assert (event.Event, event.Status, event.Reason, event.DisconnectTimestamp) == ("connect", 0, "", None)
    assert event.Timestamp == event.ConnectTimestamp
    assert (event.SessionId, event.ConnectDuration, event.OriginIP) == (session_id(99), 4_000_000, "192.0.2.5")
    assert event.ClientBytesSince is msgspec.UNSET
    item = (0, Outcome.PROGRESS, *item[2:8], now, *item[9:16], (3, 4))
    event = made.told(app, item, None)
    assert (event.Event, event.ClientBytes, event.OriginBytes) == ("progress", 5, 6)
    assert (event.ClientBytesSince, event.OriginBytesSince) == (3, 4)
    end = made.ended(app, Reason.CLIENT_CLOSED, item, None)
    assert (end.ClientBytes, end.ClientBytesSince, end.OriginBytesSince) == (5, 3, 4)
    assert abs(event.Timestamp.timestamp() - time.time()) < 5


def test_a_client_that_was_reset_before_it_was_accepted():
    made, app = records()
    event = made.gone(app, bytes([192, 0, 2, 1]))
    assert (event.Reason, event.ClientIP, event.ClientPort) == (Reason.CLIENT_RESET.label, "192.0.2.1", 0)
    assert abs(event.Timestamp.timestamp() - time.time()) < 5


def test_attempts_and_the_origin_that_failed_last():
    made, app = records()
    session, target = Session(), Target(bytes([192, 0, 2, 5]), 22, "192.0.2.5", pool="near", origin="one")
    session.fail(target, Reason.CONNECT_REFUSED)
    now = time.monotonic_ns()
    item = (*ended(now)[:5], target, *ended(now)[6:])
    event = made.ended(app, Reason.CONNECT_REFUSED, item, session)
    assert (event.OriginIP, event.OriginPort) == ("192.0.2.5", 22)
    assert event.Attempts == [Attempt(Origin="192.0.2.5:22", Reason="connect_refused", Name="near/one")]


def test_a_limit_that_was_hit():
    made, app = records()
    app.rules = app_rules(Limits(client_sessions=3), "x", "tcp")
    event = made.ended(app, Reason.CLIENT_LIMIT, ended(time.monotonic_ns()), None)
    assert event.Limit == "app: client_sessions 3"
