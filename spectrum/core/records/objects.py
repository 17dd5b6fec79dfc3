"""Records in the file: the log, the journal on disk, and the sinks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, field_validator, model_validator

from spectrum.core.balancing.events import HealthEvent
from spectrum.core.configuration.events import ConfigurationEvent
from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import (
    AbsolutePath,
    AsTuple,
    Duration,
    KeyFault,
    Shown,
    Size,
    Strict,
    check_name,
    text,
)
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.formats import FormatName
from spectrum.core.records.syslog import FACILITIES, SyslogServer, parse_syslog

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config

# A sixteenth of it is dropped at once.
MIN_JOURNAL_BYTES = 16 * 2**20
MIN_FILE_BYTES = 2**20
MIN_PROGRESS_INTERVAL_S = 1


class JournalSection(Strict):
    """`records.journal`: the folder that keeps records for sinks, and what it takes at most."""

    path: Annotated[AbsolutePath, Shown(default="none")] = Field(
        description="the folder that stores records of sessions for sinks: [Records](records.md)",
    )
    max_bytes: Annotated[Size, Shown("size, at least `16MiB`")] = Field(
        2**30,
        description="the maximum size of the journal; beyond it the oldest sixteenth is dropped",
    )

    @field_validator("max_bytes")
    @classmethod
    def _has_room(cls, value: int) -> int:
        if value < MIN_JOURNAL_BYTES:
            raise ValueError(f"at least {MIN_JOURNAL_BYTES // 2**20}MiB: the oldest sixteenth is dropped at once")
        return value


SyslogAddress = Annotated[SyslogServer, PlainValidator(lambda value: parse_syslog(text(value, "tcp://192.0.2.1:601")))]

# By the type of a sink, which keys it needs, and which others are about it.
_SINK_KEYS = {
    "file": (("path",), ("max_bytes", "max_files")),
    "syslog": (("address",), ("facility", "app_name", "ca", "cert", "key")),
    "journald": ((), ("app_name",)),
}
_COMMON_KEYS = ("type", "format", "fields", "omit_empty")


_KNOWN_FIELDS = {
    "RecordId",
    *SessionEvent.__struct_fields__,
    *HealthEvent.__struct_fields__,
    *ConfigurationEvent.__struct_fields__,
}


def _check_fields(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if name not in _KNOWN_FIELDS:
            raise ValueError(f"records have no field {name}; docs/operations.md lists them")
    return value


Fields = Annotated[tuple[str, ...], AsTuple, AfterValidator(_check_fields)]
_TEXT_IS_FIXED = "format text has its own fields; fields and omit_empty are for json, logfmt and cef"


class SinkSection(Strict):
    """One of `records.sinks`: a file with the older ones beside it, a syslog server, or systemd's journal."""

    type: Literal["file", "syslog", "journald"] = Field(
        "file",
        description="the kind of destination",
    )
    format: Annotated[FormatName | None, Shown(default="`json`; `text` for `journald`")] = Field(
        None,
        description="the format of a record: [Formats](records.md#formats)",
    )
    fields: Annotated[Fields, Shown(default="all")] = Field(
        (),
        description="the fields that the sink gets, in this order",
    )
    omit_empty: bool = Field(
        False,
        description="omits fields without information: empty ones, and those that do not apply to the "
        "session, such as TLS fields without TLS. Byte counts and protocols are kept",
    )
    path: Annotated[AbsolutePath | None, Shown(default="required for `file`")] = Field(
        None,
        description="`file`: the file",
    )
    max_bytes: Annotated[Size, Shown("size, at least `1MiB`")] = Field(
        100 * 2**20,
        description="`file`: a file that would exceed it is renamed to `path.1`, the previous `path.1` to "
        "`path.2`, and so on",
    )
    max_files: int = Field(
        10,
        ge=0,
        le=1000,
        description="`file`: the number of renamed files to keep",
    )
    address: Annotated[
        SyslogAddress | None,
        Shown(
            "`udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT`, `unix:///PATH`", default="required for `syslog`"
        ),
    ] = Field(
        None,
        description="`syslog`: the server. Default ports: 514, 601, 6514. IPv6 addresses are in brackets",
    )
    facility: Literal[*FACILITIES] = Field(  # type: ignore[valid-type]
        "local0",
        description="`syslog`: the facility of messages",
    )
    app_name: Annotated[str, Shown("up to 48 printable characters")] = Field(
        "spectrum",
        pattern=r"^[!-~]{1,48}$",
        description="APP-NAME of messages to `syslog`; SYSLOG_IDENTIFIER of `journald`",
    )
    ca: Annotated[AbsolutePath | None, Shown(default="the system's authorities")] = Field(
        None,
        description="`tls`: the certificate authorities that are trusted for the server's certificate, which "
        "must be valid for HOST",
    )
    cert: AbsolutePath | None = Field(
        None,
        description="`tls`: the daemon's client certificate",
    )
    key: AbsolutePath | None = Field(
        None,
        description="`tls`: the key of that certificate",
    )

    @field_validator("max_bytes")
    @classmethod
    def _has_room(cls, value: int) -> int:
        if value < MIN_FILE_BYTES:
            raise ValueError(f"at least {MIN_FILE_BYTES // 2**20}MiB")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "SinkSection":
        needed, others = _SINK_KEYS[self.type]
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a sink of type {self.type} needs {name}")
        for name in sorted(self.model_fields_set.difference(needed, others, _COMMON_KEYS)):
            raise KeyFault(f"{name} is not for a sink of type {self.type}", name)
        if self.form == "text" and self.type != "journald" and (self.fields or self.omit_empty):
            raise ValueError(_TEXT_IS_FIXED)
        if (self.ca or self.cert or self.key) and self.address is not None and self.address.transport != "tls":
            raise ValueError("ca, cert and key are for an address such as tls://logs.example.net:6514")
        if self.key and not self.cert:
            raise ValueError("key is the one of cert: add cert")
        return self

    @property
    def form(self) -> FormatName:
        """The format, also where the file has none."""
        return self.format or ("text" if self.type == "journald" else "json")


