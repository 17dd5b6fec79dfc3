"""The embedded store of analytics: what taking records costs, and how long questions among millions of them take."""

import random
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import analytics_feed
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.analytics.embedded import EmbeddedStore, insert_clients
from spectrum.core.analytics.client_numbers import NUMBER
from spectrum.core.analytics.columns import EVENTS, Role
from spectrum.core.analytics.question import Question
from spectrum.core.records.events import SessionEvent
from spectrum.core.records.journal import Batch, Cursor

APPS, COUNTRIES, NUMBERS, ORIGINS = 200, 40, 2000, 4
# A batch of a worker, and what the intake gathers of a busy node.
BATCH_RECORDS = 64
TAKE_RECORDS = 18_000
# Rows that are made, not taken: so many, again and again with later times.
MADE_ROWS = 500_000
# The time over which these rows are.
SPAN_S = 86400
BEGIN = datetime(2026, 11, 26, tzinfo=UTC)
REPEATS = 3
ROWS: Rows = {
    "take_us": ("a record taken: processor time", "µs", True),
    "take_per_s": ("records taken as fast as it goes", "/s", False),
    "share": ("of one core, at 50,000 records/s", "%", True),
    "pause_ms": ("a question while records are taken, longest", "ms", True),
    "row_mb": ("on disk, of a million rows", "MB", True),
    "roll_up_us": ("a row rolled up: processor time", "µs", True),
    "minutes": ("rows of minutes, of a thousand", "", True),
    "raw_app_ms": ("sessions and bytes by app, of all rows", "ms", True),
    "raw_country_ms": ("the same by country", "ms", True),
    "raw_asn_ms": ("the same by autonomous system, of 2,000", "ms", True),
    "rolled_app_ms": ("the same by app, of roll-ups", "ms", True),
    "rolled_p99_ms": ("99th percentile of durations by app, of roll-ups", "ms", True),
    "question_ms": ("a question by app, as the API asks it", "ms", True),
    "hour_ms": ("the same by minute, of the last hour", "ms", True),
    "client_ms": ("the newest 100 records of one client", "ms", True),
    "memory_mib": ("memory of the process, at most", "MiB", True),
    **analytics_feed.ROWS,
}
# Questions by each dimension: all those with values that are not of one row.
HOUR_S = 3600
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    column.name: (("count", "bytes"), (column.name,)) for column in EVENTS.having(Role.DIMENSION)
} | {"clients": (("clients",), ())}
GROUP_ROWS: Rows = {
    key: row
    for name, (_, dimensions) in GROUPS.items()
    for key, row in (
        (f"{name}_ms", (f"by `{name}`" if dimensions else "distinct clients", "ms", True)),
        (f"{name}_cpu_ms", ("processor time", "ms", True)),
    )
} | {"memory_mib": ROWS["memory_mib"]}
# Records that two workers send, and for how long.
FEED_PER_S, FEED_S = 50_000, 20.0


def _records(count: int) -> Iterator[SessionEvent]:
    draw = random.Random(17)
    for number in range(count):
        at = BEGIN + timedelta(microseconds=20 * number)
        lasted = timedelta(microseconds=int(draw.lognormvariate(12, 2)))
        system = min(int(draw.paretovariate(0.7)), NUMBERS)
        yield SessionEvent(
            Event="disconnect",
            Status=200,
            Reason="client_closed" if number % 5 else "origin_closed",
            Application=f"app{min(int(draw.paretovariate(0.7)), APPS)}.example.com",
            SessionId=f"1234.{number:x}00000a5",
            Timestamp=at,
            ConnectTimestamp=at - lasted,
            DisconnectTimestamp=at,
            ClientIP=f"203.{system % 256}.{draw.randrange(256)}.{draw.randrange(256)}",
            ClientPort=draw.randrange(1024, 65536),
            ClientBytes=int(draw.lognormvariate(7, 2)),
            ClientTcpRtt=int(draw.lognormvariate(10, 1)) * 1000,
            EdgeIP="192.0.2.1",
            EdgePort=443,
            OriginIP=f"10.0.0.{draw.randrange(ORIGINS)}",
            OriginPort=8080,
            OriginBytes=int(draw.lognormvariate(9, 2)),
            OriginTcpRtt=draw.randrange(100, 900) * 1000,
            ProxyProtocol="v2",
            ConnectDuration=int(draw.lognormvariate(7, 1)) * 1000,
            ClientCountry=f"{chr(65 + system % 8)}{chr(65 + system % 5)}",
            ClientAsn=64500 + system,
        )


def _takes(count: int) -> list[list[Batch]]:
    """Return the batches of two workers, as the intake gathers them."""
    encode = msgspec.json.Encoder().encode_lines
    batches, taken = [], list(_records(count))
    for first in range(0, count, BATCH_RECORDS):
        some = taken[first : first + BATCH_RECORDS]
        batches.append(
            Batch(f"edge1/{first // BATCH_RECORDS % 2}/66121c7704295", first + 1, len(some), 0, encode(some))
        )
    step = TAKE_RECORDS // BATCH_RECORDS
    return [batches[first : first + step] for first in range(0, len(batches), step)]


