"""The story of one client, or of one session: which records belong to it, and their text. Records are mappings here, as
in JSON: those of an earlier version lack some fields.

Records are mappings here, as JSON has them: those of an earlier version lack fields that this one has.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from spectrum.core.address import parse_address
from spectrum.core.durations import parse_duration_s
from spectrum.core.live_sessions import address_port
from spectrum.core.records.journal import IDENTIFIED
from spectrum.core.records.reasons import Reason

Fields = Mapping[str, Any]

_SESSION_ID = re.compile(r"u?[0-9]+\.[0-9a-f]{1,16}")
_RECORD_ID = re.compile(r"([^/\s]+/[^/\s]+/[0-9a-f]+)/([0-9]+)")
_TIME_OF_DAY = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_TIMES = "write 14:02, 14:02:30, 2026-11-26T14:02, or 30m for so long ago; times are UTC, as in records"

# Records kept beyond the limit before the earliest are dropped.
SLACK_RECORDS = 1000
# Of a session that is open.
BEFORE_END = ("connect", "progress")
# What a record of several clients has in place of one.
OF_SEVERAL = b'"ClientIP":""'
_REFUSALS = frozenset(reason.label for reason in Reason if reason.refused)


class Subject(NamedTuple):
    """Whose story is asked for.

    Attributes:
        kind: What `text` is: a client's address, a session's id, or the `RecordId` of a record.
        text: As records write it.
    """

    kind: Literal["client", "session", "record"]
    text: str

    @property
    def mark(self) -> bytes:
        """What each of its records has as text. Others may have it, too: `owns` knows."""
        if self.kind == "record":
            return IDENTIFIED + b'"%b"' % self.text.encode()
        return b'"%b":"%b"' % (b"ClientIP" if self.kind == "client" else b"SessionId", self.text.encode())

    def owns(self, fields: Fields) -> bool:
        """Whether a record is about it."""
        key = {"client": "ClientIP", "session": "SessionId", "record": "RecordId"}[self.kind]
        return bool(fields.get(key) == self.text)

    @property
    def place(self) -> tuple[str, int]:
        """Who made the record with this id, and its number there."""
        parts = _RECORD_ID.fullmatch(self.text)
        assert parts is not None, "the id of a record"
        return parts[1], int(parts[2])


def parse_subject(text: str) -> Subject:
    """Return whose story a text asks for.

    Raises:
        ValueError: If it is neither an address nor the id of a session or a record.
    """
    try:
        return Subject("client", str(parse_address(text)))
    except ValueError:
        if _SESSION_ID.fullmatch(text):
            return Subject("session", text)
        if _RECORD_ID.fullmatch(text):
            return Subject("record", text)
    raise ValueError(
        f'"{text}" is neither an address (192.0.2.7), nor the id of a session (13351.2) or of a record'
        " (edge1/0/66121c7704295/1042)"
    )


def parse_time(text: str, now: datetime) -> datetime:
    """Return a point in time, in UTC: a time of day is the latest one that is not after `now`.

    Raises:
        ValueError: If it is none.
    """
    if clock := _TIME_OF_DAY.fullmatch(text):
        try:
            at = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
        except ValueError as exc:
            raise ValueError(f'"{text}" is not a time of day; {_TIMES}') from exc
        return at if at <= now else at - timedelta(days=1)
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except ValueError:
        try:
            return now - timedelta(seconds=parse_duration_s(text))
        except (ValueError, OverflowError):
            raise ValueError(f'"{text}" is not a time; {_TIMES}') from None


class Window(NamedTuple):
    """The time that is asked about; None for no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, fields: Fields) -> bool:
        """Whether a record is about any of this time: a session is from its beginning to its end."""
        began, ended = times_of(fields)
        return (self.since is None or ended >= self.since) and (self.until is None or began <= self.until)


def _time(fields: Fields, name: str) -> datetime | None:
    text = fields.get(name)
    return datetime.fromisoformat(text) if text else None


def times_of(fields: Fields) -> tuple[datetime, datetime]:
    """Return when what a record tells of began and ended; a refusal is a moment.

    Raises:
        ValueError: If it has no time.
    """
    ended = _time(fields, "Timestamp")
    if ended is None:
        raise ValueError("a record without Timestamp")
    return _time(fields, "ConnectTimestamp") or ended, ended


def is_refusal(fields: Fields) -> bool:
    """Whether a record is of a client that was turned away, or of several."""
    return fields.get("Reason") in _REFUSALS


