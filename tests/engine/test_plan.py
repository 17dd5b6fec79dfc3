"""Plans that the engine follows, against what `spectrum.wire` says of headers, and a census."""

import contextlib
import socket
from ipaddress import ip_network

import pytest

from spectrum.core.access.prefix_table import PrefixTable, PrefixTableBuilder
from spectrum.engine.census import Census, Rates
from spectrum.engine.plan import SessionPlan
from spectrum.engine.record_form import RecordForm
from spectrum.engine.sessions import Outcome
from spectrum.engine.target import Target
from spectrum.wire import Transport
from spectrum.wire.proxy_protocol import v1_line, v2_header
from tests.engine.harness import LOOPBACK, PATIENCE_S, Recorder, client, eventually, listening, port_of, target

FORM = RecordForm(lambda outcome, error, has_since: b"{}")
APP = 77
# Of the engine (sessions.pxd).
MAX_KINDS = 16


def plan(*targets, header="off", **options):
    return SessionPlan(tuple((t,) for t in targets), header, 2000, 0, FORM, **options)


def serve(recorder, edge, followed, address=LOOPBACK):
    edge.setblocking(False)
    number = recorder.relay.add_listener(edge.fileno(), 0, address, port_of(edge))
    recorder.relay.set_app(0, APP)
    recorder.relay.set_plan(number, followed)
    return number


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("version", ["off", "v1", "v2"])
def test_the_header_is_the_one_of_the_specification(host, version):
    recorder = Recorder()
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    with listening(host=host) as edge, listening(host=host) as origin:
        leads_to = Target(packed, port_of(origin), host)
        number = serve(recorder, edge, plan(leads_to, header=version), packed)
        with recorder.running(), socket.create_connection((host, port_of(edge)), PATIENCE_S) as c:
            ports = port_of(c), port_of(edge)
            c.sendall(b"payload")
            c.shutdown(socket.SHUT_WR)
            o, _ = origin.accept()
            with o:
                data = b"".join(iter(lambda: o.recv(1000), b""))
            eventually(lambda: recorder.records)
    headers = {
        "off": b"",
        "v1": v1_line(":" in host, host, host, *ports),
        "v2": v2_header(Transport.STREAM, packed, packed, *ports),
    }
    assert data == headers[version] + b"payload"
    assert (recorder.sessions, recorder.begins) == ([], [(number, 1)])


def test_origins_take_turns(sockets):
    edge, origin = sockets
    with listening() as other:
        recorder = Recorder()
        serve(recorder, edge, plan(target(origin), target(other)))
        with recorder.running():
            for turn in (other, origin, other):
                with client(edge):
                    turn.accept()[0].close()