def _make_rows(store: EmbeddedStore, count: int, span_s: int = SPAN_S, make_s: float = inf) -> int:
    """Add rows without reading them from JSON: in their order of time, as they would come.

    Args:
        store: It may have some of them already.
        count: How many rows there are then.
        span_s: The time over which these are.
        make_s: After this time the rest is left for the next call.

    Returns:
        How many rows there are.
    """
    values = {
        "source": "'edge1/' || (range % 2) || '/66121c7704295'",
        "sequence": "range",
        "time": f"TIMESTAMP '{BEGIN:%Y-%m-%d}' + to_microseconds((range * {span_s} * 1000000 // {count})::BIGINT)",
        "event": "'disconnect'",
        "app": f"'app' || least(floor(pow(random(), -1.4))::BIGINT, {APPS}) || '.example.com'",
        "reason": "CASE WHEN range % 5 = 0 THEN 'origin_closed' ELSE 'client_closed' END",
        "outcome": "'passed'",
        "status": "200",
        "node": "'edge1'",
        "session": "'1234.' || to_hex(range) || '00000a5'",
        "client_ip": "'203.' || (system % 256) || '.' || (hash(range) % 256) || '.' || (hash(range + 1) % 256)",
        "client_prefix": "'203.' || (system % 256) || '.' || (hash(range) % 256) || '.0/24'",
        "client_port": "1024 + hash(range) % 60000",
        "ip_version": "4",
        "country": "chr((65 + system % 8)::INT) || chr((65 + system % 5)::INT)",
        "asn": "64500 + system",
        "edge_ip": "'192.0.2.1'",
        "edge_port": "443",
        "protocol": "'tcp'",
        "origin": f"'10.0.0.' || (hash(range) % {ORIGINS}) || ':8080'",
        "origin_ip": f"'10.0.0.' || (hash(range) % {ORIGINS})",
        "origin_port": "8080",
        "proxy_protocol": "'v2'",
        "tls_version": "'none'",
        "weight": "1",
        "client_bytes": "exp(7 + 2 * (random() + random() + random() - 1.5))::UBIGINT",
        "origin_bytes": "exp(9 + 2 * (random() + random() + random() - 1.5))::UBIGINT",
        "duration": "exp(12 + 4 * (random() + random() + random() - 1.5))::UBIGINT",
        "connect_duration": "exp(7 + 2 * (random() + random() - 1))::UBIGINT",
        "client_rtt": "exp(10 + 2 * (random() + random() - 1))::UBIGINT",
        "origin_rtt": "(100 + random() * 800)::UBIGINT",
    }
    chosen = ", ".join(
        f'{values.get(column.name, _empty(column.duckdb))} AS "{column.name}"' for column in EVENTS.columns
    )
    writer = store._database.writer
    writer.execute(
        f"CREATE TEMP TABLE made AS SELECT {chosen} FROM"
        f" (SELECT range, least(floor(pow((1 + hash(range + 2) % 1000000) / 1e6, -1.4))::BIGINT, {NUMBERS}) AS system"
        f" FROM range({MADE_ROWS}))"
    )
    _number_clients(store)
    others = ", ".join(f'"{column.name}"' for column in (*EVENTS.columns[3:], NUMBER))
    ((there,),) = store.execute(f"SELECT count(*) FROM {EVENTS.name}")
    until = time.monotonic() + make_s
    for first in range(there, count, MADE_ROWS):
        if time.monotonic() > until:
            break
        ahead = f"to_microseconds({first * span_s * 1_000_000 // count}::BIGINT)"
        with store._database.writing() as connection:
            connection.execute(
                f"INSERT INTO {store._volumes.last}.{EVENTS.name}"
                f" SELECT source, sequence + {first}, time + {ahead}, {others} FROM made LIMIT {count - first}"
            )
        store.take([], Cursor(0, first, first))
        there = min(first + MADE_ROWS, count)
    writer.execute("DROP TABLE made")
    return there


def _number_clients(store: EmbeddedStore) -> None:
    """Give the addresses of made rows their numbers, as a take does."""
    writer, clients = store._database.writer, store._volumes.clients
    addresses = writer.execute("SELECT DISTINCT client_ip FROM made").fetchall()
    for (address,) in addresses:
        clients.of(b'{"ClientIP":"%b"}' % address.encode())
    with store._database.writing() as connection:
        insert_clients(connection, store._volumes.last, clients.fresh)
    clients.keep()
    writer.execute(f"ALTER TABLE made ADD COLUMN {NUMBER.name} {NUMBER.duckdb}")
    writer.execute(
        f"UPDATE made SET {NUMBER.name} = clients.{NUMBER.name} FROM {store._volumes.last}.clients AS clients"
        " WHERE made.client_ip = clients.client_ip"
    )


def _empty(kind: str) -> str:
    return "''" if kind == "VARCHAR" else "0"


def _median_ms(ask: Callable[[], object]) -> float:
    """Return how long it takes, without the first time."""
    ask()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