def count_of(fields: Fields) -> int:
    """Return how many sessions a record is about."""
    return int(fields.get("Sessions") or 1)


class Story(NamedTuple):
    """What is known of a subject.

    Attributes:
        records: Its records in the order of their times, each once; the latest of them where there are too many.
        omitted: How many earlier ones are left out.
        reasons: How many sessions ended for each reason, of all records.
        refused: How many of these were refused.
        of_several: Refusals of that time that are summed over several clients: the subject may be among them.
    """

    records: tuple[Fields, ...]
    omitted: int
    reasons: Mapping[str, int]
    refused: int
    of_several: tuple[Fields, ...] = ()

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that its records are of."""
        return tuple(dict.fromkeys(str(one["Application"]) for one in self.records if one.get("Application")))

    @property
    def open_session(self) -> str | None:
        """The session of the last record, where that is not its end."""
        last = self.records[-1] if self.records else {}
        return str(last.get("SessionId")) if last.get("Event") in BEFORE_END else None


class StoryTeller:
    """Puts a story together from records as they are found, in any order; it keeps the latest of them.

    Args:
        limit: So many records at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: list[Fields] = []
        # Of those that are omitted.
        self._omitted = self._refused = 0
        self._reasons: Counter[str] = Counter()

    def add(self, fields: Fields) -> None:
        """Take a record; some may come twice."""
        self._records.append(fields)
        if len(self._records) > 2 * self._limit + SLACK_RECORDS:
            self._omit()

    def _omit(self) -> None:
        records = sorted(_once(self._records), key=_order)
        surplus = max(0, len(records) - self._limit)
        self._omitted += surplus
        self._refused += _count(records[:surplus], self._reasons)
        self._records = records[surplus:]

    def story(self, of_several: Iterable[Fields] = ()) -> Story:
        """Return the story so far.

        Args:
            of_several: Refusals of several clients together.
        """
        self._omit()
        reasons = self._reasons.copy()
        refused = self._refused + _count(self._records, reasons)
        sums = tuple(sorted(_once(of_several), key=_order))
        return Story(tuple(self._records), self._omitted, dict(reasons.most_common()), refused, sums)


def _count(records: Iterable[Fields], reasons: Counter[str]) -> int:
    """Count why sessions ended; return how many were refused."""
    refused = 0
    for one in records:
        if one.get("Event") not in BEFORE_END:
            reasons[str(one.get("Reason", ""))] += count_of(one)
            refused += count_of(one) if is_refusal(one) else 0
    return refused


def _once(records: Iterable[Fields]) -> Iterable[Fields]:
    return {_identity(one): one for one in records}.values()


def _identity(fields: Fields) -> tuple[object, ...]:
    """What two copies of a record have in common, also where one was written without an id."""
    return tuple(
        fields.get(name)
        for name in ("SessionId", "Event", "Reason", "Timestamp", "Application", "ClientIP", "ClientPort", "Sessions")
    )


def _order(fields: Fields) -> tuple[str, int]:
    return str(fields.get("Timestamp", "")), {"connect": 0, "progress": 1}.get(str(fields.get("Event")), 2)


# --- for people -------------------------------------------------------------------------------------------------------


def story_lines(story: Story, amount: Callable[[float], str], in_steps: bool = False) -> list[str]:
    """Return a line for each record.

    Args:
        story: Its records.
        amount: Returns a number of bytes as text.
        in_steps: The end of a session is told step by step.
    """
    lines: list[str] = []
    for one in story.records:
        if in_steps and one.get("Event") not in BEFORE_END and not is_refusal(one):
            lines += session_lines(one, amount)
        else:
            lines.append(f"{_moment(one)}  {_sentence(one, amount)}")
    return lines


def summary(story: Story) -> str:
    """Return how many sessions there were, and why they ended."""
    total = sum(story.reasons.values())
    if not total:
        return "its end is not kept, or it is still open"
    counts = ", ".join(f"{reason} {count}" for reason, count in story.reasons.items())
    return f"{total} session{'s' * (total != 1)}, {story.refused} of them refused: {counts}"


def several_lines(story: Story) -> list[str]:
    """Return a line for each sum of refusals of several clients."""
    return [
        f"{_moment(one)}  app {one.get('Application')}: {count_of(one)} refusals of {one.get('Clients')} clients"
        f" together: {_why(one)}"
        for one in story.of_several
    ]


