"""The upkeep of an embedded store, in small steps: roll-ups, and deletion because of age or size."""

from spectrum.analytics.database import Database
from spectrum.analytics.layout import COPIED, HISTORY, OF_HISTORY, catalog
from spectrum.analytics.store import UpkeepResult
from spectrum.analytics.volumes import Volumes
from spectrum.core.analytics.columns import EVENTS, MINUTES
from spectrum.core.analytics.rollups import rolled_up

# Events rolled up in one step, which blocks incoming records; the least number, or the age, that makes a step
# worthwhile.
ROLL_UP_ROWS = 250_000
MIN_ROLL_UP_ROWS = 3_000_000
ROLL_UP_S = 60.0
# The share of the store's size for the history; and the share of its time that is dropped at once.
_HISTORY_SHARE = 4
_DROPPED_SHARE = 8


class Upkeep:
    """Does one step at a time.

    Args:
        database: The database.
        volumes: Its files.
        max_bytes: Their limit.
        events_s: How long events are kept.
        minutes_s: How long the history is kept.
    """

    def __init__(self, database: Database, volumes: Volumes, max_bytes: int, events_s: float, minutes_s: float) -> None:
        self._database = database
        self._volumes = volumes
        self._max_bytes = max_bytes
        self._events_s = events_s
        self._minutes_s = minutes_s
        self._rolled_up_at = 0.0
        self._is_rolling_up = False

    def step(self, now: float) -> UpkeepResult:
        """Roll up a portion, or drop the oldest volume, or the oldest part of the history.

        Raises:
            AnalyticsError: If it fails.
        """
        if self._database.is_damaged:
            self._volumes.look_for_damage()
        if self._database.is_broken:
            return UpkeepResult(0, 0, self._volumes.size(), False)
        self._volumes.delete_unread()
        rolled, more = self._roll_up(now)
        dropped = 0
        if not rolled:
            dropped, more = self._drop(now)
        return UpkeepResult(rolled, dropped, self._volumes.size(), more)

    def _roll_up(self, now: float) -> tuple[int, bool]:
        """Add a portion of a volume to the history; return how many events, and whether more wait."""
        *full, last = self._volumes.numbers
        for number in full:
            if rolled := self._roll_up_of(number)[0]:
                return rolled, True
        waiting = self._count(number=last, name=EVENTS.name) - self._mark(last, EVENTS.name)
        if 0 <= now - self._rolled_up_at < ROLL_UP_S and not self._is_rolling_up and waiting < MIN_ROLL_UP_ROWS:
            return 0, False
        rolled, left = self._roll_up_of(last)
        self._rolled_up_at = now
        # The rest, of less than a portion, waits: the larger the portions, the fewer rows of one minute.
        self._is_rolling_up = left >= ROLL_UP_ROWS
        return rolled, self._is_rolling_up

    def _roll_up_of(self, number: int) -> tuple[int, int]:
        """Add a portion to the history; return how many events it had, and how many are left."""
        spans = {
            table.name: (self._mark(number, table.name), self._count(number, table.name)) for table in (EVENTS, *COPIED)
        }
        if all(mark >= count for mark, count in spans.values()):
            return 0, 0
        mark, count = spans[EVENTS.name]
        upto = spans[EVENTS.name][1] if count - mark <= ROLL_UP_ROWS else mark + ROLL_UP_ROWS
        spans[EVENTS.name] = mark, upto
        with self._database.writing() as connection:
            for table in (EVENTS, *COPIED):
                begin, end = spans[table.name]
                rows = (
                    f"SELECT {self._volumes.selection(number, table)} FROM {catalog(number)}.{table.name}"
                    f" WHERE rowid >= {begin} AND rowid < {end}"
                )
                kept, query = (MINUTES, rolled_up(f"({rows})")) if table is EVENTS else (table, rows)
                connection.execute(f"INSERT INTO {HISTORY}.{kept.name} SELECT {number}, * FROM ({query})")
                connection.execute(f"DELETE FROM {HISTORY}.marks WHERE volume = ? AND name = ?", [number, table.name])
                connection.execute(f"INSERT INTO {HISTORY}.marks VALUES (?, ?, ?)", [number, table.name, end])
        return max(upto - mark, 1), count - upto

    def _mark(self, number: int, name: str) -> int:
        """Return the number of rows of a volume's table that are in the history."""
        (mark,) = self._database.one(
            f"SELECT coalesce(max(upto), 0) FROM {HISTORY}.marks WHERE volume = ? AND name = ?", [number, name]
        )
        return int(mark)

    def _count(self, number: int, name: str) -> int:
        return int(self._database.one(f"SELECT count(*) FROM {catalog(number)}.{name}")[0])

    def _drop(self, now: float) -> tuple[int, bool]:
        """Drop the oldest volume, or the oldest part of the history, if it is too old or too large; return its rows."""
        first, *others = self._volumes.numbers
        if others:
            newest_us = self._newest_us(first)
            if newest_us > now * 1e6:  # by a wrong clock: the next one was begun when it was full
                newest_us = round(self._volumes.begun_at(others[0]) * 1e6)
            if self._volumes.size() > self._max_bytes or newest_us < (now - self._events_s) * 1e6:
                count = self._count(first, EVENTS.name)
                self._volumes.drop(first, newest_us)
                return count, True
        return self._drop_history(now)

    def _newest_us(self, number: int) -> int:
        return int(
            self._database.one(f"SELECT coalesce(max(epoch_us(time)), 0) FROM {catalog(number)}.{EVENTS.name}")[0]
        )

    def _drop_history(self, now: float) -> tuple[int, bool]:
        (oldest,) = self._database.one(f"SELECT epoch(min(time)) FROM {HISTORY}.{MINUTES.name}")
        if oldest is None:
            return 0, False
        until = now - self._minutes_s
        if self._history_bytes() > self._max_bytes // _HISTORY_SHARE:
            until = max(until, oldest + (now - oldest) / _DROPPED_SHARE)
        if oldest >= until:
            return 0, False
        dropped = 0
        with self._database.writing() as connection:
            for table in OF_HISTORY:
                found = connection.execute(
                    f"DELETE FROM {HISTORY}.{table.name} WHERE time < make_timestamp(?)", [int(until * 1e6)]
                ).fetchone()
                dropped += int(found[0]) if found else 0
        return dropped, dropped > 0

    def _history_bytes(self) -> int:
        """Return the used bytes of the history: its file never shrinks."""
        found = self._database.one(
            "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = ?", [HISTORY]
        )
        return int(found[0]) if found else 0
