"""Changes of UDP flows' origins: when an origin fails, is taken out of service or no longer belongs to the app."""

from collections.abc import Container, Iterable

from spectrum.core.records.reasons import Reason, flow_failure
from spectrum.engine.datagrams import Datagrams
from spectrum.engine.target import Target
from spectrum.plane.apps import RunningApp, RunningListener
from spectrum.plane.registry import Registry


class FlowMoves:
    """Moves the flows of one engine to other origins.

    Args:
        engine: The engine of the flows.
        registry: The listeners.
    """

    def __init__(self, engine: Datagrams, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry
        self._listeners = registry.listeners

    # --- origins that fail: called by the engine ------------------------------------------------------------------

    def attempt_failed(self, listener: int, target: Target, error: int) -> None:
        """Count an origin for which no socket could be opened; the engine tries the next one."""
        self._registry.count_failure(listener, target, error)

    def exhausted(
        self, name: int, listener: int, target: Target, client: bytes, client_port: int
    ) -> tuple[Target, ...]:
        """Return other origins for a flow, because no socket to the current one can be opened."""
        return self._listeners[listener].route.after([target], client, client_port)

    def origin_failed(self, name: int, listener: int, target: Target, error: int, replied: bool) -> None:
        """Move a flow whose origin's host refused it to another origin; end it if there is none."""
        self._registry.count_failure(listener, target, error)
        if not self._fail_over(name, self._listeners[listener], target):
            self._engine.close(name, flow_failure(error, replied))

    def channel_failed(self, listener: int, target: Target, error: int) -> None:
        """Move all flows of a shared socket whose origin's host refused it to another origin, if there is one."""
        self._registry.count_failure(listener, target, error)
        for name in self._engine.flows(targets=(target,)):
            self._fail_over(name, self._listeners[listener], target)

    def _fail_over(self, name: int, listener: RunningListener, target: Target) -> bool:
        others = listener.route.after([target], *self._engine.client_of(name))
        if others:
            listener.app.measures.failovers += 1
            self.move(name, listener.app, target, others)
        return bool(others)

    # --- origins that leave ---------------------------------------------------------------------------------------

    def move(self, name: int, app: RunningApp, target: Target, others: tuple[Target, ...]) -> None:
        """Move a flow of an app from `target` to the first of `others` that can be reached."""
        app.measures.origin(target.name, target.number).end(None)
        self._registry.changed.add(app)
        self._engine.move(name, others)

    def repin(self, name: int) -> None:
        """Choose an origin for a flow again; end it if there is none."""
        found = self._engine.flow(name)
        if found is None:
            return
        number, target, edge_port = found
        listener = self._listeners[number]
        way = listener.route.choose(*self._engine.client_of(name), edge_port)
        if isinstance(way, Reason):
            self._engine.close(name, way)
        elif target not in way[0]:
            self.move(name, listener.app, target, way[0])

    def leave(self, targets: Container[Target]) -> None:
        """Choose again for all flows to these targets."""
        for name in self._engine.flows(targets=targets):
            self.repin(name)

    def leave_origins(self, numbers: Iterable[int]) -> None:
        """Choose again for the flows of origins that are no longer usable."""
        if left := set(numbers):
            self.leave(self._registry.targets_to(left))