def session_lines(fields: Fields, amount: Callable[[float], str]) -> list[str]:
    """Return what the record of a session's end tells, step by step."""
    began, ended = times_of(fields)
    took = timedelta(microseconds=int(fields.get("ConnectDuration") or 0) / 1000)
    connected = bool(fields.get("ConnectTimestamp"))
    steps = [
        (
            began - took if connected else None,
            f"from {_client(fields)} to {_edge(fields)}, app {fields.get('Application')}",
        )
    ]
    if fields.get("ClientTlsClientHelloServerName"):
        tls = f"asked for {fields['ClientTlsClientHelloServerName']} ({fields.get('ClientTlsProtocol')})"
        steps.append((None, tls))
    if fields.get("AccessRule"):
        steps.append((None, f"named by {_rule(fields)}"))
    for one in fields.get("Attempts") or ():
        steps.append((None, f"{one['Origin']}{_in_brackets(one.get('Name'))} could not be reached: {one['Reason']}"))
    if connected:
        steps.append((began, f"connected to {_origin(fields)} after {took.total_seconds() * 1000:.1f} ms"))
        steps.append((ended, f"ended after {_seconds(ended - began)}, {_moved(fields, amount)}: {_why(fields)}"))
    else:
        where = f" ({_origin(fields)})" if fields.get("OriginIP") and not fields.get("Attempts") else ""
        steps.append((ended, f"ended without an origin: {_why(fields)}{where}"))
    return [f"{_clock(at) if at else '':23}  {text}" for at, text in steps]


def _sentence(fields: Fields, amount: Callable[[float], str]) -> str:
    app, session = fields.get("Application"), fields.get("SessionId")
    began, ended = times_of(fields)
    count = count_of(fields)
    event = fields.get("Event")
    if is_refusal(fields):
        times = f" {count} times within a second" if count > 1 else ""
        return f"app {app}: refused{times}: {_why(fields)}"
    if event in BEFORE_END:
        what = "connected" if event == "connect" else f"open, {_moved(fields, amount)}"
        return f"app {app}: session {session} to {_origin(fields)}: {what}"
    if count > 1:
        return f"app {app}: {count} sessions ended within a second: {_why(fields)}"
    if fields.get("ConnectTimestamp"):
        lasted = f"after {_seconds(ended - began)}, {_moved(fields, amount)}"
        return f"app {app}: session {session} to {_origin(fields)} ended {lasted}: {_why(fields)}"
    tried = ", ".join(f"{one['Origin']}: {one['Reason']}" for one in fields.get("Attempts") or ())
    where = f" ({tried})" if tried else f" ({_origin(fields)})" if fields.get("OriginIP") else ""
    return f"app {app}: session {session} had no origin: {_why(fields)}{where}"


def _why(fields: Fields) -> str:
    said = [f"{fields.get('Reason')} ({fields.get('Status')})"]
    if is_refusal(fields) and fields.get("AccessRule"):
        said.append(_rule(fields))
    if fields.get("Limit"):
        said.append(f"limit of {fields['Limit']}")
    if fields.get("TlsError"):
        said.append(str(fields["TlsError"]))
    if fields.get("Reason") == "sni_unknown":
        said.append(f"it asked for {fields.get('ClientTlsClientHelloServerName') or 'no name'}")
    return ", ".join(said)


def _rule(fields: Fields) -> str:
    where = [str(fields[key]) for key in ("AccessPrefix", "AccessList") if fields.get(key)]
    return " ".join([f"access rule {fields['AccessRule']}", f"({', '.join(where)})" if where else ""]).rstrip()


def _moved(fields: Fields, amount: Callable[[float], str]) -> str:
    sent, received = fields.get("ClientBytes") or 0, fields.get("OriginBytes") or 0
    return f"{amount(sent)} from the client, {amount(received)} from the origin"


def _origin(fields: Fields) -> str:
    name = "/".join(str(fields[key]) for key in ("Pool", "OriginName") if fields.get(key))
    return address_port(str(fields.get("OriginIP") or ""), int(fields.get("OriginPort") or 0)) + _in_brackets(name)


def _client(fields: Fields) -> str:
    return address_port(str(fields.get("ClientIP") or ""), int(fields.get("ClientPort") or 0))


def _edge(fields: Fields) -> str:
    return address_port(str(fields.get("EdgeIP") or ""), int(fields.get("EdgePort") or 0)) or "this node"


def _in_brackets(text: object) -> str:
    return f" ({text})" if text else ""


def _moment(fields: Fields) -> str:
    return _clock(times_of(fields)[1])


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def _seconds(time: timedelta) -> str:
    return f"{time.total_seconds():.1f} s"
