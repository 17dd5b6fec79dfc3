from prometheus_client.parser import text_string_to_metric_families

from spectrum.control.exporter import Exporter, NodeState
from spectrum.control.totals import Totals
from spectrum.core.measures import AppMeasures, WorkerMeasures
from spectrum.core.reasons import Reason


def samples(page):
    families = text_string_to_metric_families(page.decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_what_prometheus_reads():
    totals, state = Totals(), NodeState()
    measures = AppMeasures(started=10, bytes_from_client=5, bytes_from_origin=6)
    for reason in (Reason.CLIENT_CLOSED, Reason.CLIENT_CLOSED, Reason.CONNECT_REFUSED, Reason.HEADER_UNTRUSTED):
        measures.end(reason)
    measures.observe(0.0002, 100)
    measures.origin("192.0.2.1:22").failed += 1
    totals.add(0, {"x": measures}, WorkerMeasures(3, 0.5, 2))
    state.workers_ready = 2
    found = samples(Exporter(totals, state).render())
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
    assert found["spectrum_workers_ready",] == 2
    assert found["spectrum_config_last_reload_successful",] == 1
