"""What is told of open sessions and flows: once when they are connected, then as often as the interval says."""

import json
import time

from spectrum.engine.record_form import Mark, RecordForm
from spectrum.engine.sessions import Outcome
from tests.engine import test_datagrams
from tests.engine.harness import Recorder, add, client, eventually, listening, target

_MARKS = (Mark.SESSION_NAME, Mark.CLIENT_BYTES, Mark.CLIENT_SINCE, Mark.ORIGIN_SINCE)


def template(outcome, error, has_since):
    values = b",".join(b'"%s":"%c"' % (mark.name.encode(), mark) for mark in _MARKS)
    return b'{"outcome":%d,%b}' % (outcome, values)


class Telling(Recorder):
    """Connects with or without a form of records, and keeps what it is told of open sessions, in order with ends."""

    def __init__(self, origin, form=None, **options):
        super().__init__([target(origin)], **options)
        self.form = form
        self.told_of = []
        self.order = []

    def accepted(self, batch):
        self.sessions.extend(batch)
        for name, *_ in batch:
            self.relay.connect(name, self.targets, b"", *self.timeouts, 1, self.form)

    def told(self, batch):
        self.told_of.extend(batch)
        self.order += [Outcome(item[1]).name for item in batch]

    def ended(self, batch):
        super().ended(batch)
        self.order += ["end"] * len(batch)

    def lines(self):
        return [json.loads(line) for line in self.records]


def test_nothing_is_reported_by_default(sockets):
    edge, origin = sockets
    recorder = Telling(origin)
    add(recorder, edge)
    with recorder.running(), client(edge):
        eventually(lambda: recorder.relay.look(0, 256)[0])
        time.sleep(0.2)
    assert recorder.told_of == []
    assert recorder.relay.progress_ms == 0


def test_the_handler_gets_reports(sockets):
    edge, origin = sockets
    recorder = Telling(origin)
    recorder.relay.tells_connects, recorder.relay.progress_ms = True, 50
    add(recorder, edge)
    with recorder.running():
        with client(edge) as c:
            o, _ = origin.accept()
            c.sendall(b"12345")
            assert o.recv(10) == b"12345"
            eventually(lambda: "PROGRESS" in recorder.order)
            before = len(recorder.told_of)
            o.sendall(b"1234567")
            assert c.recv(10) == b"1234567"
            eventually(lambda: any(one[16] and one[16][1] == 7 for one in recorder.told_of[before:]))
            eventually(lambda: recorder.told_of[-1][16] == (0, 0))
            c.sendall(b"89")
            assert o.recv(10) == b"89"
            o.close()
        eventually(lambda: recorder.reports)
    assert recorder.order[0] == "CONNECTED"
    assert recorder.order.count("CONNECTED") == 1
    assert recorder.order[-1] == "end"
    items = recorder.told_of + recorder.reports
    assert len({item[13] for item in items}) == 1  # one name joins them
    assert items[0][16] is None
    since = [item[16] for item in items[1:]]
    assert [sum(side) for side in zip(*since, strict=True)] == [7, 7], "the end has what is left"
    assert items[-1][9:11] == (7, 7)
    assert all(item[7] for item in items)
    assert [item[8] for item in items[1:]] == sorted(item[8] for item in items[1:])


def test_records_are_written_by_the_form(sockets):
    edge, origin = sockets
    recorder = Telling(origin, RecordForm(template))
    recorder.relay.tells_connects, recorder.relay.progress_ms = True, 50
    add(recorder, edge)
    with recorder.running():
        with client(edge) as c:
            o, _ = origin.accept()
            c.sendall(b"12345")
            assert o.recv(10) == b"12345"
            eventually(lambda: len(recorder.records) >= 3)
            c.sendall(b"678")
            assert o.recv(10) == b"678"
            o.close()
        eventually(lambda: recorder.sums)
    outcomes = [line["outcome"] for line in recorder.lines()]
    assert outcomes[0] == Outcome.CONNECTED
    assert set(outcomes[1:-1]) == {Outcome.PROGRESS}
    assert outcomes[-1] == Outcome.EOF_ORIGIN
    assert len({line["SESSION_NAME"] for line in recorder.lines()}) == 1
    since = [int(line["CLIENT_SINCE"]) for line in recorder.lines()]
    assert (since[0], sum(since)) == (0, 8), "the end has what is left"
    assert recorder.told_of == []


