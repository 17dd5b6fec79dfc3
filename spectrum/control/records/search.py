"""Finds the records of one client, or of one session, in the journal and in files of this machine. Only records that
contain the text in question are decoded: a million records take about a second. It reads while the daemon writes, needs
no daemon, and blocks: call it in a thread. The result says which records are not kept.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from spectrum.core.records.journal import HEAD_BYTES, Batch, end_of, find_batches, first_at_us, lines_with
from spectrum.core.records.objects import JournalSection, RecordsSection, SinkSection
from spectrum.core.records.story import OF_SEVERAL, Fields, Story, StoryTeller, Subject, Window, times_of

# Bytes of a file of records that are read at once.
CHUNK_BYTES = 16 * 2**20
# By how much the clock may have been set back between two batches.
CLOCK_STEP = timedelta(minutes=1)
# Maximum number of sums of refusals of several clients in the result.
MAX_SUMS = 20

ALWAYS = Window()
_SUFFIX = ".journal"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class SearchedPlace:
    """A place that was searched: its name, its number of records (None: not counted), the time of its first record."""

    name: str
    records: int | None
    since: datetime | None


@dataclass(frozen=True)
class Findings:
    """The result of a search.

    Attributes:
        story: The story of the subject.
        searched: Where.
        notes: Records that are not kept, or could not be read.
    """

    story: Story
    searched: tuple[SearchedPlace, ...]
    notes: tuple[str, ...]


@dataclass
class _Found:
    """The result while it is gathered."""

    subject: Subject
    window: Window
    teller: StoryTeller
    apps: Set[str] | None = None
    of_several: deque[Fields] = field(default_factory=lambda: deque(maxlen=MAX_SUMS))
    sums: int = 0
    session: str = ""
    searched: list[SearchedPlace] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def marks(self) -> tuple[bytes, ...]:
        """The texts to search for. Sums of several clients matter if the question is about a certain time."""
        with_sums = self.subject.kind == "client" and self.window.since is not None
        return (self.subject.mark, OF_SEVERAL) if with_sums else (self.subject.mark,)

    def take(self, fields: Fields) -> None:
        """Take a record if it matches."""
        if self.apps is not None and fields.get("Application") not in self.apps:
            return
        try:
            if not self.window.holds(fields):
                return
        except ValueError:
            return
        if self.subject.owns(fields):
            self.teller.add(fields)
            self.session = str(fields.get("SessionId") or "")
        elif fields.get("Clients"):
            self.of_several.append(fields)
            self.sums += 1


class RecordPlaces(NamedTuple):
    """Where records are kept.

    Attributes:
        journal: The folder of the journal; None without one.
        sinks: The sinks, whose files may reach further back.
        files: Other files, with a JSON record in each line.
    """

    journal: Path | None = None
    sinks: Mapping[str, SinkSection] = MappingProxyType({})
    files: tuple[Path, ...] = ()


def places_of_records(section: RecordsSection, journal: JournalSection | None = None) -> RecordPlaces:
    """Return where a daemon with this configuration keeps records.

    Args:
        section: The section of its file.
        journal: The journal (`journal_of`).
    """
    kept = section.journal or journal
    return RecordPlaces(Path(kept.path) if kept is not None else None, section.sinks)


def search(
    kept: RecordPlaces, subject: Subject, window: Window = ALWAYS, limit: int = 1000, apps: Set[str] | None = None
) -> Findings:
    """Return the story of a subject.

    Args:
        kept: Where records are kept.
        subject: The subject. A record stands for its session.
        window: The time span.
        limit: The maximum number of records, the latest.
        apps: The apps whose records are searched; None for all.

    Raises:
        OSError: If something cannot be read.
    """
    found = _Found(subject, window, StoryTeller(limit), apps)
    if kept == RecordPlaces():
        found.notes.append(
            "no records are kept: the file has no records.journal. Add"
            " `records: {journal: {path: /var/lib/spectrum/records}}`. Until then records are lines on standard output"
            " alone; --records searches a file of these"
        )
    oldest = _search_journal(kept.journal, found) if kept.journal is not None else None
    _search_sinks(kept.sinks, oldest, found)
    for path in kept.files:
        _search_file(path, found)
        found.searched.append(SearchedPlace(str(path), None, _first_time(path)))
    since = min((one.since for one in found.searched if one.since), default=None)
    if since is not None and window.since is not None and window.since < since:
        found.notes.append(f"records from before {since:%Y-%m-%d %H:%M:%S} are no longer kept")
    if subject.kind == "record" and found.session:
        return search(kept, Subject("session", found.session), ALWAYS, limit, apps)
    if found.sums > MAX_SUMS:
        found.notes.append(f"of {found.sums} sums of refusals of several clients the last {MAX_SUMS} are shown")
    notes = tuple(dict.fromkeys(found.notes))
    return Findings(found.teller.story(found.of_several), tuple(found.searched), notes)


def as_plain(subject: Subject, findings: Findings) -> dict[str, Any]:
    """Return a result in JSON types; times of places that were searched are datetimes."""
    story = findings.story
    return {
        subject.kind: subject.text,
        "records": story.records,
        "omitted": story.omitted,
        "reasons": story.reasons,
        "refused": story.refused,
        "of_several_clients": story.of_several,
        "searched": [{"name": one.name, "records": one.records, "since": one.since} for one in findings.searched],
        "notes": findings.notes,
    }


# --- the journal ------------------------------------------------------------------------------------------------------


def _search_journal(folder: Path, found: _Found) -> datetime | None:
    """Search the segments that may have records of the time span; return the time of the journal's first record."""
    stems = [name.removesuffix(_SUFFIX) for name in _names_in(folder) if name.endswith(_SUFFIX)]
    segments = sorted(int(stem) for stem in stems if stem.isdecimal())
    begins = [_began(_path(folder, segment)) for segment in segments]
    end = segments[0] if segments else 0
    for place, segment in enumerate(segments):
        is_last = place + 1 == len(segments)
        if not is_last and _is_before(begins[place + 1], found.window):
            continue
        try:
            data = _path(folder, segment).read_bytes()
        except FileNotFoundError:
            continue  # Dropped since.
        for mark in found.marks:
            _search_segment(data, segment, mark, folder, found)
        if is_last:
            end = end_of(data, segment)
    oldest = next((at for at in begins if at is not None), None)
    found.searched.append(SearchedPlace(f"journal {folder}", end - segments[0] if segments else 0, oldest))
    if oldest is None:
        found.notes.append(f"{folder} has no records yet" if segments else f"{folder} has no journal: was this served?")
    return oldest


