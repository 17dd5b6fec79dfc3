import time

import pytest

from spectrum.control.http.exporter import Exporter, NodeState
from spectrum.control.names.name_watch import NamesActor, NameWatch, OwnListeners, WatchedName
from spectrum.control.names.report import names_status
from spectrum.control.records.totals import Totals
from spectrum.core.configuration.config import Config
from tests.control.http.scraping import samples


def test_status():
    watch = NameWatch(lambda _: None, lambda *_: None)
    for name, result, failure, addresses, answered_at in (
        ("a", "", "", (), None),
        ("b", "ok", "", ("192.0.2.1",), time.monotonic() - 5),
        ("c", "no_answer", "no answer", ("192.0.2.2",), time.monotonic() - 500),
        ("d", "no_name", "no such name", (), None),
    ):
        watch._watched[name, "A"] = WatchedName(
            name, "A", result=result, failure=failure, addresses=addresses, answered_at=answered_at
        )
    found = names_status(watch.watched())
    assert [one["state"] for one in found] == ["unknown", "answered", "stale", "failed"]
    assert found[2] == {
        "name": "c",
        "type": "A",
        "state": "stale",
        "reason": "no answer",
        "age_s": pytest.approx(500, abs=5),
        "addresses": ["192.0.2.2"],
    }


async def test_metrics():
    watch = NameWatch(lambda _: None, lambda *_: None)
    watch._watched["a", ""] = answered = WatchedName("a", "", addresses=("192.0.2.1", "192.0.2.2"))
    watch._watched["b", "SRV"] = WatchedName("b", "SRV")
    answered.answered_at = time.monotonic() - 5
    answered.results.update(ok=3, no_answer=1)
    found = samples(await Exporter(Totals(), NodeState(), [NamesActor(watch, OwnListeners(Config()))]).render({}, []))
    labels = ("name", "a"), ("type", "any")
    assert found["spectrum_name_addresses", *labels] == 2
    assert found["spectrum_name_addresses", ("name", "b"), ("type", "SRV")] == 0
    assert 5 <= found["spectrum_name_age_seconds", *labels] < 60
    assert ("spectrum_name_age_seconds", ("name", "b"), ("type", "SRV")) not in found
    assert found["spectrum_name_lookups_total", labels[0], ("result", "no_answer"), labels[1]] == 1
