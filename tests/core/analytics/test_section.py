import pytest
from pydantic import ValidationError

from spectrum.core.analytics.section import Analytics
from spectrum.core.configuration.config import Config
from spectrum.core.features import SECTIONS, check, compile_snapshot


@pytest.mark.parametrize("given", [True, {}])
def test_it_is_one_line_to_switch_on(given):
    section = Config.model_validate({"analytics": given}).analytics
    assert (section.store, section.max_bytes, section.memory, section.threads) == (None, 10 << 30, 512 << 20, 2)
    assert (section.keep.events_s, section.keep.minutes_s) == (30 * 86400, 400 * 86400)
    assert section.clickhouse is None


@pytest.mark.parametrize("given", [{}, {"analytics": False}, {"analytics": None}])
def test_it_is_off(given):
    assert Config.model_validate(given).analytics is None


def test_all_of_it():
    section = Analytics.model_validate(
        {
            "store": "/x",
            "keep": {"events": "7d", "minutes": "90d"},
            "clickhouse": {"url": "http://h:8123", "database": "edge", "user": "u", "password": "p"},
        }
    )
    assert section.keep.events_s == 7 * 86400
    assert section.clickhouse.model_dump() == {
        "url": "http://h:8123",
        "database": "edge",
        "user": "u",
        "password": "p",
    }


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"store": "x"}, "expected an absolute path"),
        ({"max_bytes": "1MiB"}, "at least 64MiB"),
        ({"memory": "1MiB"}, "at least 64MiB: questions are answered in it"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"reports": {"at": "25:00"}}, "not a time of day"),
        ({"reports": {"at": 1080}}, "08:00"),
        ({"reports": {"day": "someday"}}, "monday"),
        ({"keep": {"events": "2d", "minutes": "1d"}}, "keep them at least as long"),
        ({"clickhouse": {"url": "ftp://x"}}, "not a URL of a ClickHouse server"),
        ({"clickhouse": {"url": "http://u:p@h"}}, "not a URL of a ClickHouse server"),
        ({"clickhouse": {"url": "http://h", "database": "a b"}}, "should match pattern"),
        ({"clickhouse": {"url": "http://h"}, "memory": "1GiB"}, "memory is for the embedded store"),
    ],
)
def test_what_it_cannot_be(given, why):
    with pytest.raises(ValidationError, match=why):
        Analytics.model_validate(given)


def faults(**given):
    config = Config.model_validate(given)
    return [(fault.path, fault.message) for fault in check(config, {section.key: [] for section in SECTIONS})]


def test_the_api_keeps_it():
    assert faults(analytics=True) == [(("analytics",), "the control API's process keeps the store: add api: true")]
    assert faults(analytics=True, api=True) == []


def test_workers_number_their_records_for_its_journal():
    assert compile_snapshot(Config.model_validate({"analytics": True, "log": {"sessions": False}}), 1).has_journal
    assert not compile_snapshot(Config(), 1).has_journal


def test_reports_by_schedule():
    assert Analytics.model_validate({}).reports is None
    assert Analytics.model_validate({"reports": True}).reports.model_dump() == {
        "day": "monday",
        "at_s": 8 * 3600,
        "keep": 53,
    }
    given = Analytics.model_validate({"reports": {"day": "friday", "at": "17:30", "keep": 4}}).reports
    assert (given.day, given.at_s, given.keep) == ("friday", 17.5 * 3600, 4)
