"""`spectrum story`: all records about one client, or one session."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from spectrum.cli.client import DaemonError, ask
from spectrum.cli.options import AS_JSON, CONFIG, FILE, SOCKET, failure, load
from spectrum.control.paths import default_control_socket

if TYPE_CHECKING:  # Importing it here keeps the start of other commands fast.
    from spectrum.control.records.search import Findings
    from spectrum.core.records.story import Story, Subject, Window

# For a client of many apps, the explanation of current decisions is limited to this number.
MAX_APPS = 5


@click.command(short_help="Show the history of a client or a session.")
@click.argument("subject", metavar="ADDRESS|ID")
@click.option("--since", metavar="TIME", help="Begin: 14:02, 2026-11-26T14:02, or 30m before now; in UTC.")
@click.option("--until", metavar="TIME", help="End, likewise.")
@CONFIG
@SOCKET
@click.option("--journal", type=FILE, help="Search the journal in this folder, instead of that of the file.")
@click.option(
    "--records",
    type=FILE,
    multiple=True,
    help="Search this file of JSON records instead, such as kept standard output.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=200, show_default=True, help="Maximum number of records."
)
@AS_JSON
def story(
    subject: str,
    since: str | None,
    until: str | None,
    path: Path,
    socket_path: Path | None,
    journal: Path | None,
    records: tuple[Path, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Print the history of a client, by its address: each refusal with its rule or limit, each session with its end.
    With the id of a session (`spectrum sessions`, SessionId) or of a record (RecordId) it prints the history of that
    session. If the daemon runs, the decision for the client now is printed as well, as by `spectrum explain`.

    It searches the journal of `records`, and the files of its sinks if they reach further back.
    """
    from spectrum.control.records.places import journal_of
    from spectrum.control.records.search import RecordPlaces, as_plain, places_of_records, search
    from spectrum.core.records.story import Window, parse_subject, parse_time

    now = datetime.now(UTC)
    try:
        whose = parse_subject(subject)
        window = Window(*(parse_time(text, now) if text is not None else None for text in (since, until)))
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if window.since and window.until and window.since > window.until:
        raise click.UsageError(f"--since {since} is after --until {until}")
    began = time.monotonic()
    try:
        if journal or records:
            kept = RecordPlaces(journal, files=records)
        else:
            config = load(path)
            kept = places_of_records(config.records, journal_of(config))
        answer = search(kept, whose, window, limit)
    except PermissionError as exc:
        raise failure(f"{exc.filename}: the records belong to another user; try sudo") from exc
    except OSError as exc:
        raise failure(f"{exc.filename}: {(exc.strerror or str(exc)).lower()}") from exc
    took_s = time.monotonic() - began
    now_told = _now(socket_path or default_control_socket(), answer.story)
    if as_json:
        click.echo(json.dumps(as_plain(whose, answer) | {"now": now_told}, indent=2, default=str))
    else:
        for line in _lines(whose, window, answer, now_told, took_s):
            click.echo(line)
    if not answer.story.records:
        raise click.exceptions.Exit(1)


def _now(path: Path, told: "Story") -> dict[str, Any]:
    """Return the daemon's view of the client now: the steps of `explain` by app, and the session if it is open. Nothing
    if no daemon answers.

    Nothing where no daemon answers.
    """
    client = next((one["ClientIP"] for one in told.records if one.get("ClientIP")), None)
    session = told.open_session
    said: dict[str, Any] = {"explain": {}, "session": None}
    with suppress(DaemonError):
        for app in told.apps[:MAX_APPS] if client else ():
            answer = ask(path, "GET", f"/explain?{urlencode({'app': app, 'client': client})}")
            said["explain"][app] = answer.get("steps") or answer["errors"]
        if session is not None:
            found = ask(path, "GET", f"/sessions?{urlencode({'ids': session})}").get("sessions", ())
            said["session"] = found[0] if found else None
    return said


def _lines(
    whose: "Subject", window: "Window", answer: "Findings", now_told: dict[str, Any], took_s: float
) -> Iterator[str]:
    from spectrum.cli.show import byte_text, duration_text  # With rich, which --json does not need.
    from spectrum.core.records.story import several_lines, story_lines, summary

    told = answer.story
    yield f"{whose.kind} {whose.text}{_time_text(window)}, times in UTC"
    if told.omitted:
        yield f"... {told.omitted} earlier records; --limit shows more"
    yield from story_lines(told, byte_text, whose.kind != "client")
    yield summary(told) if told.records else "no records about it"
    if told.of_several:
        yield "sums of refusals that may include it:"
        yield from several_lines(told)
    if (live := now_told["session"]) is not None:
        moved = (
            f"{byte_text(live['bytes_from_client'])} from client, {byte_text(live['bytes_from_origin'])} from origin"
        )
        yield f"session {live['id']} is open: {live['state']}, for {duration_text(live['age_s'])}, {moved}"
    for app, steps in now_told["explain"].items():
        yield f"now, in app {app}:"
        yield from (f"  {number}. {step}" for number, step in enumerate(steps, 1))
    for one in answer.searched:
        count = "" if one.records is None else f"{one.records} records"
        since = f"since {one.since:%Y-%m-%d %H:%M:%S}" if one.since else ""
        yield f"searched {one.name}: {' '.join(filter(None, (count, since))) or 'no records'}"
    yield from answer.notes
    if not now_told["explain"] and told.records:
        yield "no daemon answers, so the current decision is not shown"
    yield f"took {took_s:.1f} s"


def _time_text(window: "Window") -> str:
    since = f" from {window.since:%Y-%m-%d %H:%M:%S}" if window.since else ""
    return since + (f" to {window.until:%Y-%m-%d %H:%M:%S}" if window.until else "")
