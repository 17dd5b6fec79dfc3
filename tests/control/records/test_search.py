"""The story of a client among others: in a journal, in files of sinks, in a file of lines; and what is not kept."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from spectrum.control.records.search import RecordPlaces, places_of_records, search
from spectrum.control.records.segments import SEGMENTS, Segments
from spectrum.core.records.journal import Batch, identified
from spectrum.core.records.objects import RecordsSection
from spectrum.core.records.story import Subject, Window, parse_subject

BEGAN = datetime(2026, 11, 26, 14, tzinfo=UTC)
CLIENT = "203.0.113.8"


def record(number, client, **more):
    """The one that ended so many seconds after the beginning."""
    at = (BEGAN + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
    fields = {
        "Event": "clientFiltered",
        "Status": 403,
        "Reason": "client_rate",
        "Application": "web",
        "SessionId": f"9.{number:x}",
        "Timestamp": at,
        "ConnectTimestamp": None,
        "ClientIP": client,
        "ClientPort": 5000,
    }
    return fields | more


def lines(*records):
    return b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in records)


def batch(first, *records):
    at_us = int((BEGAN + timedelta(seconds=first)).timestamp() * 1e6)
    return Batch("edge1/0/aa", first + 1, len(records), at_us, lines(*records))


def write(folder, count=1000, every=100, room=SEGMENTS * 20_000, client=CLIENT):
    """A journal in which every so many records one is the client's; others have addresses that begin like its own."""
    folder.mkdir(exist_ok=True)
    segments = Segments(folder, room)
    for first in range(0, count, 10):
        several = [record(n, client if n % every == 0 else f"{CLIENT}{n % 10}") for n in range(first, first + 10)]
        segments.append([batch(first, *several)])
    segments.close()
    return segments


def seconds(answer):
    return [(datetime.fromisoformat(one["Timestamp"]) - BEGAN).seconds for one in answer.story.records]


def after(since, until=None):
    return Window(*(None if end is None else BEGAN + timedelta(seconds=end) for end in (since, until)))


def test_a_client_among_others(tmp_path):
    write(tmp_path / "journal")
    kept = RecordPlaces(tmp_path / "journal")
    answer = search(kept, parse_subject(CLIENT))
    assert seconds(answer) == list(range(0, 1000, 100))
    assert answer.story.records[1]["RecordId"] == "edge1/0/aa/101"
    assert (answer.story.refused, answer.notes) == (10, ())
    (searched,) = answer.searched
    assert (searched.records, searched.since) == (1000, BEGAN)
    assert seconds(search(kept, parse_subject(CLIENT), after(250, 500))) == [300, 400, 500]
    assert seconds(search(kept, parse_subject(CLIENT), limit=3)) == [700, 800, 900]
    assert seconds(search(kept, parse_subject("203.0.113.9"))) == []


def test_only_some_apps(tmp_path):
    write(tmp_path / "journal")
    kept, whose = RecordPlaces(tmp_path / "journal"), parse_subject(CLIENT)
    assert len(search(kept, whose, apps={"web"}).story.records) == 10
    assert search(kept, whose, apps={"ssh"}).story.records == ()
    assert search(kept, parse_subject("edge1/0/aa/101"), apps={"ssh"}).story.records == ()


def test_only_segments_of_that_time_are_read(tmp_path, monkeypatch):
    segments = write(tmp_path)
    assert len(segments.extent.segments) > 4
    oldest = tmp_path / f"{segments.extent.segments[0]:020}.journal"
    data = oldest.read_bytes()
    oldest.write_bytes(data[:200] + b"?" + data[201:])
    early = search(RecordPlaces(tmp_path), parse_subject(CLIENT))
    assert early.notes == (f"{oldest} is damaged at byte 24: what follows in it was not searched",)
    assert seconds(early)[-1] == 900
    late = search(RecordPlaces(tmp_path), parse_subject(CLIENT), after(800))
    assert (seconds(late), late.notes) == ([800, 900], ())


def test_sessions_and_records_by_their_ids(tmp_path):
    write(tmp_path)
    for text in ("9.12c", "edge1/0/aa/301"):
        answer = search(RecordPlaces(tmp_path), parse_subject(text))
        assert seconds(answer) == [300]
        assert answer.story.records[0]["RecordId"] == "edge1/0/aa/301"
    for text in ("9.fffff", "edge1/0/aa/5000", "edge1/0/bb/301"):
        assert seconds(search(RecordPlaces(tmp_path), parse_subject(text))) == []
    segments = Segments(tmp_path, SEGMENTS * 20_000)
    segments.append([batch(1000, record(1000, "", SessionId=""))])
    segments.close()
    assert seconds(search(RecordPlaces(tmp_path), parse_subject("edge1/0/aa/1001"))) == [1000]


