"""What the file says of records: the log, where they are kept on disk, and which sinks they go to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import Size, Strict, check_name, describe, text

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config

# A sixteenth of it is dropped at once.
MIN_JOURNAL_BYTES = 16 * 2**20
MIN_FILE_BYTES = 2**20


def _absolute(value: Any) -> str:
    path = text(value, "/var/lib/spectrum/records")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"expected an absolute path, found {describe(path)}")
    return path


AbsolutePath = Annotated[str, PlainValidator(_absolute)]


class JournalSection(Strict):
    """`records.journal`: the folder that keeps records for sinks, and what it takes at most."""

    path: AbsolutePath
    max_bytes: Size = 2**30

    @field_validator("max_bytes")
    @classmethod
    def _has_room(cls, value: int) -> int:
        if value < MIN_JOURNAL_BYTES:
            raise ValueError(f"at least {MIN_JOURNAL_BYTES // 2**20}MiB: the oldest sixteenth is dropped at once")
        return value


class SinkSection(Strict):
    """One of `records.sinks`: a file, and the older ones that are kept beside it."""

    type: Literal["file"] = "file"
    path: AbsolutePath
    max_bytes: Size = 100 * 2**20
    max_files: int = Field(10, ge=0, le=1000)

    @field_validator("max_bytes")
    @classmethod
    def _has_room(cls, value: int) -> int:
        if value < MIN_FILE_BYTES:
            raise ValueError(f"at least {MIN_FILE_BYTES // 2**20}MiB")
        return value


class RecordsSection(Strict):
    """`records`: records of sessions on disk, beside the log. Without a journal there are no sinks."""

    journal: JournalSection | None = None
    sinks: dict[str, SinkSection] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> "RecordsSection":
        if self.sinks and self.journal is None:
            raise ValueError("sinks take records from a journal: add journal: {path: /var/lib/spectrum/records}")
        taken: dict[str, str] = {}
        for name, sink in self.sinks.items():
            if wrong := check_name(name, "a sink"):
                raise ValueError(wrong)
            other = taken.setdefault(sink.path, name)
            if other != name:
                raise ValueError(f"sinks {other} and {name} write to the same file: {sink.path}")
        return self


class Log(Strict):
    """`log`: one line per closed session, and the daemon's own messages."""

    format: Literal["json", "text"] = "json"
    sessions: bool = True
    # Under attack a line per connection is an attack of its own. 0: no limit.
    sessions_per_second: int = Field(1000, ge=0)


class RecordKeys(Strict):
    """At the top of the file."""

    log: Log = Log()
    records: RecordsSection = RecordsSection()


def _compile(config: "Config", numbers: Mapping[str, int]) -> Mapping[str, Any]:
    has_journal = config.records.journal is not None
    return {"log_sessions": config.log.sessions or has_journal, "has_journal": has_journal}


RECORDS = Feature("records", fixed=("records.journal",), compile=_compile)
