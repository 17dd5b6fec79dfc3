import json
import os
import socket
import threading
from datetime import UTC, datetime

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.records import stream as module
from spectrum.control.records.journal import Journal
from spectrum.control.records.log import LineWriter
from spectrum.control.records.stream import RecordReadings, RecordsActor, RecordStream, record_folders, records_status
from spectrum.control.records.totals import Totals
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.configuration.config import Config
from spectrum.link.takeover import Events
from spectrum.log import FORMAT_VARIABLE
from tests.control.keepers import until
from tests.control.plans import change
from tests.control.records.test_log import LINE, Kept
from tests.control.records.waiting import soon
from tests.control.supervised import app, supervised

HEALTH = HealthEvent("poolHealth", datetime(2026, 1, 2, tzinfo=UTC), False, "too few", "p")


def config(more=""):
    return load_text(
        f"apps: {{x: {{protocol: tcp/1, origin_direct: [tcp://192.0.2.1:22]}}}}\nnode: {{name: edge1}}\n{more}", "f"
    )


def kept(folder, more=""):
    return config(
        f"records: {{journal: {{path: {folder}/journal}}, sinks: {{archive: {{path: {folder}/archive}}}}}}\n{more}"
    )


@pytest.fixture
def start():
    """Return a function that starts a stream, and returns what its log writes; all are closed at the end."""
    streams = []

    def open_stream(settings):
        out = Kept()
        streams.append(RecordStream(settings, LineWriter(out)))
        return streams[-1], out

    yield open_stream
    for stream in streams:
        stream.close()


def ids(path):
    return [json.loads(line)["RecordId"].split("/") for line in path.read_text().splitlines()]


def test_without_a_journal_records_go_to_the_log_as_they_are(start):
    stream, out = start(config())
    stream.add(Events(2, LINE * 2, "0/5f", 1))
    stream.add_health(HEALTH)
    stream.close()
    lines = out.getvalue().splitlines(keepends=True)
    assert lines[:2] == [LINE, LINE]
    assert json.loads(lines[2])["Event"] == "poolHealth"
    assert stream.read() == RecordReadings()
    assert records_status(stream.read()) is None


def test_folders(tmp_path):
    assert record_folders(config()) == []
    assert record_folders(kept(tmp_path)) == [tmp_path / "journal", tmp_path]


def test_settings_of_the_log_are_taken_at_a_reload(start):
    stream, out = start(config("log: {sessions: false}"))
    stream.add(Events(1, LINE))
    stream.add_health(HEALTH)
    stream.configure(config("log: {format: text, sessions_per_second: 2}"))
    stream.add(Events(5, LINE * 5))
    stream.tick(3, {})
    stream.tick(3, {"echo": 7})
    stream.close()
    assert len(out.getvalue().splitlines()) == 2
    assert out.getvalue().startswith(b"2026-01-02T03:04:07.000000Z disconnect")
    assert stream.read().lines_suppressed == 3 + 7


def test_the_journal_gets_all_and_its_sinks_too(start, tmp_path):
    settings = kept(tmp_path, "log: {sessions: false}")
    for epoch in ("5f", "60"):  # as after a restart
        stream, out = start(settings)
        stream.add(Events(2, LINE * 2, f"0/{epoch}", 1))
        stream.add(Events(1, LINE, f"1/{epoch}", 7))
        stream.add(Events(2, LINE * 2))  # of a version before these numbers
        stream.add_health(HEALTH)
        stream.close()
        assert out.getvalue() == b""
        readings = stream.read()
        assert (readings.journal.appended, readings.journal.lost) == (6, 0)
        assert [(feed.name, feed.delivered, feed.lag_records) for feed in readings.feeds] == [("archive", 6, 0)]
    found = ids(tmp_path / "archive")
    assert len({tuple(one) for one in found}) == len(found) == 12
    assert found[:3] == [["edge1", "0", "5f", "1"], ["edge1", "0", "5f", "2"], ["edge1", "1", "5f", "7"]]
    assert [one[1::2] for one in found[3:6]] == [["supervisor", "1"], ["supervisor", "2"], ["supervisor", "3"]]
    assert found[8][2] == "60"


def test_journaled_records_are_confirmed_and_repeated_ones_not_logged_again(start, tmp_path):
    stream, out = start(kept(tmp_path))
    stream.add(Events(2, LINE * 2, "0/5f", 1))
    stream.add(Events(1, LINE, "0/5f", 3))
    stream.add(Events(1, LINE, "1/60", 9, again=True))
    soon(lambda: stream.read().journal.appended == 4)
    assert stream.take_kept() == {"0/5f": 4, "1/60": 10}
    assert stream.take_kept() == {}
    stream.close()
    assert out.getvalue() == LINE * 3
    assert start(config())[0].take_kept() == {}


def test_sinks_are_changed_by_a_reload(start, tmp_path):
    def sinks(**paths):
        listed = ", ".join(f"{name}: {{path: {tmp_path}/{path}}}" for name, path in paths.items())
        return config(f"records: {{journal: {{path: {tmp_path}/journal}}, sinks: {{{listed}}}}}")

    stream, _ = start(sinks(a="one", b="two"))
    kept = stream._kept._feeds["b"]
    stream.add(Events(1, LINE, "0/5f", 1))
    soon(lambda: [feed.delivered for feed in stream.read().feeds] == [1, 1])
    stream.configure(sinks(a="three", b="two", c="four"))
    assert stream._kept._feeds["b"] is kept
    stream.add(Events(1, LINE, "0/5f", 2))
    soon(lambda: {feed.name: feed.delivered for feed in stream.read().feeds} == {"a": 1, "b": 2, "c": 2})
    stream.configure(sinks(c="four"))
    stream.add(Events(1, LINE, "0/5f", 3))
    stream.configure(sinks(a="three", c="four"))
    stream.close()
    found = {path: [one[3] for one in ids(tmp_path / path)] for path in ("one", "two", "three", "four")}
    assert found["one"] == ["1"]
    assert found["three"] == ["2", "3"]  # where the one before it left off
    assert found["two"] == ["1", "2"]
    assert found["four"] == ["1", "2", "3"]


