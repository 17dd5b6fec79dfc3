"""Filters of GraphQL: fields such as `appId_in` or `datetime_geq`, as conditions of a question."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from spectrum.core.analytics.columns import Column, ColumnKind, Table
from spectrum.core.analytics.dimensions import ColumnFilter, can_compare, can_group
from spectrum.core.analytics.question import AllOf, AnyOf, Compare, Condition, Operator, Value

_SECOND_US = 1_000_000
# Dimensions that are times, and their length in seconds; 0 for an instant.
TIMES: Mapping[str, int] = {
    "datetime": 0,
    "datetimeTenSeconds": 10,
    "datetimeMinute": 60,
    "datetimeFiveMinutes": 300,
    "datetimeFifteenMinutes": 900,
    "datetimeHour": 3600,
    "date": 86400,
}
# Suffixes of the names of dimensions.
ENDINGS: Mapping[str, Operator] = {
    "": "=",
    "_neq": "!=",
    "_in": "=",
    "_notin": "!=",
    "_gt": ">",
    "_lt": "<",
    "_geq": ">=",
    "_leq": "<=",
    "_like": "like",
    "_notlike": "not_like",
}
OF_LISTS = ("_in", "_notin")
OF_TEXTS = ("_like", "_notlike")
TEXTS = (ColumnKind.TEXT, ColumnKind.CATEGORY)
MAX_COMPARISONS = 500


class GraphQLFilterFault(ValueError):
    """An invalid filter; the message says what is valid."""


@dataclass(slots=True)
class TimeRange:
    """The time range of a filter: both ends in microseconds since 1970, the end not included."""

    since_us: int | None = None
    until_us: int | None = None

    def later(self, at_us: int) -> None:
        """Exclude what is before a time."""
        self.since_us = at_us if self.since_us is None else max(self.since_us, at_us)

    def earlier(self, at_us: int) -> None:
        """Exclude a time and what is after it."""
        self.until_us = at_us if self.until_us is None else min(self.until_us, at_us)


def dimensions(table: Table) -> dict[str, Column]:
    """Return the columns that rows can be grouped by, by their names in GraphQL."""
    return {column.graphql: column for column in table.columns if can_group(column)}


def comparable(table: Table) -> dict[str, Column]:
    """Return the columns that rows can be filtered by, by their names in GraphQL."""
    return {column.graphql: column for column in table.columns if can_compare(column)}


def endings_of(column: Column) -> Iterator[str]:
    """Yield the suffixes that the name of a column may have."""
    for ending in ENDINGS:
        if ending not in OF_TEXTS or column.kind in TEXTS:
            yield ending


# Returns the condition of a filter by a derived dimension; arguments: its name, the suffix, and the value.
MadeFilter = Callable[[str, str, Any], Condition]


def read(
    table: Table, given: Mapping[str, Any], made: Collection[str] = (), compared: MadeFilter | None = None
) -> tuple[Condition | None, TimeRange]:
    """Return the condition of a filter.

    Args:
        table: The table.
        given: The filter.
        made: Dimensions that are derived from columns.
        compared: Returns the condition of these.

    Raises:
        GraphQLFilterFault: If it is invalid.
    """
    reader = _Reading(table, made, compared)
    return reader.all_of(given, is_top=True), reader.range


class _Reading:
    def __init__(self, table: Table, made: Collection[str], compared: MadeFilter | None) -> None:
        self.range = TimeRange()
        self._made, self._compared = made, compared
        self._columns = comparable(table)
        self._count = 0

    def all_of(self, given: Mapping[str, Any], is_top: bool) -> Condition | None:
        parts: list[Condition] = []
        for name, value in given.items():
            if value is None:
                continue
            if name == "AND":
                parts += [found for one in value if (found := self.all_of(one, is_top)) is not None]
            elif name == "OR":
                either = [found for one in value if (found := self.all_of(one, False)) is not None]
                parts.append(AnyOf(tuple(either)))
            elif (found := self._one(name, value, is_top)) is not None:
                parts.append(found)
        return None if not parts else parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self, name: str, value: Any, is_top: bool) -> Condition | None:
        self._count += 1
        if self._count > MAX_COMPARISONS:
            raise GraphQLFilterFault(f"a filter has at most {MAX_COMPARISONS} comparisons")
        stem, _, ending = name.partition("_")
        ending = ending and f"_{ending}"
        if stem in TIMES and stem not in self._columns:
            if not is_top:
                raise GraphQLFilterFault(f"{name}: times stand beside OR, not in it")
            self._limit(stem, ending, value)
            return None
        if stem in self._made and self._compared is not None:
            return self._compared(stem, ending, value)
        return compare(self._columns[stem], ending, value)

    def _limit(self, stem: str, ending: str, value: Any) -> None:
        moment, length_us = _moment_us(stem, value), max(1, TIMES[stem] * _SECOND_US)
        match ending:
            case "":
                self.range.later(moment)
                self.range.earlier(moment + length_us)
            case "_geq":
                self.range.later(moment)
            case "_gt":
                self.range.later(moment + length_us)
            case "_lt":
                self.range.earlier(moment)
            case "_leq":
                self.range.earlier(moment + length_us)


def compare(column: Column, ending: str, value: Any) -> Condition:
    """Return the condition of one field of a filter.

    Raises:
        GraphQLFilterFault: If the column cannot have this value.
    """
    operator = ENDINGS[ending]
    values = value if ending in OF_LISTS else [value]
    found: dict[Operator, list[Value]] = {}
    for one in values:
        try:
            fitting, read_ = ColumnFilter(column).read(one, operator)
        except ValueError as exc:
            raise GraphQLFilterFault(f"{column.graphql}{ending}: {exc}") from None
        found.setdefault(fitting, []).append(read_)
    parts = [Compare(column.name, fitting, tuple(some)) for fitting, some in found.items()]
    if len(parts) == 1:
        return parts[0]
    return AllOf(tuple(parts)) if operator == "!=" else AnyOf(tuple(parts))


def _moment_us(stem: str, value: Any) -> int:
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        example = "2026-11-26" if stem == "date" else "2026-11-26T14:00:00Z"
        raise GraphQLFilterFault(f"{stem}: {value!r} is no time, such as {example}") from None
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return (parsed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
