"""Effects of a new configuration on open UDP flows: they are treated as new ones, or end. A flow has no end of its own
to wait for, unlike a connection.
"""

from collections.abc import Iterable

from spectrum.core.access.rules import Verdict
from spectrum.core.records.reasons import Reason
from spectrum.engine.datagrams import Datagrams
from spectrum.engine.target import Target
from spectrum.plane.apps import RunningApp
from spectrum.plane.flows.moves import FlowMoves
from spectrum.plane.registry import Registry


class Adaptation:
    """Applies the current settings of apps to the flows of one engine.

    Args:
        engine: The engine of the flows.
        registry: The listeners.
        moves: Opens new sockets for them.
        verdicts: Keeps the verdict of access rules on a flow's client, by the name of the flow.
    """

    def __init__(self, engine: Datagrams, registry: Registry, moves: FlowMoves, verdicts: dict[int, Verdict]) -> None:
        self._engine = engine
        self._listeners = registry.listeners
        self._moves = moves
        self._verdicts = verdicts

    def follow(self, apps: Iterable[RunningApp]) -> None:
        """Treat the flows of apps as new ones, before any of them gets another origin."""
        guarded: set[RunningApp] = set()
        stale: set[RunningApp] = set()
        for app in apps:
            if app.judge is not None:
                guarded.add(app)
            if app.take_manner():
                stale.add(app)
        for name, app, _ in self._flows_of(guarded):
            self._end_if_blocked(name, app)
        for name, app, target in self._flows_of(stale):
            self.adapt(name, app, target)

    def adapt(self, name: int, app: RunningApp, target: Target) -> None:
        """Give a flow the settings of a new one, or end it if a new one would be refused."""
        ends = self._engine.ends_of(name)
        if ends is None:
            return
        client, client_port, edge, edge_port, peer = ends
        if peer is None and app.trusted is not None:
            self._engine.close(name, Reason.HEADER_MISSING)
            return
        if peer is not None and (app.trusted is None or peer not in app.trusted):
            self._engine.close(name, Reason.HEADER_UNTRUSTED)
            return
        header = app.encode(client, client_port, edge, edge_port, b"")
        if self._engine.adapt(name, app.mode, header, app.idle_timeout_ms, app.shared):
            self._moves.move(name, app, target, (target,))
            app.take_connected((target,))  # The listener may no longer have that target.

    def _end_if_blocked(self, name: int, app: RunningApp) -> None:
        verdict = app.judge(self._engine.client_of(name)[0]) if app.judge is not None else None
        if verdict is not None and verdict.blocks:
            app.measures.meet(verdict.rule)
            self._verdicts[name] = verdict
            self._engine.close(name, Reason.CLIENT_BLOCKED)

    def _flows_of(self, apps: set[RunningApp]) -> Iterable[tuple[int, RunningApp, Target]]:
        """Yield the flows of apps: name, app and origin."""
        for name in self._engine.flows() if apps else ():
            if (found := self._engine.flow(name)) and (app := self._listeners[found[0]].app) in apps:
                yield name, app, found[1]