def test_what_goes_wrong_is_seen(start, tmp_path):
    (tmp_path / "archive").mkdir()
    stream, out = start(kept(tmp_path))
    stream.add(Events(2, LINE * 2, "0/5f", 1))
    soon(lambda: stream.read().feeds[0].failure)
    status = records_status(stream.read())
    assert status["journal"] == {
        "path": f"{tmp_path}/journal",
        "bytes": status["journal"]["bytes"],
        "max_bytes": 2**30,
        "records": 2,
        "lost": 0,
        "failure": None,
    }
    (sink,) = status["sinks"]
    assert sink["lag_s"] >= 0
    assert (sink["name"], sink["lag_records"], sink["records"], sink["lost"]) == ("archive", 2, 0, 0)
    assert sink["failure"] == f"{tmp_path}/archive: is a directory"
    (trouble,) = RecordsActor(stream, Totals(), lambda ends: None).troubles()
    assert (trouble.kind, trouble.severity, trouble.facts["name"]) == ("records_wait", "degraded", "archive")
    assert (trouble.facts["behind"], trouble.facts["why"]) == (2, sink["failure"])
    stream.close()
    assert out.getvalue() == LINE * 2
    (tmp_path / "archive").rmdir()
    start(kept(tmp_path))[0].close()
    assert len(ids(tmp_path / "archive")) == 2


def test_a_journal_that_another_process_has_costs_the_log_nothing(start, tmp_path):
    other = Journal(tmp_path / "journal", 2**24)
    other.wait_open(threading.Event())
    stream, out = start(kept(tmp_path))
    stream.add(Events(2, LINE * 2, "0/5f", 1))
    soon(lambda: out.getvalue() == LINE * 2)
    other.close(5)
    other.release()
    soon(lambda: stream.read().feeds[0].delivered == 2)


async def test_a_rollout_changes_how_lines_are_written(start, monkeypatch):
    apps = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"
    one = change(f"{apps}log: {{format: json}}\n", f"{apps}log: {{format: text}}\n")
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    configured = []
    monkeypatch.setattr(module, "configure_logging", lambda as_json, level: configured.append(as_json))
    stream, out = start(one.before.config)
    actor = RecordsActor(stream, Totals(), lambda ends: None)
    await actor.commit(one)
    assert os.environ[FORMAT_VARIABLE] == "text"  # of workers from now on
    stream.add(Events(1, LINE, "0/5f", 1))
    await actor.abort(one)
    assert os.environ[FORMAT_VARIABLE] == "json" and configured == [False, True]
    stream.add(Events(1, LINE, "0/5f", 2))
    stream.close()
    text, line = out.getvalue().splitlines()
    assert line + b"\n" == LINE != text + b"\n"


async def test_workers_are_told_what_is_journaled(tmp_path, free_port, monkeypatch):
    port, told = free_port(), []
    monkeypatch.setattr(WorkerProcess, "tell_kept", lambda worker, end: told.append((worker.number, end)))
    text = f"records: {{journal: {{path: {tmp_path}/journal}}}}\napps:\n{app('x', port)}"
    async with supervised(tmp_path, text) as (daemon, _):
        for end in (2, 3):
            socket.create_connection(("127.0.0.1", port)).close()
            await until(lambda end=end: told[-1:] == [(0, end)])
        assert (await daemon.pages.status())["records"]["journal"]["records"] == 2
        assert "spectrum_journal_records_total 2.0" in (await daemon.pages.metrics()).decode()


def events_in(folder):
    """The events of the records in a journal."""
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.journal")))
    return [part.split(b'"')[0].decode() for part in content.split(b'"Event":"')[1:]]


def test_analytics_has_a_journal_of_its_own_from_one_reload_to_another(start, tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/x")
    folder = tmp_path / "%2Frun%2Fx%2Fcontrol.sock.journal"
    on, off = Config.model_validate({"analytics": True, "log": {"sessions": False}}), Config()
    stream, _ = start(off)
    assert stream.journal is None
    stream.add_configuration("configurationReloaded", 1, "", ["added app a"])
    for round_number in (1, 2):
        stream.configure(on)
        stream.configure(on)
        soon(lambda: stream.journal.segments)
        stream.add_configuration("configurationChanged", 2, "token ci", ["set apps.a"])
        soon(lambda wanted=round_number: len(events_in(folder)) == wanted)
        stream.configure(off)
        assert stream.journal is None
        stream.add_configuration("configurationChanged", 3, "", ["set apps.b"])
    assert events_in(folder) == ["configurationChanged"] * 2
    assert record_folders(on) == [folder]


def test_without_analytics_a_journal_has_no_changes_of_the_configuration(start, tmp_path):
    stream, _ = start(kept(tmp_path))
    stream.add_configuration("configurationStarted", 1, "", ["x"])
    stream.add_health(HEALTH)
    soon(lambda: events_in(tmp_path / "journal") == ["poolHealth"])
