"""Traces of requests, by OpenTelemetry: a span for each step, so that a trace shows the slow one.

Sampling is decided first: by the caller's `traceparent` (W3C Trace Context, section 3.2), otherwise at random. The
libraries are the extra `traces`, imported when the file asks for them.
"""

import logging
import random
import re
import socket
import threading
import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from spectrum import __version__
from spectrum.api.steps import Steps

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
# Version, trace, span, flags: the last bit of the flags is "sampled" (W3C Trace Context, section 3.2.2).
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
# Statuses that are errors of the server.
FAILED = 500


class Traces:
    """Traces requests and sends the spans to a collector."""

    def __init__(self) -> None:
        self._settings: Mapping[str, Any] | None = None
        self._provider: TracerProvider | None = None

    def configure(self, settings: Mapping[str, Any] | None) -> None:
        """Use new settings.

        Args:
            settings: `endpoint`, `sample` and `headers` of the file; None for no traces.
        """
        if settings == self._settings:
            return
        former, self._settings = self._provider, settings
        self._provider = None if settings is None else _provider(settings)
        if former is not None:  # it sends the remaining spans, and may wait for its collector
            threading.Thread(target=former.shutdown, name="former traces").start()

    def close(self) -> None:
        """Send the remaining spans. It waits for the collector, for some seconds at most."""
        if self._provider is not None:
            self._provider.shutdown()
            self._provider = None

    def begin(self, headers: Mapping[str, str]) -> "Trace | None":
        """Return the trace of a request; None if it is not sampled."""
        if self._provider is None or self._settings is None:
            return None
        parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
        wanted = int(parent[1], 16) & 1 if parent else random.random() < self._settings["sample"]
        return Trace(self._provider, headers if parent else {}) if wanted else None


class Trace:
    """The trace of one request.

    Args:
        provider: Makes spans.
        headers: The headers of the request; they may name the caller's span.

    Attributes:
        steps: The steps of the request.
    """

    def __init__(self, provider: "TracerProvider", headers: Mapping[str, str]) -> None:
        self.steps = Steps()
        self._provider = provider
        self._headers = headers
        self._began_ns = time.time_ns()

    def end(self, scope: MutableMapping[str, Any], status: int, request_id: str) -> None:
        """Export the spans.

        Args:
            scope: The ASGI scope, as the application left it.
            status: The status of the answer.
            request_id: The request's id in headers and log.
        """
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ended_ns = time.time_ns()
        # Routes below /client/v4, as docs/api.md writes them.
        route = getattr(scope.get("route"), "path", "")
        attributes = {
            "http.request.method": scope["method"],
            "http.route": route,
            "url.path": scope["path"],
            "http.response.status_code": status,
            "spectrum.request_id": request_id,
        }
        tracer = self._provider.get_tracer("spectrum.api", __version__)
        root: Span = tracer.start_span(
            f"{scope['method']} {route}".strip(),
            TraceContextTextMapPropagator().extract(dict(self._headers)),
            trace.SpanKind.SERVER,
            attributes,
            start_time=self._began_ns,
        )
        within = trace.set_span_in_context(root)
        for name, began_ns, step_ended_ns in self.steps.all:
            tracer.start_span(name, within, start_time=began_ns).end(step_ended_ns)
        if status >= FAILED:
            root.set_status(trace.StatusCode.ERROR)
        root.end(ended_ns)


def _provider(settings: Mapping[str, Any]) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Imported now: the process may not be able to import when a trace ends.
    from opentelemetry.trace.propagation import tracecontext  # noqa: F401

    resource = Resource.create(
        {"service.name": "spectrum", "service.version": __version__, "host.name": socket.gethostname()}
    )
    # A request that is not sampled has no span; all spans are sent.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(settings["endpoint"], headers=dict(settings["headers"]), timeout=TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    log.info("traces of the API are sent to %s", settings["endpoint"])
    return provider
