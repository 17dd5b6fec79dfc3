import asyncio
import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from spectrum.control.balancing import health_metrics
from spectrum.control.http.exporter import SLICE, Exporter, NodeState
from spectrum.control.names.name_watch import NameWatch, Watched
from spectrum.control.records.totals import Totals
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason


def samples(page):
    families = text_string_to_metric_families(page.decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


async def test_what_prometheus_reads():
    totals, state = Totals(), NodeState()
    measures = AppMeasures(started=10, bytes_from_client=5, bytes_from_origin=6)
    for reason in (Reason.CLIENT_CLOSED, Reason.CLIENT_CLOSED, Reason.CONNECT_REFUSED, Reason.HEADER_UNTRUSTED):
        measures.end(reason)
    measures.observe(0.0002, 100)
    measures.origin("192.0.2.1:22").failed += 1
    totals.add(0, {"x": measures}, WorkerMeasures(3, 0.5, 2, 4))
    state.workers_ready = 2
    state.listeners_deaf = 5
    found = samples(await Exporter(totals, state).render())
    app = ("app", "x")
    assert found["spectrum_sessions_started_total", app] == 10
    assert found["spectrum_sessions_active", app] == 6
    assert found["spectrum_sessions_closed_total", app, ("reason", "client_closed")] == 2
    assert found["spectrum_sessions_refused_total", app, ("reason", "header_untrusted")] == 1
    assert ("spectrum_sessions_closed_total", app, ("reason", "header_untrusted")) not in found
    assert found["spectrum_bytes_total", app, ("from", "origin")] == 6
    assert found["spectrum_connect_duration_seconds_bucket", app, ("le", "0.0001")] == 0
    assert found["spectrum_connect_duration_seconds_bucket", app, ("le", "0.00025")] == 1
    assert found["spectrum_connect_duration_seconds_bucket", app, ("le", "+Inf")] == 1
    assert found["spectrum_session_duration_seconds_sum", app] == 100
    assert found["spectrum_origin_connect_failures_total", app, ("origin", "192.0.2.1:22")] == 1
    assert found["spectrum_accept_stalls_total",] == 3
    assert found["spectrum_busy_poll_seconds_total",] == 0.5
    assert found["spectrum_events_dropped_total",] == 2
    assert found["spectrum_listeners_mended_total",] == 4
    assert found["spectrum_listeners_deaf",] == 5
    assert found["spectrum_workers_ready",] == 2
    assert found["spectrum_config_last_reload_successful",] == 1


async def test_what_is_counted_meanwhile_does_not_hurt():
    totals = Totals()
    totals.add(0, {f"app{i}": AppMeasures(started=1) for i in range(200)}, WorkerMeasures())
    exporter = Exporter(totals, NodeState())
    pages = asyncio.gather(*(exporter.render() for _ in range(3)))
    rounds = 0
    while not pages.done():
        rounds += 1
        for i in range(0, 200, 10):  # a first origin, rule and reason of each, and new apps
            report = AppMeasures(started=1, rules={f"rule{rounds}": 1}, ended={rounds % 50 + 1: 1})
            report.origin(f"192.0.2.1:{rounds}").failed += 1
            totals.add(0, {f"app{i}": report, f"new{rounds}": AppMeasures()}, WorkerMeasures())
        await asyncio.sleep(0)
    for page in pages.result():
        assert page.count(b"# TYPE spectrum_sessions_started_total") == 1
        assert samples(page)["spectrum_sessions_started_total", ("app", "app0")] == 2


async def test_every_metric_is_in_the_docs():
    page = (await Exporter(Totals(), NodeState()).render()).decode()
    names = re.findall("# TYPE (\\w+)", page) + re.findall(
        '"(spectrum_\\w+)"', Path(health_metrics.__file__).read_text()
    )
    documented = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    assert [name for name in names if f"`{name}`" not in documented and f"`{name}_total`" not in documented] == []


async def test_names():
    watch = NameWatch(lambda _: None, lambda *_: None)
    watch._watched["a", ""] = answered = Watched("a", "", addresses=("192.0.2.1", "192.0.2.2"))
    watch._watched["b", "SRV"] = Watched("b", "SRV")
    answered.answered_at = time.monotonic() - 5
    answered.results.update(ok=3, no_answer=1)
    found = samples(await Exporter(Totals(), NodeState(), None, watch).render())
    labels = ("name", "a"), ("type", "any")
    assert found["spectrum_name_addresses", *labels] == 2
    assert found["spectrum_name_addresses", ("name", "b"), ("type", "SRV")] == 0
    assert 5 <= found["spectrum_name_age_seconds", *labels] < 60
    assert ("spectrum_name_age_seconds", ("name", "b"), ("type", "SRV")) not in found
    assert found["spectrum_name_lookups_total", labels[0], ("result", "no_answer"), labels[1]] == 1


async def test_apps_of_which_there_are_many_hold_up_nobody():
    totals = Totals()
    apps = {f"app{i}": AppMeasures(started=i, ended={Reason.CLIENT_CLOSED: 1}) for i in range(2000)}
    totals.add(0, apps, WorkerMeasures())
    page = asyncio.gather(Exporter(totals, NodeState()).render())
    longest = turns = 0
    while not page.done():  # the processor's time, not that of the machine's other work
        began = time.thread_time()
        await asyncio.sleep(0)
        longest, turns = max(longest, time.thread_time() - began), turns + 1
    assert page.result()[0].count(b'app="app') > 2000 * 35
    assert turns >= 2000 / SLICE
    assert longest < 0.005
