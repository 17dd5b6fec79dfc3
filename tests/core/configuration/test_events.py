from datetime import UTC, datetime

import msgspec
import pytest

from spectrum.core.configuration.events import MAX_TEXT, ConfigurationEvent, as_text, configuration_event

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def event(changes, author=""):
    return configuration_event("configurationReloaded", NOW, 7, author, changes)


def test_it_says_what_changed():
    one = event(["added app a", "removed app b"], "token ci")
    assert one == ConfigurationEvent("configurationReloaded", NOW, 7, "token ci", "added app a; removed app b")
    assert as_text(one) == "revision 7 by token ci: added app a; removed app b"
    assert as_text(event([])) == "revision 7: nothing changed"
    assert msgspec.json.decode(msgspec.json.encode(one))["Revision"] == 7


@pytest.mark.parametrize("changes", [[f"added app number{i}" for i in range(10_000)], ["x" * 5000], ["y", "x" * 5000]])
def test_it_is_bounded(changes):
    text = event(changes).Text
    assert len(text) <= MAX_TEXT
    assert len(changes) == 1 or text.endswith(" more")


def test_it_counts_what_it_leaves_out():
    text = event([f"added app number{i}" for i in range(1000)]).Text
    *told, rest = text.split("; ")
    assert rest == f"and {1000 - len(told)} more" and len(told) > 30
