"""The decision on each new UDP flow: its app, the client's permission, and its first origin."""

from typing import TYPE_CHECKING

from spectrum.core.access.rules import Verdict
from spectrum.core.records.reasons import Reason
from spectrum.engine.datagrams import Datagrams
from spectrum.plane.flows.forgeries import Forgeries
from spectrum.plane.limits import Limiter
from spectrum.plane.registry import Registry

if TYPE_CHECKING:
    from spectrum.engine.flow_keeper import NewFlow


class Admission:
    """Decides on the new flows of one engine.

    Args:
        engine: The engine of the flows.
        registry: The listeners.
        forgeries: Detects clients that are listeners of this daemon.
        limiter: Refuses clients.
        verdicts: Keeps the verdict of access rules on a flow's client, by the name of the flow.
    """

    def __init__(
        self,
        engine: Datagrams,
        registry: Registry,
        forgeries: Forgeries,
        limiter: Limiter,
        verdicts: dict[int, Verdict],
    ) -> None:
        self._engine = engine
        self._forgeries = forgeries
        self._limiter = limiter
        self._verdicts = verdicts
        self._listeners = registry.listeners
        self._changed = registry.changed

    def accepted(self, batch: "list[NewFlow]") -> None:
        """Decide on new flows. It is one function because it runs for each of them."""
        engine, forgeries = self._engine, self._forgeries
        for name, number, client, client_port, edge, edge_port, peer in batch:
            listener = self._listeners[number]
            app = listener.app
            app.measures.started += 1
            app.open += 1
            listener.open += 1
            self._changed.add(app)
            if listener.intercepts and not app.is_sent_to(edge, edge_port):
                engine.refuse(name, Reason.NOT_INTERCEPTED)
                continue
            if (client_port in forgeries.ports and forgeries.seen(app, client, client_port)) or (
                peer is not None and forgeries.seen(app, peer, engine.peer_port(name))
            ):
                engine.refuse(name, Reason.OWN_LISTENER)
                continue
            if app.trusted is not None and (peer is None or peer not in app.trusted):
                engine.refuse(name, Reason.HEADER_UNTRUSTED)
                continue
            if app.judge is not None and (verdict := app.judge(client)) is not None:
                app.measures.meet(verdict.rule)
                self._verdicts[name] = verdict
                if verdict.blocks:
                    engine.refuse(name, Reason.CLIENT_BLOCKED)
                    continue
            if (app.rules or self._limiter.node) and (reason := self._limiter.refusal(app.rules, client)):
                engine.refuse(name, reason)
                continue
            way = listener.route.choose(client, client_port, edge_port)
            if isinstance(way, Reason):
                engine.refuse(name, way)
                continue
            header = app.encode(client, client_port, edge, edge_port, b"")
            engine.open(name, way[0], app.mode, header, app.idle_timeout_ms, app.shared, way[1])

    def trusts(self, listener: int, peer: bytes) -> bool:
        """Return whether PROXY headers are trusted."""
        trusted = self._listeners[listener].app.trusted
        return trusted is not None and peer in trusted
