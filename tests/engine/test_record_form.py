"""Records as the engine writes them, of real sessions."""

import json
import socket
import time
from collections import Counter
from datetime import datetime

import pytest

from spectrum.engine.record_form import Mark, RecordForm
from spectrum.engine.sessions import Outcome
from tests.engine.harness import Recorder, add, client, eventually, port_of, target

# One stands within a string.
_FORMS = {Mark.SESSION_NAME: b'"1.%c"'}
TEMPLATE = b"{" + b",".join(b'"%s":' % mark.name.encode() + _FORMS.get(mark, b"%c") % mark for mark in Mark) + b"}"


class Formed(Recorder):
    """Connects with a form of the records."""

    def __init__(self, origin, template_of, **options):
        super().__init__([target(origin, pool="near", origin="one")], **options)
        self.form = RecordForm(template_of)

    def accepted(self, batch):
        self.sessions.extend(batch)
        for name, *_ in batch:
            self.relay.connect(name, self.targets, b"", *self.timeouts, 1, self.form)


def _hold(edge, origin):
    """A session that ends with its client; return the client's port."""
    with client(edge) as c:
        port = port_of(c)
        o, _ = origin.accept()
        with o:
            c.sendall(b"question")
            o.sendall(b"longer answer")
            assert c.recv(100) == b"longer answer"
            c.shutdown(socket.SHUT_WR)
            while o.recv(100):
                pass
    return port


def test_a_record_has_what_the_engine_knows(sockets):
    edge, origin = sockets
    asked = []
    recorder = Formed(origin, lambda *end: asked.append(end) or TEMPLATE, bounds=((0.001, 60.0), (60.0,)))
    recorder.relay.place_of = lambda client: ("DE", 64500) if client == b"\x7f\0\0\1" else None
    add(recorder, edge)
    before = time.time()
    with recorder.running():
        ports = [_hold(edge, origin) for _ in range(3)]
        eventually(lambda: len(recorder.records) == 3)
    after = time.time()
    assert asked == [(Outcome.EOF_CLIENT, 0, False)]  # once for all of a kind
    for line, port in zip(recorder.records, ports, strict=True):
        record = json.loads(line)
        times = [datetime.fromisoformat(record[name]).timestamp() for name in ("CONNECTED_AT", "ENDED_AT")]
        assert before - 0.001 <= times[0] <= times[1] <= after + 0.001
        assert (record["CLIENT_ADDRESS"], record["CLIENT_PORT"]) == ("127.0.0.1", port)
        assert (record["ORIGIN_ADDRESS"], record["ORIGIN_PORT"]) == ("127.0.0.1", port_of(origin))
        assert (record["CLIENT_BYTES"], record["ORIGIN_BYTES"]) == (8, 13)
        assert (record["CLIENT_COUNTRY"], record["CLIENT_NUMBER"]) == ("DE", 64500)
        assert (record["EDGE_ADDRESS"], record["EDGE_PORT"]) == ("127.0.0.1", port_of(edge))
        assert (record["POOL"], record["ORIGIN_NAME"]) == ("near", "one")
        assert record["CLIENT_RTT"] > 0
        assert record["ORIGIN_RTT"] > 0
        assert 0 < record["CONNECT_DURATION"] < 1e10
    names = {f"1.{name:x}" for name, *_ in recorder.sessions}
    assert {json.loads(line)["SESSION_NAME"] for line in recorder.records} == names
    assert recorder.reports == []
    assert {tuple(total[:5]) for total in recorder.sums} == {(0, Outcome.EOF_CLIENT, 0, recorder.targets[0], True)}
    assert sum(total[5] for total in recorder.sums) == 3
    assert sum(count for total in recorder.sums for _, count in total[6]) == 3
    assert [place for total in recorder.sums for place, _ in total[8]] == [0] * len(recorder.sums)


def test_no_records_are_written_that_nobody_wants(sockets):
    edge, origin = sockets
    recorder = Formed(origin, lambda *end: TEMPLATE)
    recorder.relay.recorded = False
    add(recorder, edge)
    with recorder.running():
        _hold(edge, origin)
        eventually(lambda: recorder.sums)
    assert recorder.records == []


def test_an_app_has_so_many_records_in_a_second(sockets):
    edge, origin = sockets
    recorder = Formed(origin, lambda *end: TEMPLATE)
    recorder.relay.records_per_s = 2
    add(recorder, edge)
    recorder.relay.set_app(0, 7)
    assert recorder.relay.take_left_out() == []
    with recorder.running():
        for _ in range(9):
            _hold(edge, origin)
        eventually(lambda: sum(total[5] for total in recorder.sums) == 9)
    seconds = Counter(json.loads(line)["ENDED_AT"][:19] for line in recorder.records)
    assert set(seconds.values()) <= {1, 2}
    left_out = recorder.relay.take_left_out()
    assert left_out == ([(0, 9 - len(recorder.records))] if len(recorder.records) < 9 else [])
    assert recorder.relay.take_left_out() == []


def test_an_app_without_properties_has_all_records(sockets):
    edge, origin = sockets
    recorder = Formed(origin, lambda *end: TEMPLATE)
    recorder.relay.records_per_s = 1
    add(recorder, edge)
    with recorder.running():
        for _ in range(3):
            _hold(edge, origin)
        eventually(lambda: len(recorder.records) == 3)


@pytest.mark.parametrize("wanted", [True, False])
def test_round_trip_times_are_read_for_records_alone(sockets, wanted):
    edge, origin = sockets
    recorder = Recorder([target(origin)])
    recorder.relay.recorded = wanted
    add(recorder, edge)
    with recorder.running():
        _hold(edge, origin)
        eventually(lambda: recorder.reports)
    assert all(recorder.reports[0][11:13]) is wanted
    assert recorder.reports[0][9:11] == (8, 13)


def test_a_session_may_be_reported_by_itself_after_all(sockets):
    edge, origin = sockets
    recorder = Formed(origin, lambda *end: TEMPLATE)
    add(recorder, edge)
    with client(edge):
        with recorder.running():
            o, _ = origin.accept()
        recorder.relay.report_singly(recorder.sessions[0][0])
        o.close()
    with recorder.running():
        eventually(lambda: recorder.reports)
    assert (recorder.outcomes(), recorder.sums) == ([(Outcome.EOF_ORIGIN, 0)], [])


def test_a_form_that_fails_is_a_fault_and_leaves_nothing_behind(sockets):
    edge, origin = sockets
    recorder = Formed(origin, lambda *end: 1 // 0)
    add(recorder, edge)
    with recorder.running():
        _hold(edge, origin)
        eventually(lambda: recorder.faults)
        recorder.faults.clear()
        eventually(lambda: recorder.relay.active == 0)


def test_more_bounds_than_there_are_buckets():
    with pytest.raises(ValueError, match="at most 15 bounds, not 16"):
        Recorder(bounds=(range(16), ()))
