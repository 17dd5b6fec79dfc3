import errno
import io
import json
import os
import time
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest

from spectrum.control.records import log as log_module
from spectrum.control.records.log import MAX_UNTOLD, MAX_WAITING_BATCHES, LineWriter, SessionLog
from spectrum.core.records.formats import RecordFormat
from tests.core.records.test_events import EVENT
from tests.core.records.test_formats import HEALTH

JSON, TEXT = RecordFormat("json"), RecordFormat("text")
LINE = msgspec.json.encode(EVENT) + b"\n"


class Kept(io.BytesIO):
    def close(self):
        pass


def test_lines_are_written():
    stream = Kept()
    writer = LineWriter(stream)
    assert writer.write(b"one\n")
    assert writer.write(b"two\n")
    writer.close()
    assert stream.getvalue() == b"one\ntwo\n"


def test_what_comes_soon_after_is_written_together_and_at_the_end_at_once(monkeypatch):
    monkeypatch.setattr(log_module, "LINGER_S", 3600)
    stream = Kept()
    writer = LineWriter(stream)
    writer.write(b"one\n")
    while not stream.getvalue():
        time.sleep(0.001)
    writer.write(b"two\n")
    writer.write(b"three\n")
    assert stream.getvalue() == b"one\n"
    writer.close()
    assert stream.getvalue() == b"one\ntwo\nthree\n"


def test_a_stream_that_blocks_drops_lines_and_delays_nobody():
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as stream:
        writer = LineWriter(stream)
        accepted = sum(writer.write(bytes(65536)) for _ in range(MAX_WAITING_BATCHES + 50))
        assert accepted < MAX_WAITING_BATCHES + 50
        writer.close(0.05)
        os.close(read)
        writer.close()  # its thread has nobody to wait for any more


def test_a_reader_that_left_does_not_hurt(caplog):
    class Broken(Kept):
        broken = True

        def write(self, data):
            if self.broken:
                raise BrokenPipeError(errno.EPIPE, "broken")
            return super().write(data)

    stream = Broken()
    writer = LineWriter(stream)
    writer.write(b"x\ny\n")
    writer.write(b"z\n")
    while writer.lost < 3:
        time.sleep(0.001)
    stream.broken = False
    writer.write(b"again\n")
    writer.close()
    assert stream.getvalue() == b"again\n"
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "records of sessions cannot be written: broken pipe",
        "records of sessions are written again; 3 are lost so far",
    ]


def test_a_line_that_was_torn_is_ended_first():
    class Full(Kept):
        room = 0

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "full")
            taken = bytes(data[: self.room])
            self.room -= len(taken)
            return super().write(taken)

    stream = Full()
    writer = LineWriter(stream)
    steps = [
        (5, b"one\ntwo\nthree\n", 2),
        (0, b"four\nfive\n", 4),
        (1, b"six\n", 5),  # the end of the torn line alone
        (6, b"seven\neight\n", 6),
        (0, b"nine\n", 7),
        (100, b"ten\n", 7),
    ]
    for room, data, lost in steps:
        stream.room = room
        size = len(stream.getvalue())
        writer.write(data)
        while (writer.lost, len(stream.getvalue()) > size) != (lost, room > 0):
            time.sleep(0.001)
    writer.close()
    assert stream.getvalue() == b"one\nt\nseven\nten\n"


def session_log(form=JSON, per_second=0, clock=lambda: 0.0):
    stream, left_out = Kept(), []
    writer = LineWriter(stream)
    return SessionLog(writer, form, per_second, left_out.append, clock), writer, stream, left_out


def test_json_is_written_as_it_came():
    log, writer, stream, left_out = session_log()
    log.add(LINE * 2)
    log.add(LINE, has_sums=False)
    writer.close()
    assert (stream.getvalue(), left_out) == (LINE * 3, [])


def test_text():
    log, writer, stream, _ = session_log(form=TEXT)
    log.add(LINE)
    writer.close()
    assert b" disconnect 200 client_closed app=ssh " in stream.getvalue()


def line(**changes):
    return msgspec.json.encode(msgspec.structs.replace(EVENT, **changes)) + b"\n"


