from types import SimpleNamespace

import pytest

from spectrum.api.traces import Traces
from tests.api.collector import Collector
from tests.engine.harness import eventually

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SCOPE = {"method": "POST", "path": "/client/v4/zones/1/spectrum/apps", "route": SimpleNamespace(path="/client/v4/...")}


def settings(url, sample=1.0, **headers):
    return {"endpoint": url, "sample": sample, "headers": headers}


def test_a_request_and_its_steps_are_spans_of_the_callers_trace():
    traces = Traces()
    with Collector() as collector:
        traces.configure(settings(collector.url, sample=0.0, Authorization="Bearer x"))
        trace = traces.begin({"traceparent": PARENT})
        trace.steps.add([("check", 10, 20), ("commit", 20, 40)])
        trace.end(SCOPE, 200, "abc")
        traces.close()
    (root,) = collector.named("POST /client/v4/...")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == tuple(PARENT.split("-")[1:3])
    assert {one.key: one.value.string_value or one.value.int_value for one in root.attributes} == {
        "http.request.method": "POST",
        "http.route": "/client/v4/...",
        "url.path": SCOPE["path"],
        "http.response.status_code": 200,
        "spectrum.request_id": "abc",
    }
    (check,) = collector.named("check")
    assert (check.parent_span_id, check.start_time_unix_nano, check.end_time_unix_nano) == (root.span_id, 10, 20)
    assert collector.headers[0]["authorization"] == "Bearer x"


def test_who_is_traced():
    traces = Traces()
    assert traces.begin({"traceparent": PARENT}) is None
    with Collector() as collector:
        traces.configure(settings(collector.url, sample=0.0))
        assert traces.begin({}) is traces.begin({"traceparent": PARENT[:-1] + "0"}) is None
        assert traces.begin({"traceparent": "nonsense"}) is None
        traces.configure(settings(collector.url))
        assert traces.begin({}) is not None
        assert traces.begin({"traceparent": PARENT[:-1] + "0"}) is None
        failed = traces.begin({})
        failed.end(SCOPE, 503, "abc")
        traces.configure(None)
        assert traces.begin({}) is None
        eventually(lambda: collector.spans)
    (root,) = collector.spans
    assert root.status.code == 2


def test_a_collector_that_is_not_there_costs_nothing(free_port):
    traces = Traces()
    traces.configure(settings(f"http://127.0.0.1:{free_port()}/v1/traces"))
    traces.begin({}).end(SCOPE, 200, "abc")
    traces.close()
