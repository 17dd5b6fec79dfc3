"""The health of pools and origins in Cloudflare's form and terms, from the daemon's status."""

from typing import Any

# Cloudflare's text for no failure.
NO_FAILURES = "No failures"
OTHER_FAILURE = "Other Failure"
_HTTP = ("http", "https")
# By prefix or part of a probe's reason; the first match counts. The texts are those of
# https://developers.cloudflare.com/load-balancing/troubleshooting/common-error-codes/
_BEGINNINGS = (
    ("status ", "Response code mismatch error"),
    ("the body is not as expected", "Response body mismatch error"),
    ("connection refused", "TCP connection failed"),
    ("connection reset", "Connection Reset by Peer"),
    ("no route to host", "No route to host error"),
    ("network is unreachable", "Network Unreachable"),
    ("its name has no address", "DNS Unknown Host"),
    ("the monitor's request", "Monitor Config Error"),
    ("no port to probe", "Monitor Config Error"),
)
_OF_HTTP = (
    ("no http", "HTTP Invalid Response"),
    ("closed before it answered", "HTTP Invalid Response"),
    ("the body is cut short", "HTTP Invalid Response"),
    ("no end within", "HTTP Invalid Response"),
    ("more than ", "HTTP Invalid Response"),
    ("redirected ", "HTTP Invalid Response"),
)
_OF_TLS = (
    ("mismatch", "TLS name mismatch error"),
    ("unrecognized name", "TLS unrecognized name error"),
    ("certificate", "TLS untrusted certificate error"),
    ("protocol", "TLS protocol error"),
    ("version", "TLS protocol error"),
    ("", "TLS Handshake Failure"),
)
_TIMEOUTS = ("no answer within", "connection timed out")


def failure_reason(reason: str, monitor_type: str | None) -> str:
    """Return Cloudflare's text for the failure of a probe.

    Args:
        reason: The reason in the status.
        monitor_type: The type of the monitor that probed.
    """
    said = reason.casefold()
    if said.startswith("tls: "):
        return next(word for part, word in _OF_TLS if part in said)
    if said.startswith(_TIMEOUTS):
        if monitor_type in _HTTP:
            return "HTTP timeout occurred"
        return "TCP Timeout" if monitor_type in ("tcp", "smtp") else OTHER_FAILURE
    known = _BEGINNINGS + (_OF_HTTP if monitor_type in _HTTP else ())
    return next((word for beginning, word in known if said.startswith(beginning)), OTHER_FAILURE)


def pool_health(told: dict[str, Any]) -> dict[str, Any]:
    """Return the health of a pool, from its status."""
    is_probed = told["monitor"] is not None or told["monitor_group"] is not None
    return {
        "healthy": not is_probed or told["health"] in ("healthy", "degraded"),
        "origins": [
            {one["address"]: _origin_health(one, *_failed_probe(one, told["monitor"], told["monitor_types"]))}
            for one in told["origins"]
        ],
    }


def origins_health(origins: list[dict[str, Any]], monitor_type: str | None) -> list[dict[str, Any]]:
    """Return the health of origins, each by its address, from their statuses; `monitor_type` is that of the probes."""
    return [{one["address"]: _origin_health(one, one["reason"] or "", monitor_type)} for one in origins]


def _failed_probe(origin: dict[str, Any], monitor: str | None, types: dict[str, str]) -> tuple[str, str | None]:
    """Return the reason of the failed probe, and its monitor's type; in a group, of the first monitor that decided."""
    findings = [one for one in origin["monitors"] if one["health"] == "down" and one["counts"] != "monitoring_only"]
    if findings:
        decisive = next((one for one in findings if one["counts"] == "must_be_healthy"), findings[0])
        return decisive["reason"] or "", types.get(decisive["monitor"])
    return origin["reason"] or "", types.get(monitor) if monitor is not None else None


def _origin_health(origin: dict[str, Any], probe_reason: str, monitor_type: str | None) -> dict[str, Any]:
    state, reason = origin["health"], origin["reason"] or ""
    shown: dict[str, Any] = {"healthy": state == "healthy", "failure_reason": NO_FAILURES}
    if state == "down":
        shown |= {"failure_reason": failure_reason(probe_reason, monitor_type), "failure_detail": reason}
    elif state != "healthy":  # other causes than probes
        shown["failure_reason"] = reason or state
    if origin["response_code"] is not None:
        shown["response_code"] = origin["response_code"]
    if origin["rtt_ms"] is not None:
        shown["rtt"] = f"{origin['rtt_ms']:g}ms"
    return shown