def test_sums_of_several_clients_of_that_time(tmp_path):
    segments = Segments(tmp_path, SEGMENTS * 20_000)
    sums = [record(n, "", Sessions=50, Clients=20) for n in range(40)]
    segments.append([batch(0, *sums, record(50, CLIENT))])
    segments.close()
    assert search(RecordPlaces(tmp_path), parse_subject(CLIENT)).story.of_several == ()
    answer = search(RecordPlaces(tmp_path), parse_subject(CLIENT), after(0))
    assert [one["Sessions"] for one in answer.story.of_several] == [50] * 20
    assert answer.notes == ("of 40 sums of refusals of several clients the last 20 are shown",)


def section(folder, **sinks):
    return RecordsSection.model_validate({"journal": {"path": str(folder / "journal")}, "sinks": sinks})


def test_files_of_sinks_that_reach_further_back(tmp_path):
    write(tmp_path / "journal")
    path = tmp_path / "archive.json"
    old = [batch(-200 + n, record(-200 + n, CLIENT)) for n in range(0, 200, 50)]
    (tmp_path / "archive.json.1").write_bytes(b"".join(map(identified, old[:2])))
    path.write_bytes(b"".join(map(identified, old[2:])) + b"no record\n" + identified(batch(0, record(0, CLIENT))))
    (tmp_path / "archive.json.old").write_bytes(lines(record(-999, CLIENT)))
    sinks = {
        "archive": {"path": str(path)},
        "cef": {"path": str(tmp_path / "cef"), "format": "cef"},
        "few": {"path": str(tmp_path / "few"), "fields": ["Timestamp", "Reason"]},
        "far": {"type": "syslog", "address": "udp://192.0.2.1"},
    }
    answer = search(places_of_records(section(tmp_path, **sinks)), parse_subject(CLIENT))
    begins = [datetime.fromisoformat(one["Timestamp"]) for one in answer.story.records]
    assert [(at - BEGAN).total_seconds() for at in begins] == [-200, -150, -100, -50, *range(0, 1000, 100)]
    assert [one.name for one in answer.searched] == [f"journal {tmp_path}/journal", "sink archive, 2 files"]
    assert answer.searched[1].since == BEGAN - timedelta(seconds=200)
    assert answer.notes == (
        "sink cef (format cef) was not searched",
        "sink few (without ClientIP, SessionId or Timestamp) was not searched",
    )
    # What the journal has whole is not searched in files again.
    answer = search(places_of_records(section(tmp_path, **sinks)), parse_subject(CLIENT), after(500))
    assert (len(answer.searched), answer.notes) == (1, ())


def test_a_file_of_lines_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.control.records.search.CHUNK_BYTES", 300)
    path = tmp_path / "records"
    path.write_bytes(b"{torn\n" + lines(*(record(n, CLIENT if n % 2 else "192.0.2.1") for n in range(10)))[:-1])
    answer = search(RecordPlaces(files=(path,)), parse_subject(CLIENT))
    assert seconds(answer) == [1, 3, 5, 7, 9]
    assert [one.name for one in answer.searched] == [str(path)]


def test_what_is_not_kept(tmp_path):
    answer = search(places_of_records(RecordsSection()), Subject("client", CLIENT))
    assert answer.story.records == ()
    assert answer.notes[0].startswith("no records are kept: the file has no records.journal. Add `records: {journal:")
    answer = search(RecordPlaces(tmp_path / "none"), Subject("client", CLIENT))
    assert answer.notes == (f"{tmp_path}/none has no journal: was this served?",)
    segments = write(tmp_path / "journal", 10)
    answer = search(RecordPlaces(tmp_path / "journal"), Subject("client", CLIENT), after(-60))
    assert answer.notes == ("records from before 2026-11-26 14:00:00 are no longer kept",)
    (tmp_path / "journal" / f"{segments.extent.segments[0]:020}.journal").write_bytes(b"")
    answer = search(RecordPlaces(tmp_path / "journal"), Subject("client", CLIENT))
    assert f"{tmp_path}/journal has no records yet" in answer.notes
    with pytest.raises(FileNotFoundError):
        search(RecordPlaces(files=(tmp_path / "none",)), Subject("client", CLIENT))


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files take root")
@pytest.mark.parametrize("what", ["folder", "segments", "sink"])
def test_what_may_not_be_read_is_not_passed_over(tmp_path, what):
    journal, sink = tmp_path / "journal", tmp_path / "archive.json"
    write(journal, 20)
    sink.write_bytes(identified(batch(-200, record(-200, CLIENT))))
    (first,) = journal.iterdir()
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    journal.chmod(0o700 if what == "folder" else 0o755)
    first.chmod(0o600 if what == "segments" else 0o644)
    sink.chmod(0o600 if what == "sink" else 0o644)
    places = places_of_records(section(tmp_path, archive={"path": str(sink)}))
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            search(places, parse_subject(CLIENT))
    finally:
        os.seteuid(0)