def test_of_many_sessions_each_has_its_turn_and_short_ones_are_reported_first(sockets):
    edge, origin = sockets
    recorder = Telling(origin, RecordForm(template))
    recorder.relay.tells_connects, recorder.relay.progress_ms = True, 100
    add(recorder, edge)
    with recorder.running():
        clients = [client(edge) for _ in range(40)]
        kept = [origin.accept()[0] for _ in clients]
        eventually(
            lambda: len({one["SESSION_NAME"] for one in recorder.lines() if one["outcome"] == Outcome.PROGRESS}) == 40
        )
        for sock in (*clients, *kept):
            sock.close()
        eventually(lambda: sum(one[5] for one in recorder.sums) == 40)
    told = {}
    for line in recorder.lines():
        told.setdefault(line["SESSION_NAME"], []).append(line["outcome"])
    for outcomes in told.values():
        assert outcomes[0] == Outcome.CONNECTED
        assert outcomes[-1] in (Outcome.EOF_CLIENT, Outcome.EOF_ORIGIN)
        assert outcomes.count(Outcome.CONNECTED) == 1


def test_nothing_is_reported_without_records(sockets):
    edge, origin = sockets
    recorder = Telling(origin)
    recorder.relay.tells_connects, recorder.relay.progress_ms, recorder.relay.recorded = True, 50, False
    add(recorder, edge)
    with recorder.running(), client(edge):
        eventually(lambda: recorder.relay.look(0, 256)[0])
        time.sleep(0.2)
    assert recorder.told_of == []


class TellingFlows(test_datagrams.Recorder):
    """Keeps what it is told of open flows."""

    def __init__(self, *arguments, **options):
        self.told_of = []
        super().__init__(*arguments, **options)

    def told(self, batch):
        self.told_of.extend(batch)


def test_flows():
    with test_datagrams.datagrams() as origin, test_datagrams.datagrams() as c:
        recorder = TellingFlows([test_datagrams.target(origin)])
        recorder.engine.tells_connects, recorder.engine.progress_ms = True, 50
        assert recorder.engine.progress_ms == 50
        edge = recorder.listen()
        with edge, recorder.running():
            c.sendto(b"123", edge.getsockname())
            data, flow = origin.recvfrom(10)
            assert recorder.told_of == [] or recorder.told_of[0][1] == 7
            origin.sendto(data * 2, flow)
            assert c.recv(10) == b"123123"
            eventually(lambda: sum(item[16][1] for item in recorder.told_of if item[16]) == 6)
            eventually(lambda: recorder.told_of[-1][16] == (0, 0, 0, 0))
            assert recorder.told_of[-1][9:13] == (3, 6, 1, 1)
            c.sendto(b"4567", edge.getsockname())
            assert origin.recv(10) == b"4567"
            recorder.engine.close(recorder.told_of[-1][13], 16)
            eventually(lambda: recorder.reports)
    items = recorder.told_of + recorder.reports
    assert [item[1] for item in items].count(7) == 1
    assert len({item[13] for item in items}) == 1
    since = [item[16] for item in items if item[16]]
    assert [sum(counts) for counts in zip(*since, strict=True)] == [7, 6, 2, 1], "the end has what is left"


def test_the_origin_is_named():
    with listening() as edge, listening() as origin:
        recorder = Telling(origin)
        recorder.relay.tells_connects = True
        add(recorder, edge)
        with recorder.running(), client(edge):
            eventually(lambda: recorder.told_of)
        assert recorder.told_of[0][5].name == f"127.0.0.1:{origin.getsockname()[1]}"
