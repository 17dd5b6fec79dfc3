"""The two dialects of SQL for questions. Values are always parameters, never part of the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Protocol

from spectrum.core.analytics import histogram
from spectrum.core.analytics.columns import Column, ColumnKind
from spectrum.core.analytics.question import Bucket, Value

_TEXTS = (ColumnKind.TEXT, ColumnKind.CATEGORY)
# Comparison values may exceed the range of the column's type.
_WIDEST = dict.fromkeys((ColumnKind.U8, ColumnKind.U16, ColumnKind.U32), "UBIGINT")


@dataclass(slots=True)
class Statement:
    """A statement of SQL.

    Attributes:
        text: The text, with the names of its parameters.
        parameters: Their values.
    """

    text: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def name_of(self, value: Any) -> str:
        """Add a value as a parameter, and return its name."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return name


class Dialect(Protocol):
    """The parts of statements that differ between the two.

    Attributes:
        has_client_numbers: Whether `events` has the numbers of `core.analytics.client_numbers`.
        has_one_number_each: Whether each address has one number, or none, in all rows.
        keeps_named: Whether a named query (`WITH name AS MATERIALIZED`) is computed once, however often it is read.
    """

    has_client_numbers: bool
    has_one_number_each: bool
    keeps_named: bool

    def value(self, statement: Statement, value: Value) -> str:
        """Add a value as a parameter; return its text in the statement."""
        ...

    def among(self, statement: Statement, columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> str:
        """Return the condition that some columns have the values of one of several rows."""
        ...

    def moment(self, statement: Statement, at_us: int) -> str:
        """Return a time, in microseconds since 1970."""
        ...

    def start(self, column: str, bucket: Bucket) -> str:
        """Return the start of the bucket that contains a time, in seconds since 1970."""
        ...

    def quantile(self, column: str, fraction: float) -> str:
        """Return the exact percentile of a column, with linear interpolation; NULL without rows."""
        ...

    def in_prefix(self, statement: Statement, column: str, prefix: str) -> str:
        """Return the condition that an address, as text, is in a prefix."""
        ...

    def like(self, statement: Statement, column: str, pattern: str) -> str:
        """Return the condition that a text fits a pattern with `%` and `_`."""
        ...

    def shown(self, column: Column) -> str:
        """Return a column in the form of raw rows: times in microseconds since 1970, bytes as hex digits."""
        ...

    def histogram_of(self, column: str) -> str:
        """Return the histogram of `minutes` for one value of a duration that may be NULL."""
        ...

    def unnested(self, keys: Sequence[str], map_column: str, source: str) -> str:
        """Return a table of `keys`, `b` and `n`: a row for each entry of the maps in a column of a source."""
        ...


def plain_pattern(pattern: str) -> str:
    """Return a pattern of LIKE in the form that both dialects read: each backslash escapes the next character."""
    made, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\":
            follows = pattern[at + 1 : at + 2]
            escapes = follows in ("%", "_", "\\") and follows != ""
            made.append("\\" + follows if escapes else "\\\\")
            at += 2 if escapes else 1
        else:
            made.append(pattern[at])
            at += 1
    return "".join(made)


class DuckDb:
    """DuckDB: parameters are `$name`.

    Args:
        has_client_numbers: Whether it is the embedded store, which has these.
        has_one_number_each: Whether each address has one of them, or none, in all rows.
    """

    keeps_named = True

    def __init__(self, has_client_numbers: bool = False, has_one_number_each: bool = False) -> None:
        self.has_client_numbers = has_client_numbers
        self.has_one_number_each = has_one_number_each

    def value(self, statement: Statement, value: Value) -> str:
        """Add a value as a parameter; return its text in the statement."""
        return f"${statement.name_of(value)}"

    def among(self, statement: Statement, columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> str:
        """Return the condition that some columns have the values of one of several rows."""
        lists = [
            f"unnest(CAST({self.value(statement, values)}"  # type: ignore[arg-type]
            f" AS {_WIDEST.get(column.kind, column.kind.duckdb)}[]))"
            for column, values in zip(columns, map(list, zip(*rows, strict=True)), strict=True)
        ]
        names = ", ".join(column.name for column in columns)
        return f"({names}) IN (SELECT {', '.join(lists)})"

    def moment(self, statement: Statement, at_us: int) -> str:
        """Return a time, in microseconds since 1970."""
        return f"make_timestamp({self.value(statement, at_us)}::BIGINT)"

    def start(self, column: str, bucket: Bucket) -> str:
        """Return the start of the bucket that contains a time, in seconds since 1970."""
        if isinstance(bucket, int):
            return f"epoch_us({column}) // {bucket * 1_000_000} * {bucket}"
        return f"epoch_us(date_trunc('{bucket}', {column})::TIMESTAMP) // 1000000"

    def quantile(self, column: str, fraction: float) -> str:
        """Return the exact percentile of a column, with linear interpolation; NULL without rows."""
        return f"quantile_cont({column}, {fraction})"

    def in_prefix(self, statement: Statement, column: str, prefix: str) -> str:
        """Return the condition that an address, as text, is in a prefix."""
        network = ip_network(prefix)
        if isinstance(network, IPv4Network):
            return self._in_prefix_v4(statement, column, network)
        return self._in_prefix_v6(statement, column, network)

    def _in_prefix_v4(self, statement: Statement, column: str, network: IPv4Network) -> str:
        whole, rest = divmod(network.prefixlen, 8)
        octets = list(network.network_address.packed)
        begin = "".join(f"{octet}." for octet in octets[:whole])
        if whole == 4:
            return f"{column} = {self.value(statement, begin[:-1])}"
        conditions = [f"contains({column}, '.') AND NOT contains({column}, ':')"]
        if whole:
            conditions.append(f"starts_with({column}, {self.value(statement, begin)})")
        if rest:
            low, high = octets[whole], octets[whole] + 2 ** (8 - rest) - 1
            conditions.append(
                f"TRY_CAST(split_part({column}, '.', {whole + 1}) AS USMALLINT)"
                f" BETWEEN {self.value(statement, low)} AND {self.value(statement, high)}"
            )
        return f"({' AND '.join(conditions)})"

    def _in_prefix_v6(self, statement: Statement, column: str, network: IPv6Network) -> str:
        # With all 32 digits: `::` is expanded, and each group padded with zeros.
        left, right = f"split_part({column}, '::', 1)", f"split_part({column}, '::', 2)"
        groups = [
            f"(CASE WHEN {part} = '' THEN 0 ELSE length({part}) - length(replace({part}, ':', '')) + 1 END)"
            for part in (left, right)
        ]
        filled = (
            f"CASE WHEN contains({column}, '::') THEN"
            f" concat(CASE WHEN {left} = '' THEN '' ELSE {left} || ':' END,"
            f" repeat('0:', greatest(0, 8 - {groups[0]} - {groups[1]})), {right}) ELSE {column} END"
        )
        padded = f"list_transform(string_split({filled}, ':'), lambda part: lpad(part, 4, '0'))"
        digits = f"list_aggregate({padded}, 'string_agg', '')"
        low, high = (address.packed.hex() for address in (network[0], network[-1]))
        return (
            f"(contains({column}, ':') AND left({digits}, 32)"
            f" BETWEEN {self.value(statement, low)} AND {self.value(statement, high)})"
        )

    def like(self, statement: Statement, column: str, pattern: str) -> str:
        """Return the condition that a text fits a pattern with `%` and `_`."""
        return f"{column} LIKE {self.value(statement, plain_pattern(pattern))} ESCAPE '\\'"

    def shown(self, column: Column) -> str:
        """Return a column in the form of raw rows: times in microseconds since 1970, bytes as hex digits."""
        match column.kind:
            case ColumnKind.TIME:
                return f"epoch_us({column.name})"
            case ColumnKind.BYTES:
                return f"lower(hex({column.name}))"
        return column.name

    def histogram_of(self, column: str) -> str:
        """Return the histogram of `minutes` for one value of a duration that may be NULL."""
        one = f"MAP([{histogram.duckdb_bucket(column)}], [CAST(1 AS UBIGINT)])"
        return f"CASE WHEN {column} IS NULL THEN CAST(MAP([], []) AS {ColumnKind.HISTOGRAM.duckdb}) ELSE {one} END"

    def unnested(self, keys: Sequence[str], map_column: str, source: str) -> str:
        """Return a table of `keys`, `b` and `n`: a row for each entry of the maps in a column of a source."""
        entries = (
            f"SELECT {''.join(f'{key}, ' for key in keys)}unnest(map_entries({map_column})) AS entry FROM {source}"
        )
        return f"(SELECT {''.join(f'{key}, ' for key in keys)}entry.key AS b, entry.value AS n FROM ({entries}))"


class ClickHouse:
    """ClickHouse: parameters are `{name:Type}`."""

    has_client_numbers = has_one_number_each = keeps_named = False

    def value(self, statement: Statement, value: Value) -> str:
        """Add a value as a parameter; return its text in the statement."""
        kind = "String" if isinstance(value, str) else "Float64" if isinstance(value, float) else "Int64"
        return f"{{{statement.name_of(value)}:{kind}}}"

    def among(self, statement: Statement, columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> str:
        """Return the condition that some columns have the values of one of several rows."""
        kinds = ["String" if column.kind in _TEXTS else "Int64" for column in columns]
        if len(columns) == 1:
            name = statement.name_of([row[0] for row in rows])
            return f"{columns[0].name} IN {{{name}:Array({kinds[0]})}}"
        name = statement.name_of([tuple(row) for row in rows])
        names = ", ".join(column.name for column in columns)
        return f"({names}) IN {{{name}:Array(Tuple({', '.join(kinds)}))}}"

    def moment(self, statement: Statement, at_us: int) -> str:
        """Return a time, in microseconds since 1970."""
        return f"fromUnixTimestamp64Micro({self.value(statement, at_us)}, 'UTC')"

    def start(self, column: str, bucket: Bucket) -> str:
        """Return the start of the bucket that contains a time, in seconds since 1970."""
        if isinstance(bucket, int):
            return f"intDiv(toUnixTimestamp64Micro({column}), {bucket * 1_000_000}) * {bucket}"
        return f"toUnixTimestamp(toDateTime(date_trunc('{bucket}', {column}), 'UTC'))"

    def quantile(self, column: str, fraction: float) -> str:
        """Return the exact percentile of a column, with linear interpolation; NULL without rows."""
        return f"quantileExactInclusiveOrNull({fraction})({column})"

    def in_prefix(self, statement: Statement, column: str, prefix: str) -> str:
        """Return the condition that an address, as text, is in a prefix."""
        # For a text that is not an address it would be an error, not false.
        is_address = f"(isIPv4String({column}) OR isIPv6String({column}))"
        address = f"if({is_address}, {column}, '::')"
        return f"({is_address} AND isIPAddressInRange({address}, {self.value(statement, prefix)}))"

    def like(self, statement: Statement, column: str, pattern: str) -> str:
        """Return the condition that a text fits a pattern with `%` and `_`."""
        return f"{column} LIKE {self.value(statement, plain_pattern(pattern))}"

    def shown(self, column: Column) -> str:
        """Return a column in the form of raw rows: times in microseconds since 1970, bytes as hex digits."""
        return f"toUnixTimestamp64Micro({column.name})" if column.kind is ColumnKind.TIME else column.name

    def histogram_of(self, column: str) -> str:
        """Return the histogram of `minutes` for one value of a duration that may be NULL."""
        one = f"map({histogram.clickhouse_bucket(f'assumeNotNull({column})')}, toUInt64(1))"
        return f"if(isNull({column}), CAST(map(), '{ColumnKind.HISTOGRAM.clickhouse}'), {one})"

    def unnested(self, keys: Sequence[str], map_column: str, source: str) -> str:
        """Return a table of `keys`, `b` and `n`: a row for each entry of the maps in a column of a source."""
        entries = f"mapKeys({map_column}) AS b, mapValues({map_column}) AS n"
        return f"(SELECT {''.join(f'{key}, ' for key in keys)}b, n FROM {source} ARRAY JOIN {entries})"


def named(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters for ClickHouse's HTTP interface: `param_NAME` and the value as text."""
    return {f"param_{name}": _text(value, is_inner=False) for name, value in parameters.items()}


def _text(value: Any, is_inner: bool) -> str:
    match value:
        case str():
            escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
            return "'" + escaped.replace("'", "\\'") + "'" if is_inner else escaped
        case list():
            return f"[{','.join(_text(one, is_inner=True) for one in value)}]"
        case tuple():
            return f"({','.join(_text(one, is_inner=True) for one in value)})"
    return str(value)
