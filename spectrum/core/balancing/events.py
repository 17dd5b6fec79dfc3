"""Records of changes of health, with their causes."""

from datetime import datetime

import msgspec


class HealthEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of an origin, a pool or a load balancer.

    The names are those of Cloudflare's health events if there are any. `Event` is originHealth, monitorHealth,
    originEjected, originReturned, poolHealth or loadBalancerFallback; `Healthy` is the new state, which for a fallback
    means that it is over. monitorHealth is of a member of a monitor group, whether it decides or not. `RTT` is
    nanoseconds.
    """

    Event: str
    Timestamp: datetime
    Healthy: bool
    Reason: str
    Pool: str = ""
    Origin: str = ""
    OriginIP: str = ""
    Monitor: str = ""
    LoadBalancer: str = ""
    ResponseStatusCode: int = 0
    RTT: int = 0
    MonitorGroup: str = ""


def as_text(event: HealthEvent) -> str:
    """Return the event as a line of text, without its time."""
    match event.Event:
        case "originHealth":
            who = f"origin {event.Pool}/{event.Origin} is {'healthy' if event.Healthy else 'down'}"
        case "monitorHealth":
            finds = "healthy" if event.Healthy else "down"
            who = f"monitor {event.Monitor} finds origin {event.Pool}/{event.Origin} {finds}"
        case "originEjected":
            who = f"origin {event.Pool}/{event.Origin} is ejected"
        case "originReturned":
            who = f"origin {event.Pool}/{event.Origin} is back from its ejection"
        case "poolHealth":
            who = f"pool {event.Pool} is {'healthy' if event.Healthy else 'down'}"
        case _ if event.Healthy:
            who = f"load balancer {event.LoadBalancer} has a healthy pool again"
        case _:
            who = f"load balancer {event.LoadBalancer} has no healthy pool: fallback pool {event.Pool} serves"
    return f"{who}: {event.Reason}" if event.Reason else who