def _search_segment(data: bytes, segment: int, mark: bytes, folder: Path, found: _Found) -> None:
    subject = found.subject
    wanted: Callable[[int, int], bool] | None = None
    if subject.kind == "record":
        source, number = subject.place
        mark, wanted = source.encode(), partial(_has, number)
    batches, damage = find_batches(data, segment, mark, wanted)
    if damage >= 0:
        found.notes.append(f"{_path(folder, segment)} is damaged at byte {damage}: what follows in it was not searched")
    for batch in batches:
        for fields in _records_in(batch, mark, subject):
            found.take(fields)


def _has(number: int, first: int, count: int) -> bool:
    return first <= number < first + count


def _records_in(batch: Batch, mark: bytes, subject: Subject) -> Iterator[Fields]:
    """Yield the records of a batch that have the text that is looked for."""
    for number, line in enumerate(batch.lines.splitlines(), batch.sequence):
        if mark in line or (subject.kind == "record" and (batch.source, number) == subject.place):
            yield {"RecordId": f"{batch.source}/{number}", **_decode(line)}


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none if it is missing. `Path.glob` hides a folder that may not be read."""
    with suppress(FileNotFoundError):
        return os.listdir(folder)
    return []


def _path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:020}{_SUFFIX}"


def _began(path: Path) -> datetime | None:
    """Return when the first batch of a segment was journaled; None if it has none, or is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        if (at_us := first_at_us(file.read(HEAD_BYTES))) is not None:
            return datetime.fromtimestamp(at_us / 1e6, UTC)
    return None


def _is_before(follows: datetime | None, window: Window) -> bool:
    """Return whether a segment has only records from before a time: records are journaled after their sessions end."""
    return follows is not None and window.since is not None and follows + CLOCK_STEP < window.since


# --- files ------------------------------------------------------------------------------------------------------------


def _search_sinks(sinks: Mapping[str, SinkSection], oldest: datetime | None, found: _Found) -> None:
    """Search the files of sinks, as far as they reach further back than the journal, within the time span."""
    if oldest is not None and found.window.since is not None and found.window.since >= oldest:
        return
    for name, sink in sinks.items():
        if sink.type != "file" or sink.path is None:
            continue
        if sink.form != "json" or (sink.fields and not {"ClientIP", "SessionId", "Timestamp"}.issubset(sink.fields)):
            what = f"format {sink.form}" if sink.form != "json" else "without ClientIP, SessionId or Timestamp"
            found.notes.append(f"sink {name} ({what}) was not searched")
            continue
        older = [path for path in _files_of(Path(sink.path)) if _reaches_back(path, oldest)]
        for path in older:
            _search_file(path, found)
        if older:
            since = min((at for at in map(_first_time, older) if at is not None), default=None)
            found.searched.append(SearchedPlace(f"sink {name}, {len(older)} files", None, since))


def _files_of(path: Path) -> list[Path]:
    """Return the file of a sink and the rotated ones, as far as they exist."""
    renamed = [name for name in _names_in(path.parent) if name.removeprefix(f"{path.name}.").isdecimal()]
    return [path, *(path.parent / name for name in renamed)]


def _reaches_back(path: Path, oldest: datetime | None) -> bool:
    first = _first_time(path)
    return first is not None and (oldest is None or first < oldest)


def _first_time(path: Path) -> datetime | None:
    """Return the time of the first record in a file; None where there is none."""
    with suppress(FileNotFoundError, msgspec.DecodeError, ValueError), path.open("rb") as file:
        return times_of(_decode(file.readline(CHUNK_BYTES)))[1]
    return None


def _search_file(path: Path, found: _Found) -> None:
    with path.open("rb", buffering=0) as file:
        rest = b""
        while chunk := file.read(CHUNK_BYTES):
            data = rest + chunk
            end = data.rfind(b"\n") + 1
            _search_lines(data[:end], found)
            rest = data[end:]
    _search_lines(rest, found)


def _search_lines(lines: bytes, found: _Found) -> None:
    for mark in found.marks:
        for line in lines_with(lines, mark):
            with suppress(msgspec.DecodeError):  # A line of another program, or an incomplete one.
                found.take(_decode(line))
