"""The records of UDP flows."""

from typing import TYPE_CHECKING, Any

from spectrum.core.access.rules import Verdict
from spectrum.core.records.events import SessionEvent, opened, under_way
from spectrum.core.records.reasons import Reason, connect_failure
from spectrum.engine.flow_keeper import FlowOutcome
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.apps import RunningApp
from spectrum.plane.end_records import EndRecords
from spectrum.plane.forms import flow_id
from spectrum.plane.limits import Limiter

if TYPE_CHECKING:
    from spectrum.engine.flow_keeper import EndedFlow


def flow_reason(outcome: int, error: int) -> Reason:
    """Return the reason for an engine outcome and its errno (or the reason that the plane itself gave)."""
    match outcome:
        case FlowOutcome.FLOW_IDLE:
            return Reason.IDLE_TIMEOUT
        case FlowOutcome.FLOW_EVICTED:
            return Reason.EVICTED
        case FlowOutcome.FLOW_CONNECT_FAILED:
            return connect_failure(error) if error else Reason.NO_ORIGIN
        case FlowOutcome.FLOW_REFUSED | FlowOutcome.FLOW_CLOSED:
            return Reason(error) if error else Reason.INTERNAL_ERROR
        case _:
            return Reason.INTERNAL_ERROR


class FlowRecords(EndRecords):
    """Makes the records of a batch.

    Args:
        places: Countries and autonomous systems of clients.
        limiter: Has the limits of the node.
        firewall: Has the access rules.
        worker: The worker's number, for ids of flows.
    """

    def __init__(self, places: ClientPlaces, limiter: Limiter, firewall: Firewall, worker: int) -> None:
        super().__init__(places, limiter, firewall)
        self._worker = worker

    def told(self, app: RunningApp, item: "EndedFlow", verdict: Verdict | None) -> SessionEvent:
        """Return a record of an open flow: that its origin has replied, or its progress."""
        event = self.ended(app, Reason.CLIENT_CLOSED, item, verdict)
        return opened(event) if item[1] == FlowOutcome.FLOW_CONNECTED else under_way(event)

    def ended(self, app: RunningApp, reason: Reason, item: "EndedFlow", verdict: Verdict | None) -> SessionEvent:
        """Return the record of an ended flow, with the access rules' verdict on its client."""
        own: dict[str, Any] = {
            "SessionId": flow_id(self._worker, item[13]),
            "ClientProto": "udp",
            "OriginProto": "udp",
            "ClientDatagrams": item[11],
            "OriginDatagrams": item[12],
        }
        if verdict is not None:
            own |= {"ClientMatchedIpFirewall": verdict.matched, "AccessRule": verdict.rule}
            own |= self._firewall.fields_of(verdict, item[3])
        return self.event(app, app.recorded, reason, item, own)
