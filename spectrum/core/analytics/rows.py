"""How records become rows of the tables: as SQL for DuckDB, which reads the JSON of the journal directly. A record is
one row, independent of others: sums over rows are right in any order. `record_columns` makes the same rows of most
records, in a quarter of the time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

import msgspec

from spectrum.core.analytics.client_numbers import NUMBER
from spectrum.core.analytics.columns import Column, ColumnKind, Role, Table
from spectrum.core.analytics.event_rows import FAILED, REFUSED
from spectrum.core.ddos.attack_records import ATTACK_EVENTS
from spectrum.core.records.journal import Batch

# Part of the source of changes of health and of the configuration, which no worker makes.
SUPERVISOR = "/supervisor/"
# Fields that are added to lines here.
SOURCE, SEQUENCE = "Source", "Sequence"
_CLIENT = NUMBER.field.encode()
# DuckDB allocates twice as much for each thread.
_MAX_LINE_BYTES = 1 << 20


def sifted(
    batches: Sequence[Batch], following: Mapping[str, int]
) -> tuple[list[tuple[Batch, int]], dict[str, int], int, int]:
    """Determine which records are new.

    Args:
        batches: In their order.
        following: By source, the number of the next record.

    Returns:
        The batches with new records, each with the number of leading ones that are not new; the new value of
            `following`; the number of records that are not new; and the number missing between batches.
    """
    fresh: list[tuple[Batch, int]] = []
    after: dict[str, int] = {}
    repeated = missing = 0
    for batch in batches:
        known = after.get(batch.source) or following.get(batch.source, batch.sequence)
        skipped = min(max(known - batch.sequence, 0), batch.records)
        repeated += skipped
        missing += max(batch.sequence - known, 0)
        if skipped < batch.records:
            fresh.append((batch, skipped))
            after[batch.source] = batch.sequence + batch.records
    return fresh, after, repeated, missing


def numbered(batch: Batch, skipped: int = 0, client_of: Callable[[bytes], int] | None = None) -> bytes:
    """Return the lines of a batch with source and number prepended, without those to be skipped.

    Args:
        batch: The batch.
        skipped: How many are skipped.
        client_of: Returns the number of the client's address, which is prepended as well.
    """
    lines = enumerate(batch.lines.splitlines(keepends=True)[skipped:], batch.sequence + skipped)
    return b"".join(with_numbers(batch.source, lines, client_of))


def with_numbers(
    source: str, lines: Iterable[tuple[int, bytes]], client_of: Callable[[bytes], int] | None
) -> Iterator[bytes]:
    """Return lines of a source with their numbers, as `numbered` does for those of a batch."""
    head = b'{"%b":%b,"%b":' % (SOURCE.encode(), msgspec.json.encode(source), SEQUENCE.encode())
    for number, line in lines:
        if client_of is None:
            yield b"%b%d,%b" % (head, number, line[1:])
        else:
            yield b'%b%d,"%b":%d,%b' % (head, number, _CLIENT, client_of(line), line[1:])


def _among(field: str, labels: Set[str]) -> str:
    return f"{field} IN ({', '.join(repr(label) for label in sorted(labels))})"


OUTCOME = (
    f"CASE WHEN Event = 'clientFiltered' OR {_among('Reason', REFUSED)} THEN 'refused'"
    f" WHEN Event IN ('originError', 'resolveOrigin') OR {_among('Reason', FAILED)} THEN 'failed' ELSE 'passed' END"
)


def prefix_of(address: str) -> str:
    """Return the expression for the /24 or /48 that holds an address, in its usual form; '' for none."""
    groups = f"list_resize(string_split(split_part({address}, '::', 1), ':'), 3, '0')"
    return (
        f"CASE WHEN {address} IS NULL OR {address} = '' THEN ''"
        f" WHEN contains({address}, ':') THEN"
        f" regexp_replace(array_to_string({groups}, ':'), '(:0)+$', '') || '::/48'"
        f" ELSE regexp_replace({address}, '[0-9]+$', '0/24') END"
    )


def _moved(name: str) -> str:
    """Return the expression for what a record says was moved since the one before of its session.

    A record that stands for others counts for them, too.
    """
    return f"CASE WHEN Event = 'connect' THEN 0 ELSE coalesce({name}Since, {name}, 0) * coalesce(SampledOneIn, 1) END"


def _at_end(value: str) -> str:
    return f"CASE WHEN DisconnectTimestamp IS NOT NULL AND Sessions IS NULL THEN {value} END"


_ORIGIN_ADDRESS = (
    "CASE WHEN contains(OriginIP, ':') THEN '[' || OriginIP || ']:' ELSE OriginIP || ':' END || OriginPort::VARCHAR"
)
# By table and column, expressions for columns that do not copy a field.
_MADE: Mapping[str, Mapping[str, str]] = {
    "events": {
        "source": SOURCE,
        "sequence": SEQUENCE,
        "outcome": OUTCOME,
        "node": f"split_part({SOURCE}, '/', 1)",
        "client_prefix": prefix_of("ClientIP"),
        "ip_version": "CASE WHEN coalesce(ClientIP, '') = '' THEN 0 WHEN contains(ClientIP, ':') THEN 6 ELSE 4 END",
        "origin": f"CASE WHEN Pool <> '' AND OriginName <> '' THEN Pool || '/' || OriginName"
        f" WHEN OriginIP <> '' THEN {_ORIGIN_ADDRESS} ELSE '' END",
        "attempts": "coalesce(Attempts::VARCHAR, '')",
        "weight": f"least(coalesce(Sessions, 1)::UBIGINT * coalesce(SampledOneIn, 1), {2**32 - 1})",
        "clients": "coalesce(Clients, 0)",
        "client_bytes": _moved("ClientBytes"),
        "origin_bytes": _moved("OriginBytes"),
        "client_packets": _moved("ClientDatagrams"),
        "origin_packets": _moved("OriginDatagrams"),
        "duration": _at_end("greatest(date_diff('microsecond', ConnectTimestamp, DisconnectTimestamp), 0)"),
        "connect_duration": _at_end("CASE WHEN ConnectTimestamp IS NOT NULL THEN ConnectDuration // 1000 END"),
        "client_rtt": _at_end("nullif(ClientTcpRtt // 1000, 0)"),
        "origin_rtt": _at_end("nullif(OriginTcpRtt // 1000, 0)"),
    },
    "health": {
        "source": SOURCE,
        "sequence": SEQUENCE,
        "node": f"split_part({SOURCE}, '/', 1)",
        "origin": "CASE WHEN Origin <> '' THEN coalesce(Pool, '') || '/' || Origin ELSE '' END",
        "rtt": "nullif(RTT // 1000, 0)",
    },
    "changes": {"source": SOURCE, "sequence": SEQUENCE, "node": f"split_part({SOURCE}, '/', 1)"},
    "attacks": {
        "source": SOURCE,
        "sequence": SEQUENCE,
        "node": f"split_part({SOURCE}, '/', 1)",
        "began": "coalesce(epoch_us(StartDatetime), 0)",
        "ended": "coalesce(epoch_us(EndDatetime), 0)",
        "mitigated_after": "coalesce(MitigatedAfter, 0) // 1000",
        "hits_ppm": "CAST(round(coalesce(Hits, 0) * 1000000) AS UINTEGER)",
    },
}
# Fields that expressions use, and their types for DuckDB.
_FIELDS_OF_EXPRESSIONS = {
    "events": {
        SOURCE: "VARCHAR",
        SEQUENCE: "UBIGINT",
        "Reason": "VARCHAR",
        "ClientIP": "VARCHAR",
        "OriginIP": "VARCHAR",
        "OriginPort": "USMALLINT",
        "OriginName": "VARCHAR",
        "Pool": "VARCHAR",
        "ConnectDuration": "UBIGINT",
        "ClientTcpRtt": "UBIGINT",
        "OriginTcpRtt": "UBIGINT",
        "ConnectTimestamp": "TIMESTAMP",
        "DisconnectTimestamp": "TIMESTAMP",
        "Sessions": "UINTEGER",
        "Clients": "UINTEGER",
        "SampledOneIn": "UINTEGER",
        "ClientBytes": "UBIGINT",
        "OriginBytes": "UBIGINT",
        "ClientDatagrams": "UBIGINT",
        "OriginDatagrams": "UBIGINT",
        "ClientBytesSince": "UBIGINT",
        "OriginBytesSince": "UBIGINT",
        "ClientDatagramsSince": "UBIGINT",
        "OriginDatagramsSince": "UBIGINT",
        "Attempts": "JSON",
    },
    "health": {SOURCE: "VARCHAR", SEQUENCE: "UBIGINT", "Pool": "VARCHAR", "Origin": "VARCHAR", "RTT": "UBIGINT"},
    "changes": {SOURCE: "VARCHAR", SEQUENCE: "UBIGINT"},
    "attacks": {
        SOURCE: "VARCHAR",
        SEQUENCE: "UBIGINT",
        "StartDatetime": "TIMESTAMP",
        "EndDatetime": "TIMESTAMP",
        "MitigatedAfter": "UBIGINT",
        "Hits": "DOUBLE",
    },
}
HEALTH_EVENTS = ("originHealth", "originEjected", "originReturned", "poolHealth", "loadBalancerFallback")
CHANGE_EVENTS = ("configurationStarted", "configurationReloaded", "configurationChanged")
# Records of other tables than `events`.
OTHER_EVENTS = frozenset({*HEALTH_EVENTS, *CHANGE_EVENTS, *ATTACK_EVENTS.values()})
_WHICH = {
    "events": f"NOT {_among('Event', OTHER_EVENTS)}",
    "health": _among("Event", set(HEALTH_EVENTS)),
    "changes": _among("Event", set(CHANGE_EVENTS)),
    "attacks": _among("Event", set(ATTACK_EVENTS.values())),
}


def _given(column: Column) -> str:
    """Return the expression for a column that copies a field; a missing field is empty."""
    if column.role is Role.TIME:
        return f'"{column.field}"'
    empty = "false" if column.kind is ColumnKind.BOOLEAN else "''" if column.duckdb == "VARCHAR" else "0"
    return f'coalesce("{column.field}", {empty})'


def copied_fields(table: Table) -> dict[str, str]:
    """Return the fields of records that a table copies, and the names of their columns."""
    return {
        column.field: column.name for column in table.columns if column.field and column.name not in _MADE[table.name]
    }


def fields_of(table: Table) -> dict[str, str]:
    """Return the fields of records that a table needs, and their types for DuckDB."""
    named = {field: table.by_name[name].duckdb for field, name in copied_fields(table).items()}
    return named | {"Event": "VARCHAR"} | _FIELDS_OF_EXPRESSIONS[table.name]


def reader_of(descriptor: int, table: Table) -> str:
    """Return the relation of `fields_of` in a file of records, by its descriptor."""
    fields = ", ".join(f"'{name}': '{kind}'" for name, kind in fields_of(table).items())
    return (
        f"read_json('/proc/self/fd/{descriptor}', format = 'newline_delimited', ignore_errors = true,"
        f" maximum_object_size = {_MAX_LINE_BYTES}, columns = {{{fields}}})"
    )


def query_of(table: Table, lines: str) -> str:
    """Return the query for the rows of a table from `lines`, a relation of `fields_of`."""
    made = _MADE[table.name]
    values = (made.get(column.name) or _given(column) for column in table.columns)
    return f"SELECT {', '.join(values)} FROM {lines} WHERE {_WHICH[table.name]} AND Timestamp IS NOT NULL"