class RecordsSection(Strict):
    """`records`: records of sessions on disk, and where they go from there. Without a journal there are no sinks."""

    events: Annotated[tuple[Literal["connect", "progress"], ...], AsTuple, Shown("list of `connect`, `progress`")] = (
        Field(
            (),
            description="records of [open sessions](records.md#open-sessions), in addition to end records",
        )
    )
    progress_interval: Annotated[Duration, Shown("duration, at least `1s`")] = Field(
        60.0,
        description="interval of the `progress` records of an open session",
    )
    journal: JournalSection | None = None
    sinks: dict[str, SinkSection] = Field(
        default_factory=dict,
        description="the destinations of these records: [Sinks](records.md#sinks)",
    )

    @field_validator("progress_interval")
    @classmethod
    def _is_long(cls, value: float) -> float:
        if value < MIN_PROGRESS_INTERVAL_S:
            raise ValueError(f"at least {MIN_PROGRESS_INTERVAL_S} s: each open session makes a record at this interval")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "RecordsSection":
        if "progress_interval" in self.model_fields_set and "progress" not in self.events:
            raise KeyFault("progress_interval is for events: [progress]", "progress_interval")
        if self.sinks and self.journal is None:
            raise ValueError("sinks take records from a journal: add journal: {path: /var/lib/spectrum/records}")
        taken: dict[str, str] = {}
        for name, sink in self.sinks.items():
            if wrong := check_name(name, "a sink"):
                raise ValueError(wrong)
            other = taken.setdefault(sink.path, name) if sink.path is not None else name
            if other != name:
                raise ValueError(f"sinks {other} and {name} write to the same file: {sink.path}")
        return self


class Log(Strict):
    """`log`: one line per closed session, and the daemon's own messages."""

    format: FormatName = Field(
        "json",
        description="[format](records.md#formats) of session lines; messages are JSON with `json`, else text",
    )
    fields: Annotated[Fields, Shown(default="all")] = Field(
        (),
        description="the fields of session lines, in this order; not for `text`",
    )
    omit_empty: bool = Field(
        False,
        description="omits fields without information, as in [sinks](records.md#sinks); not for `text`",
    )
    sessions: bool = Field(
        True,
        description="one line per ended session",
    )
    # During an attack one line per connection would multiply the load.
    sessions_per_second: Annotated[int, Shown("number, 0 for no limit")] = Field(
        1000,
        ge=0,
        description="session lines per second of each app; its refusals have the same limit separately. Lines "
        "beyond it are omitted, counted and reported: [the session "
        "line](operations.md#the-session-line)",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Log":
        if self.format == "text" and (self.fields or self.omit_empty):
            raise ValueError(_TEXT_IS_FIXED)
        if "RecordId" in self.fields:
            raise KeyFault("lines of the log are written once and have no RecordId; a sink of records has it", "fields")
        return self


class RecordKeys(Strict):
    """At the top of the file."""

    log: Log = Log()
    records: RecordsSection = RecordsSection()


def _compile(config: "Config", numbers: Mapping[str, int]) -> Mapping[str, Any]:
    has_journal = config.records.journal is not None or config.analytics is not None
    events = config.records.events
    return {
        "log_sessions": config.log.sessions or has_journal,
        "has_journal": has_journal,
        "records_per_s": 0 if has_journal else config.log.sessions_per_second,
        "tells_connects": "connect" in events,
        "progress_ms": round(config.records.progress_interval * 1000) if "progress" in events else 0,
    }


RECORDS = Feature("records", fixed=("records.journal",), compile=_compile)
