"""`analytics` in the file: whether records of sessions are stored, where, and how many."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature
from spectrum.core.configuration.fields import AbsolutePath, PositiveDuration, Shown, Size, Strict, switch, text

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config

DAY_S = 86400.0
# Size of the journal if the file has no `records.journal`: a minute of 4,000 records a second.
DEFAULT_JOURNAL_BYTES = 256 * 2**20
# Below it, a day's roll-ups of some thousand apps have no room.
MIN_STORE_BYTES = 64 * 2**20
# With less, DuckDB refuses questions.
MIN_MEMORY_BYTES = 64 * 2**20
MAX_THREADS = 64
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


class Retention(Strict):
    """`keep` of analytics: how long single records are kept, and their sums by minute."""

    events_s: PositiveDuration = Field(
        30 * DAY_S,
        alias="events",
        description="how long single records are kept",
    )
    minutes_s: PositiveDuration = Field(
        400 * DAY_S,
        alias="minutes",
        description="how long their sums by minute are kept",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Retention":
        if self.minutes_s < self.events_s:
            raise ValueError("minutes are computed from events: keep them at least as long")
        return self


def _clickhouse_url(value: Any) -> str:
    given = text(value, "http://127.0.0.1:8123")
    found = urlsplit(given)
    if found.scheme not in ("http", "https") or not found.hostname or found.query or found.username:
        raise ValueError(f"{given!r} is not a URL of a ClickHouse server, such as http://127.0.0.1:8123")
    return given


class ClickHouseServer(Strict):
    """`clickhouse` of analytics: a server that stores the tables instead of the embedded store."""

    url: Annotated[str, PlainValidator(_clickhouse_url), Shown("URL")] = Field(
        description="the server's HTTP interface",
    )
    database: str = Field(
        "spectrum",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="the database of the tables",
    )
    user: str = Field(
        "default",
        min_length=1,
        max_length=128,
        description="the user",
    )
    password: str = Field(
        "",
        max_length=256,
        description="the password; [a variable](configuration.md#values-from-elsewhere) keeps it out of the file",
    )


def _time_of_day(value: Any) -> float:
    given = text(value, '"08:00"')
    found = _CLOCK.fullmatch(given)
    if found is None:
        raise ValueError(f'{given!r} is not a time of day; write "08:00", in quotes')
    return int(found[1]) * 3600.0 + int(found[2]) * 60.0


class ReportSchedule(Strict):
    """`reports` of analytics: a report of each week, in a folder beside the store. Times are UTC."""

    day: Literal[*DAYS] = Field(  # type: ignore[valid-type]
        "monday",
        description="the day of the week on which a report is made",
    )
    at_s: Annotated[float, PlainValidator(_time_of_day), Shown('`"08:00"`', default='`"08:00"`')] = Field(
        8 * 3600.0,
        alias="at",
        description="the time of day, UTC",
    )
    keep: int = Field(
        53,
        ge=1,
        le=1000,
        description="reports that are kept",
    )


class Analytics(Strict):
    """`analytics`: the store of records for questions, in the process of the API."""

    store: Annotated[AbsolutePath | None, Shown(default="beside the daemon's state")] = Field(
        None,
        description="the folder of the embedded store (DuckDB). It is owned by the user of the API's process, "
        "and readable by that user alone",
    )
    max_bytes: Annotated[Size, Shown("size, at least `64MiB`")] = Field(
        10 * 2**30,
        description="the maximum size of the store; above it, the oldest records are rolled up and then deleted",
    )
    keep: Annotated[Retention, Shown("`{events: 30d, minutes: 400d}`")] = Field(
        Retention(),
        description="how long single records and their sums by minute are kept",
    )
    memory: Annotated[Size, Shown("size, at least `64MiB`")] = Field(
        512 * 2**20,
        description="memory of the embedded store, shared by ingestion and queries",
    )
    threads: int = Field(
        2,
        ge=1,
        le=MAX_THREADS,
        description="processor cores that a query may use",
    )
    clickhouse: ClickHouseServer | None = Field(
        None,
        description="a [ClickHouse](analytics.md#clickhouse) server that holds the tables instead of the "
        "embedded store; [a variable](configuration.md#values-from-elsewhere) keeps the password "
        "out of the file",
    )
    reports: Annotated[ReportSchedule | None, BeforeValidator(switch)] = Field(
        None,
        description="writes a weekly report: [Reports](analytics.md#reports)",
    )

    @field_validator("max_bytes")
    @classmethod
    def _has_room(cls, value: int) -> int:
        if value < MIN_STORE_BYTES:
            raise ValueError(f"at least {MIN_STORE_BYTES // 2**20}MiB")
        return value

    @field_validator("memory")
    @classmethod
    def _has_memory(cls, value: int) -> int:
        if value < MIN_MEMORY_BYTES:
            raise ValueError(f"at least {MIN_MEMORY_BYTES // 2**20}MiB: questions are answered in it")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Analytics":
        if self.clickhouse is not None:
            for name in sorted(self.model_fields_set & {"memory", "threads", "max_bytes"}):
                raise ValueError(f"{name} is for the embedded store; the server of clickhouse has its own")
        return self


class AnalyticsKeys(Strict):
    """At the top of the file."""

    analytics: Annotated[Analytics | None, BeforeValidator(switch), Shown("`true`, mapping, `false`")] = Field(
        None,
        description="a store of session records that answers queries: [Analytics](analytics.md). It needs `api`",
    )


def _check(config: "Config", surroundings: CheckContext) -> Iterator[Fault]:
    if config.analytics is not None and config.api is None:
        yield Fault(("analytics",), "the control API's process keeps the store: add api: true")


ANALYTICS = Feature("analytics", check=_check)
