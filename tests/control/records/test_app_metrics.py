import asyncio
import time

from spectrum.control.records.app_metrics import SLICE, app_metrics
from spectrum.control.records.totals import Totals
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.records.reasons import Reason
from tests.control.http.scraping import samples

NAMES = {7: ("eu", "one")}


async def test_metrics():
    totals = Totals()
    measures = AppMeasures(started=10, bytes_from_client=5, bytes_from_origin=6)
    for reason in (Reason.CLIENT_CLOSED, Reason.CLIENT_CLOSED, Reason.CONNECT_REFUSED, Reason.HEADER_UNTRUSTED):
        measures.end(reason)
    measures.observe(0.0002, 100)
    measures.origin("192.0.2.1:22").fail("connect_refused")
    totals.add(0, {"x": measures}, WorkerMeasures())
    found = samples(b"".join(await app_metrics(totals, NAMES)))
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
    of = app, ("origin", "192.0.2.1:22"), ("pool", "")
    assert found["spectrum_origin_connect_failures_total", *of, ("reason", "connect_refused")] == 1


async def test_an_origin_has_its_name_whatever_its_addresses_are():
    totals, measures = Totals(), AppMeasures()
    for address in ("192.0.2.1:22", "[2001:db8::1]:22"):
        measures.origin(address, 7).connected += 3
        measures.origin(address).end(0.5)
        measures.origin(address).bytes_from_clients += 10
        measures.origin(address).bytes_from_origin += 20
    measures.origin("192.0.2.1:22").end(None)  # a flow without a reply
    totals.add(0, {"x": measures}, WorkerMeasures())
    found = samples(b"".join(await app_metrics(totals, NAMES)))
    app, origin, pool = ("app", "x"), ("origin", "one"), ("pool", "eu")
    assert found["spectrum_origin_sessions", app, origin, pool] == 3
    assert found["spectrum_origin_connections_total", app, origin, pool] == 6
    assert found["spectrum_origin_bytes_total", app, ("from", "client"), origin, pool] == 20
    assert found["spectrum_origin_bytes_total", app, ("from", "origin"), origin, pool] == 40
    assert found["spectrum_origin_connect_duration_seconds_count", app, origin, pool] == 2
    assert found["spectrum_origin_connect_duration_seconds_sum", app, origin, pool] == 1
    for address in ("192.0.2.1:22", "[2001:db8::1]:22"):
        assert found["spectrum_origin_info", ("address", address), app, origin, pool] == 1


async def test_counters_are_there_before_their_first_event():
    totals = Totals()
    totals.add(0, {"x": AppMeasures(started=1)}, WorkerMeasures())
    found = samples(b"".join(await app_metrics(totals, NAMES, ["x", "idle"])))
    assert found["spectrum_sessions_closed_total", ("app", "x"), ("reason", "connect_refused")] == 0
    assert found["spectrum_sessions_started_total", ("app", "idle")] == 0
    assert found["spectrum_sessions_active", ("app", "idle")] == 0
    assert len([key for key in found if ("app", "idle") in key]) == 2


async def test_what_is_counted_meanwhile_does_not_hurt():
    totals = Totals()
    totals.add(0, {f"app{i}": AppMeasures(started=1) for i in range(200)}, WorkerMeasures())
    pages = asyncio.gather(*(app_metrics(totals, NAMES) for _ in range(3)))
    rounds = 0
    while not pages.done():
        rounds += 1
        for i in range(0, 200, 10):  # a first origin, rule and reason of each, and new apps
            report = AppMeasures(started=1, rules={f"rule{rounds}": 1}, ended={rounds % 50 + 1: 1})
            report.origin(f"192.0.2.1:{rounds}").failed += 1
            totals.add(0, {f"app{i}": report, f"new{rounds}": AppMeasures()}, WorkerMeasures())
        await asyncio.sleep(0)
    for page in map(b"".join, pages.result()):
        assert page.count(b"# TYPE spectrum_sessions_started_total") == 1
        assert samples(page)["spectrum_sessions_started_total", ("app", "app0")] == 2


async def test_many_apps_delay_nothing_else():
    totals = Totals()
    apps = {f"app{i}": AppMeasures(started=i, ended={Reason.CLIENT_CLOSED: 1}) for i in range(2000)}
    totals.add(0, apps, WorkerMeasures())
    page = asyncio.gather(app_metrics(totals, NAMES))
    longest = turns = 0
    while not page.done():  # the processor's time, not that of the machine's other work
        began = time.thread_time()
        await asyncio.sleep(0)
        longest, turns = max(longest, time.thread_time() - began), turns + 1
    assert b"".join(page.result()[0]).count(b'app="app') > 2000 * 35
    assert turns >= 2000 / SLICE
    assert longest < 0.005


async def test_connections_ahead_of_sessions():
    totals, measures = Totals(), AppMeasures()
    measures.origin("192.0.2.1:22").preconnect((5, 1, 1, 0, 2))
    measures.origin("192.0.2.2:22").connected = 1
    totals.add(0, {"x": measures}, WorkerMeasures())
    found = samples(b"".join(await app_metrics(totals, NAMES)))
    of = ("app", "x"), ("origin", "192.0.2.1:22"), ("pool", "")
    assert found["spectrum_origin_preconnected", *of] == 3
    for result, count in {"opened": 5, "used": 1, "lost": 1, "closed": 0, "failed": 2}.items():
        assert found["spectrum_origin_preconnects_total", *of, ("result", result)] == count
    assert not [key for key in found if "preconnect" in key[0] and ("origin", "192.0.2.2:22") in key]
