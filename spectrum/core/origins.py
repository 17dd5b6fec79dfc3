"""`origin_max_sessions`, `queue`, `retry_budget` and `origin_preconnect` of an app: limits towards its origins."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from spectrum.core.balancing.objects import MAX_SESSIONS, Queue, RetryBudgetKeys
from spectrum.core.configuration.feature import Feature, Misfit
from spectrum.core.configuration.fields import Strict
from spectrum.core.origin_bounds import OriginBounds

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App, Config

# Limit per address and worker; the engine has room for this many (engine/spares.pxd).
MAX_PRECONNECT = 256
# Limit per app, over all of its ports.
MAX_PRECONNECTED = 4096


class OriginKeysOfApp(Strict):
    """In an app."""

    origin_max_sessions: int | None = Field(
        None,
        ge=1,
        le=MAX_SESSIONS,
        description="maximum of open sessions and flows of this app per origin: [Origins with "
        "bounds](balancing.md#origins-with-bounds)",
    )
    queue: Queue = Field(
        Queue(),
        description="TCP with `origin_max_sessions`: sessions that wait when all origins are full, and for how long",
    )
    retry_budget: RetryBudgetKeys | None = Field(
        None,
        description="TCP: limit on retries with another origin: [Retry budgets](balancing.md#retry-budgets)",
    )
    origin_preconnect: int = Field(
        0,
        ge=0,
        le=MAX_PRECONNECT,
        description="TCP: connections to each origin that each worker keeps open ahead of clients: "
        "[Connections ahead of clients](far-paths.md#connections-ahead-of-clients)",
    )


# With a load balancer these settings belong to its pools and origins.
_ELSEWHERE = {
    "origin_max_sessions": "max_sessions of the origins in its pools",
    "queue": "queue of the load balancer",
    "retry_budget": "retry_budget of its pools",
}


def _misfits(app: "App") -> Iterator[Misfit]:
    given, udp = app.model_fields_set, app.protocol.transport == "udp"
    for key, instead in _ELSEWHERE.items():
        if key in given and app.load_balancer is not None:
            yield (key,), f"it is for origin_direct and origin_dns; with a load balancer set {instead}"
    if "queue" in given and app.load_balancer is None and app.origin_max_sessions is None:
        yield ("queue",), "it has no effect without origin_max_sessions"
    for key in ("queue", "retry_budget", "origin_preconnect"):
        if udp and key in given:
            yield (key,), "it is for TCP; UDP has no connections"
    if app.origin_preconnect:
        yield from _misfits_of_preconnect(app)


def _misfits_of_preconnect(app: "App") -> Iterator[Misfit]:
    where = ("origin_preconnect",)
    if app.source == "client":
        yield where, "with source: client a connection needs its client's address, which is not known in advance"
    if app.tproxy is not None or app.bindings:
        yield where, "with tproxy and bindings clients choose among many ports, for which preconnect is not possible"
    count = len(app.protocol.ports) * app.origin_preconnect
    if count > MAX_PRECONNECTED:
        yield where, f"{count} connections to each origin in each worker, over all ports; at most {MAX_PRECONNECTED}"


def _places(name: str, app: "App") -> list[str]:
    """Return the labels for counting sessions of an app's origins: the addresses of a name are one origin."""
    if app.origin_max_sessions is None:
        return []
    origins = app.origin_direct if app.origin_dns is None else (app.origin_dns.name,)
    return [f"app {name}\0{origin}" for origin in origins or ()]


def place_labels(apps: Mapping[str, "App"]) -> list[str]:
    """Return the labels of everything in `apps` that needs a number, beside those of `balancing.settings.labels`."""
    return [label for name, app in apps.items() for label in _places(name, app)]


def _compile(config: "Config", numbers: Mapping[str, int]) -> Mapping[str, Any]:
    places = {name: tuple(numbers[label] for label in _places(name, app)) for name, app in config.apps.items()}
    return {"origin_places": {name: found for name, found in places.items() if found}}


def _compile_app(app: "App") -> Mapping[str, Any]:
    budget = app.retry_budget
    bounds = OriginBounds(
        max_sessions=app.origin_max_sessions or 0,
        queue_size=app.queue.size,
        queue_timeout_s=app.queue.timeout_s,
        retries=budget.settings if budget is not None else None,
        preconnect=app.origin_preconnect,
    )
    return {"bounds": bounds}


ORIGINS = Feature("origins", misfits=_misfits, compile=_compile, compile_app=_compile_app)