def at(second, **changes):
    return line(Timestamp=datetime(2026, 1, 2, 3, 4, second, 5, tzinfo=UTC), **changes)


REFUSED = {"Event": "clientFiltered", "Reason": "client_blocked", "OriginIP": ""}


def records(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_rate_is_kept_and_told(caplog):
    now = [100.0]
    log, writer, stream, left_out = session_log(per_second=3, clock=lambda: now[0])
    for count in (2, 2, 5):
        log.add(at(1) * count)
    log.add(at(2) * 2)
    now[0] += 1
    log.tick()
    log.add(at(3) * 5 + at(4))
    now[0] += 10
    log.tick()
    log.tick()
    writer.close()
    told = [record.get("Suppressed", 0) for record in records(stream)]
    assert told == [0, 0, 0, 6, 0, 0, 0, 0, 2]
    assert sum(left_out) == 8
    assert [record.getMessage() for record in caplog.records] == [
        "sessions come faster than log.sessions_per_second: records are left out of app ssh",
        "sessions come faster than log.sessions_per_second: over, 8 were left out of app ssh",
    ]


def test_text_tells_what_was_left_out():
    log, writer, stream, _ = session_log(form=TEXT, per_second=1)
    log.add(at(1) * 3 + at(2))
    writer.close()
    assert stream.getvalue().splitlines()[1].endswith(b" suppressed=2")


def test_the_rate_is_of_when_sessions_ended():
    log, writer, stream, left_out = session_log(per_second=2)
    backlog = [at(second) for second in range(50) for _ in range(2)]
    log.add(b"".join(backlog))  # a minute that the supervisor stood still
    log.add(b"".join(backlog))  # from another worker: what was used so long ago is not known any more
    writer.close()
    assert (len(records(stream)), left_out) == (200, [])


def test_no_app_and_no_flood_of_refusals_silences_others():
    log, writer, stream, left_out = session_log(per_second=10)
    log.add(at(1, **REFUSED) * 2500 + at(1, Application="noisy") * 500)
    log.add(at(1) * 5 + at(1, Application="other") * 5 + at(1, Application="other", **REFUSED) * 5)
    writer.close()
    kinds = Counter((record["Application"], record["Reason"]) for record in records(stream))
    assert kinds == {
        ("ssh", "client_blocked"): 10,
        ("noisy", "client_closed"): 10,
        ("ssh", "client_closed"): 5,
        ("other", "client_closed"): 5,
        ("other", "client_blocked"): 5,
    }
    assert sum(left_out) == 2490 + 490


def test_clients_that_were_gone_at_once_are_counted_with_refusals():
    log, writer, stream, _ = session_log(per_second=3)
    log.add(at(1, Reason="client_reset", OriginIP="") * 9 + at(1, Reason="client_reset") * 2)
    writer.close()
    assert [record["OriginIP"] != "" for record in records(stream)] == [False] * 3 + [True] * 2


def test_sums_of_several_workers_are_added_up():
    log, writer, stream, _ = session_log()
    log.add(at(1, Sessions=3, **REFUSED) + at(1, Sessions=4, **REFUSED) + at(1, Sessions=5, Reason="client_limit"))
    several = {"ClientIP": "", **REFUSED}
    log.add(at(1, Sessions=70, Clients=7, **several) + at(1, Sessions=1, Clients=1, **several))
    assert stream.getvalue() == b""
    log.tick()
    log.tick()
    writer.close()
    found = [(record["Reason"], record["Sessions"], record.get("Clients")) for record in records(stream)]
    assert found == [("client_blocked", 7, None), ("client_limit", 5, None), ("client_blocked", 71, 8)]


def test_sums_that_stand_for_others_are_added_up():
    log, writer, stream, _ = session_log()
    log.add(at(1, Sessions=3, SampledOneIn=4, **REFUSED) + at(1, Sessions=4, **REFUSED))
    log.add(at(1, Sessions=2, SampledOneIn=8, **{**REFUSED, "Reason": "client_limit"}))
    log.tick()
    writer.close()
    found = [(record["Sessions"], record.get("SampledOneIn")) for record in records(stream)]
    assert found == [(16, None), (2, 8)]


def test_lines_that_the_writer_drops_are_reported(caplog):
    now = [100.0]
    log, writer, stream, left_out = session_log(clock=lambda: now[0])
    write = writer.write
    writer.write = lambda data: False
    log.add(LINE * 2)
    log.add(LINE)
    log.lose(0)
    log.lose(7)
    writer.write = write
    now[0] += 10
    log.tick()
    log.add(LINE)
    writer.close()
    assert left_out == [2, 1]
    assert [record["Suppressed"] for record in records(stream)] == [3]
    assert [record.getMessage() for record in caplog.records] == [
        "standard output is not read as fast as sessions end: records are left out",
        "workers have more records than the supervisor takes, and sample them (SampledOneIn): records are left out",
        "standard output is not read as fast as sessions end: over, 3 were left out",
        "workers have more records than the supervisor takes, and sample them (SampledOneIn): over, 7 were left out",
    ]


def test_records_that_workers_left_out_are_reported_by_the_next_line(caplog):
    log, writer, stream, left_out = session_log(per_second=1)
    log.leave_out({"a": 3})
    log.leave_out({"a": 2, "b": 4})
    log.add(at(1, Application="a") + at(2, Application="a"))
    writer.close()
    assert left_out == [3, 2, 4]
    assert [record.get("Suppressed") for record in records(stream)] == [5, None]
    assert [record.getMessage() for record in caplog.records] == [
        f"sessions come faster than log.sessions_per_second: records are left out of app {app}" for app in "ab"
    ]


@pytest.mark.parametrize("form", [JSON, RecordFormat("json", ("Application", "Suppressed", "Reason"))])
def test_a_batch_is_written_whole_or_line_by_line_with_the_same_outcome(form, monkeypatch):
    """The quick way for batches takes no decision of its own."""

    def outcome():
        log, writer, stream, left_out = session_log(form, per_second=5)
        for app, second, count in (("a", 1, 3), ("b", 1, 5), ("a", 1, 3), ("a", 2, 5), ("a", 2, 1), ("b", 2, 1)):
            log.add(at(second, Application=app) * count)
            log.add(at(second, Application=app, **REFUSED) * count)
        writer.close()
        return [(one["Application"], one["Reason"], one.get("Suppressed")) for one in records(stream)], sum(left_out)

    quick = outcome()
    monkeypatch.setattr(SessionLog, "_add_whole", lambda *_: False)
    assert outcome() == quick
    assert quick[1] == 4


def test_apps_that_have_no_more_lines_are_forgotten():
    log, writer, _, _ = session_log(per_second=1)
    for number in range(MAX_UNTOLD + 5):
        log.add(at(1, Application=f"app{number}") * 2)
    assert len(log._untold) == MAX_UNTOLD + 5
    log.tick()
    assert next(iter(log._untold)) == "app5"
    writer.close()


def test_an_app_with_many_lines_does_not_slow_down_the_others(monkeypatch):
    log, writer, stream, _ = session_log()
    log._untold["quiet"] = 3
    monkeypatch.setattr(log, "_take", None)
    log.add(LINE * 2)
    monkeypatch.undo()
    log.add(line(Application="quiet") + LINE)
    writer.close()
    assert [record.get("Suppressed") for record in records(stream)] == [None, None, 3, None]


def test_some_fields_in_another_form():
    form = RecordFormat("logfmt", ("Reason", "ClientIP", "Suppressed"), omits_empty=True)
    log, writer, stream, left_out = session_log(form=form, per_second=1)
    log.add(LINE * 2, has_sums=False)
    log.add(LINE.replace(EVENT.Timestamp.strftime("%H:%M:%S").encode(), b"23:59:59"), has_sums=False)
    log.add_event(HEALTH)
    writer.close()
    assert stream.getvalue().decode().splitlines() == [
        f"Reason={EVENT.Reason} ClientIP={EVENT.ClientIP}",
        f"Reason={EVENT.Reason} ClientIP={EVENT.ClientIP} Suppressed=1",
        "Reason=timeout",
    ]
    assert left_out == [1]