def test_the_handler_decides_on_those_whom_a_judge_names(sockets):
    edge, origin = sockets
    named = [None, "verdict", None]
    recorder = Recorder([target(origin)])
    serve(recorder, edge, plan(target(origin), judge=lambda client: named.pop(0) if client == LOOPBACK else 1 // 0))
    with recorder.running():
        for _ in range(3):
            with client(edge):
                origin.accept()[0].close()
    assert (len(recorder.sessions), sum(count for _, count in recorder.begins)) == (1, 2)


@pytest.mark.parametrize(("prefix", "asked"), [("127.0.0.0/8", 1), ("192.0.2.0/24", 0), ("127.0.0.2/32", 0)])
def test_a_judge_is_asked_only_about_those_whom_a_prefix_holds(sockets, prefix, asked):
    edge, origin = sockets
    met, builder = [], PrefixTableBuilder()
    network = ip_network(prefix)
    builder.add(network.network_address.packed, network.prefixlen, 1)
    recorder = Recorder()
    prefixes = PrefixTable(builder.build())
    serve(recorder, edge, plan(target(origin), judge=met.append, prefixes=prefixes))
    with recorder.running(), client(edge):
        origin.accept()[0].close()
    assert (len(met), sum(count for _, count in recorder.begins)) == (asked, 1)


def test_a_judge_that_fails_is_a_fault_and_the_handler_decides(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    serve(recorder, edge, plan(target(origin), judge=lambda client: 1 // 0))
    with recorder.running():
        with client(edge):
            origin.accept()[0].close()
        eventually(lambda: recorder.faults)
        recorder.faults.clear()
    assert len(recorder.sessions) == 1


def _assert_refused(edge):
    """Raise ConnectionError, wherever the reset is met first."""
    with client(edge) as refused:
        refused.recv(1)


@pytest.mark.parametrize("scope", ["all", "client", "prefix"])
def test_too_many_are_refused(sockets, scope):
    edge, origin = sockets
    census = Census()
    recorder = Recorder(census=census)
    serve(recorder, edge, plan(target(origin), limits=[(APP, scope, False, 2, 51, False)]))
    with recorder.running():
        with client(edge), client(edge), origin.accept()[0], origin.accept()[0], pytest.raises(ConnectionError):
            _assert_refused(edge)
        eventually(lambda: census.count(APP) == 0)
        with client(edge), origin.accept()[0]:
            pass
    assert recorder.outcomes() == [(Outcome.REFUSED, 51)]


@pytest.mark.parametrize("waits", [False, True])
def test_those_that_come_too_fast_are_refused_or_left_to_the_handler(sockets, waits):
    edge, origin = sockets
    recorder = Recorder([target(origin)], rates=Rates())
    limits = [(APP, "client", True, 2, 52, waits), (APP, "all", True, 1000, 53, False)]
    serve(recorder, edge, plan(target(origin), limits=limits))
    with recorder.running():
        for _ in range(2):
            with client(edge):
                origin.accept()[0].close()
        if waits:
            with client(edge):
                origin.accept()[0].close()
        else:
            with pytest.raises(ConnectionError):
                _assert_refused(edge)
            eventually(lambda: recorder.reports)
    assert len(recorder.sessions) == waits
    assert ((Outcome.REFUSED, 52) in recorder.outcomes()) is not waits


def test_an_origin_that_does_not_answer_is_reported(sockets):
    edge, _ = sockets
    with listening() as gone:
        port = port_of(gone)
    recorder = Recorder()
    number = serve(recorder, edge, plan(target(port)))
    with recorder.running():
        with pytest.raises(ConnectionError):
            _assert_refused(edge)
        eventually(lambda: recorder.reports)
    assert (recorder.begins, recorder.sums) == ([(number, 1)], [])
    assert [report[1] for report in recorder.reports] == [Outcome.CONNECT_FAILED]
    assert [failed for failed, _ in recorder.failures] == [port]


def test_plans_are_dropped(sockets):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    serve(recorder, edge, plan(target(origin)))
    recorder.relay.drop_plans()
    with recorder.running(), client(edge):
        origin.accept()[0].close()
    assert (len(recorder.sessions), recorder.begins) == (1, [])


def test_a_plan_leads_somewhere():
    with pytest.raises(ValueError, match="one origin at least"):
        plan()


def test_events_within_a_tick_are_reported_together(sockets):
    edge, origin = sockets
    recorder = Recorder()
    number = serve(recorder, edge, plan(target(origin)))
    held = 0

    def holds_some():
        nonlocal held
        for _ in range(8):
            with client(edge):
                origin.accept()[0].close()
        held += 8
        eventually(lambda: sum(total[5] for total in recorder.sums) == held)
        assert len(recorder.records) == held
        return len(recorder.begins) < held and len(recorder.sums) < held

    with recorder.running():
        eventually(holds_some)
    assert {of for of, _ in recorder.begins} == {number}
    assert sum(count for _, count in recorder.begins) == held


def test_sessions_of_a_removed_listener_are_reported(sockets):
    edge, origin = sockets
    recorder = Recorder()
    number = serve(recorder, edge, plan(target(origin)))
    with client(edge), client(edge):
        recorder.relay.remove_listener(number)
        assert sum(count for _, count in recorder.begins) == 2
        recorder.relay.close_sessions(7)
        assert sum(total[5] for total in recorder.sums) == 2


def test_ends_at_origins_whose_sessions_are_counted_are_reported_at_once(sockets):
    """Clients may wait for their places."""
    edge, origin = sockets
    recorder = Recorder()
    serve(recorder, edge, plan(target(origin, place=3)))
    for count in range(1, 4):
        with client(edge):
            while not recorder.relay.active:
                recorder.loop.process()
            origin.accept()[0].close()
        while recorder.relay.active:
            recorder.loop.process()
        assert sum(total[5] for total in recorder.sums) == count


def test_more_listeners_than_are_reported_together(sockets):
    _, origin = sockets
    recorder = Recorder()
    followed = plan(target(origin))
    with contextlib.ExitStack() as stack:
        edges = [stack.enter_context(listening()) for _ in range(MAX_KINDS + 4)]
        numbers = [serve(recorder, edge, followed) for edge in edges]
        for edge in edges:
            stack.enter_context(client(edge))
        while recorder.relay.active < len(edges):
            recorder.loop.process()
        recorder.relay.tell_sums()
        assert sorted(recorder.begins) == [(number, 1) for number in numbers]
        recorder.relay.close_sessions(7)