class _Asking:
    """Asks one question after another, beside what is measured."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.longest_ms = 0.0
        self._store = store
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._is_over.wait(0.2):
            began = time.perf_counter()
            self._store.execute("SELECT app, sum(weight) FROM events GROUP BY app")
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - began) * 1000)

    def stop(self) -> float:
        self._is_over.set()
        self._thread.join()
        return self.longest_ms


def _take(folder: Path, count: int) -> Figures:
    takes = _takes(count)
    store = EmbeddedStore(folder / "taken")
    store.open()
    cpu, began = time.process_time(), time.perf_counter()
    for number, batches in enumerate(takes):
        store.take(batches, Cursor(0, number, number))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    store.close()
    size = sum(path.stat().st_size for path in (folder / "taken").glob("events-*"))
    store = EmbeddedStore(folder / "asked")
    store.open()
    asking = _Asking(store)
    for number, batches in enumerate(takes):
        store.take(batches, Cursor(0, number, number))
        store.tidy(number * 10.0)
    longest = asking.stop()
    store.close()
    return {
        "take_us": cpu / count * 1e6,
        "take_per_s": count / wall,
        "share": cpu / count * 50_000 * 100,
        "pause_ms": longest,
        "row_mb": size / count,
    }


def _ask(folder: Path, count: int) -> Figures:
    store = EmbeddedStore(folder / "made", max_bytes=64 << 30)
    store.open()
    _make_rows(store, count)
    cpu, now = time.process_time(), BEGIN.timestamp() + SPAN_S
    while (done := store.tidy(now)).more or done.rolled_up:
        now += 100.0
    cpu = time.process_time() - cpu
    until = BEGIN.timestamp() + SPAN_S
    day = {"since": BEGIN.timestamp(), "until": until}
    by_app = Question("events", metrics=("count", "bytes"), dimensions=("app",), limit=20, **day)
    p99 = Question("events", metrics=("count", "duration99th"), dimensions=("app",), limit=20, **day)
    hour = Question(
        "events", metrics=("count",), dimensions=("app",), limit=5, bucket=60, since=until - 3600, until=until
    )
    ((client,),) = store.execute("SELECT client_ip FROM events LIMIT 1 OFFSET 1000")
    group = "SELECT {0}, sum(weight), sum(client_bytes + origin_bytes) FROM {1} GROUP BY {0}"
    figures = {
        "roll_up_us": cpu / count * 1e6,
        "minutes": store.execute("SELECT count(*) FROM minutes")[0][0] / count * 1000,
        "raw_app_ms": _median_ms(lambda: store.execute(group.format("app", "events"), 60.0)),
        "raw_country_ms": _median_ms(lambda: store.execute(group.format("country", "events"), 60.0)),
        "raw_asn_ms": _median_ms(lambda: store.execute(group.format("asn", "events"), 60.0)),
        "rolled_app_ms": _median_ms(lambda: store.execute(group.format("app", "minutes"), 60.0)),
        "rolled_p99_ms": _median_ms(lambda: store.ask(p99, 60.0)),
        "question_ms": _median_ms(lambda: store.ask(by_app, 60.0)),
        "hour_ms": _median_ms(lambda: store.ask(hour, 60.0)),
        "client_ms": _median_ms(
            lambda: store.execute(
                f"SELECT * FROM events WHERE client_ip = '{client}' ORDER BY time DESC LIMIT 100", 60.0
            )
        ),
    }
    store.close()
    return figures


def make_groups(folder: Path, rows: int, make_s: float) -> int:
    """Make a store whose rows are of one hour, so that no roll-ups answer; return how many there are so far.

    Args:
        folder: Its folder, which may have some of the rows.
        rows: How many rows there are in the end.
        make_s: The time for it; the rest is left for the next call.
    """
    store = EmbeddedStore(folder, max_bytes=64 << 30)
    store.open()
    made = _make_rows(store, rows, HOUR_S, make_s)
    store.close()
    return made


def measure_groups(folder: Path, names: Sequence[str]) -> Figures:
    """Return how long questions by some dimensions take.

    Args:
        folder: The folder of a store of `make_groups`.
        names: Of `GROUPS`.
    """
    figures: Figures = {}
    store = EmbeddedStore(folder, max_bytes=64 << 30)
    store.open()
    begin = BEGIN.timestamp()
    for name in names:
        metrics, dimensions = GROUPS[name]
        asked = Question("events", metrics, dimensions, begin, begin + HOUR_S, limit=20)
        cpu, figures[f"{name}_ms"] = time.process_time(), _median_ms(lambda asked=asked: store.ask(asked, 600.0))
        figures[f"{name}_cpu_ms"] = (time.process_time() - cpu) / (REPEATS + 1) * 1000
    store.close()
    figures["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def measure_store(taken: int, rows: int) -> Figures:
    """Return the figures of a store that takes records, and of one with many rows.

    Args:
        taken: How many records are taken.
        rows: How many rows there are when questions are asked.
    """
    with work_folder("analytics") as folder:
        figures = _take(folder, taken) | _ask(folder, rows)
    figures["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures | analytics_feed.measure_feed(list(_records(analytics_feed.RECORDS)), FEED_PER_S, FEED_S)
