"""When a report is due, what is written then, and what is tried again."""

from datetime import UTC, datetime

import pytest

from spectrum.api.analytics.weekly import RETRY_S, WEEK_S, WeeklyReports, last_due, names_in
from spectrum.api.envelope import ApiError

MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
HOUR = 3600.0


@pytest.mark.parametrize(
    ("now", "day", "at_s", "due"),
    [
        (MONDAY + 8 * HOUR, "monday", 8 * HOUR, MONDAY + 8 * HOUR),
        (MONDAY + 8 * HOUR - 1, "monday", 8 * HOUR, MONDAY + 8 * HOUR - WEEK_S),
        (MONDAY + 3 * 24 * HOUR, "monday", 8 * HOUR, MONDAY + 8 * HOUR),
        (MONDAY, "sunday", 0.0, MONDAY - 24 * HOUR),
        (MONDAY, "monday", 0.0, MONDAY),
    ],
)
def test_when_one_is_due(now, day, at_s, due):
    assert last_due(now, day, at_s) == due


class Week:
    """Reports of a folder whose clock is turned by hand."""

    def __init__(self, folder, keep=2):
        self.now, self.asked, self.fault, self.is_empty = MONDAY + 9 * HOUR, [], None, False
        self.weekly = WeeklyReports(self.make, lambda report: b"%PDF", lambda: self.now)
        reports = {"day": "monday", "at_s": 8 * HOUR, "keep": keep}
        self.weekly.configure({"folder": str(folder), "reports": reports})

    async def make(self, since, until):
        self.asked.append((since, until))
        if self.fault is not None:
            raise self.fault
        return {"headline": "A quiet week", "is_empty": self.is_empty}


async def test_each_week_is_reported_once_and_the_oldest_go(tmp_path):
    week = Week(tmp_path)
    for _ in range(3):
        await week.weekly.look()
        await week.weekly.look()
        week.now += WEEK_S
    assert week.asked == [(MONDAY + (i - 1) * WEEK_S, MONDAY + i * WEEK_S) for i in range(3)]
    assert names_in(tmp_path / "reports") == ["2026-12-07", "2026-11-30"]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir())[0] == "2026-11-30.json"
    # Another process knows it by its file.
    again = Week(tmp_path)
    again.now = week.now - WEEK_S
    await again.weekly.look()
    assert again.asked == []


async def test_what_fails_is_tried_again_later(tmp_path, caplog):
    week = Week(tmp_path)
    for fault in (ApiError(503, 1, "the store is being opened"), OSError(28, "No space left on device")):
        week.fault = fault
        await week.weekly.look()
        await week.weekly.look()
        assert str(fault) in caplog.text
        week.now += RETRY_S
    week.fault = None
    await week.weekly.look()
    assert (len(week.asked), names_in(tmp_path / "reports")) == (3, ["2026-11-23"])


async def test_of_a_week_without_anything_there_is_none(tmp_path):
    week = Week(tmp_path)
    week.is_empty = True
    await week.weekly.look()
    await week.weekly.look()
    assert (len(week.asked), names_in(tmp_path / "reports")) == (1, [])


async def test_where_the_file_asks_for_none(tmp_path):
    week = Week(tmp_path)
    for settings in (None, {"folder": str(tmp_path), "reports": None}):
        week.weekly.configure(settings)
        await week.weekly.look()
        assert (week.weekly.folder, week.asked) == (None, [])
