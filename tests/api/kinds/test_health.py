import pytest

from spectrum.api.kinds.health import failure_reason, pool_health


def told(pool, monitor="m", monitor_group=None, **origin):
    seen = {"address": "192.0.2.1", "health": "healthy", "reason": None, "rtt_ms": 12.5, "response_code": 200}
    types = {"m": "https", "ssh": "tcp"}
    probed = {"monitor": monitor, "monitor_group": monitor_group, "monitor_types": types}
    return {"health": pool, **probed, "origins": [seen | {"monitors": []} | origin]}


def finding(monitor, counts, health, reason=None):
    return {"monitor": monitor, "counts": counts, "health": health, "reason": reason, "rtt_ms": None}


HEALTHY = {"healthy": True, "failure_reason": "No failures", "response_code": 200, "rtt": "12.5ms"}


@pytest.mark.parametrize(
    ("status", "healthy", "origin"),
    [
        (told("healthy"), True, HEALTHY),
        (told("degraded"), True, HEALTHY),
        (
            told("critical", health="down", reason="status 503", rtt_ms=None, response_code=503),
            False,
            {
                "healthy": False,
                "failure_reason": "Response code mismatch error",
                "failure_detail": "status 503",
                "response_code": 503,
            },
        ),
        (
            told("unknown", None, health="not monitored", rtt_ms=None, response_code=None),
            True,
            {"healthy": False, "failure_reason": "not monitored"},
        ),
        (
            told(
                "critical",
                None,
                "g",
                health="down",
                reason="ssh: no answer within 5 s",
                rtt_ms=None,
                response_code=None,
                monitors=[
                    finding("n", "monitoring_only", "down", "connection refused"),
                    finding("m", "majority", "down", "status 503"),
                    finding("ssh", "must_be_healthy", "down", "no answer within 5 s"),
                ],
            ),
            False,
            {"healthy": False, "failure_reason": "TCP Timeout", "failure_detail": "ssh: no answer within 5 s"},
        ),
        (
            told(
                "critical",
                None,
                "g",
                health="down",
                reason="m: status 503",
                rtt_ms=None,
                response_code=503,
                monitors=[finding("m", "majority", "down", "status 503"), finding("ssh", "must_be_healthy", "healthy")],
            ),
            False,
            {
                "healthy": False,
                "failure_reason": "Response code mismatch error",
                "failure_detail": "m: status 503",
                "response_code": 503,
            },
        ),
    ],
)
def test_health_has_cloudflare_s_form(status, healthy, origin):
    assert pool_health(status) == {"healthy": healthy, "origins": [{"192.0.2.1": origin}]}


@pytest.mark.parametrize(
    ("reason", "monitor_type", "word"),
    [
        ("status 404", "http", "Response code mismatch error"),
        ("the body is not as expected", "http", "Response body mismatch error"),
        ("connection refused", "tcp", "TCP connection failed"),
        ("connection reset by peer", "tcp", "Connection Reset by Peer"),
        ("no route to host", "tcp", "No route to host error"),
        ("network is unreachable", "icmp_ping", "Network Unreachable"),
        ("its name has no address", "tcp", "DNS Unknown Host"),
        ("no answer within 5 s", "https", "HTTP timeout occurred"),
        ("no answer within 5 s", "tcp", "TCP Timeout"),
        ("no answer within 5 s", "icmp_ping", "Other Failure"),
        ("no HTTP: illegal status line", "http", "HTTP Invalid Response"),
        ("closed before it answered", "http", "HTTP Invalid Response"),
        ("closed before it answered", "smtp", "Other Failure"),
        ("redirected elsewhere, to https://x", "http", "HTTP Invalid Response"),
        ("tls: Hostname mismatch, certificate is not valid for 'a'.", "https", "TLS name mismatch error"),
        ("tls: self-signed certificate", "https", "TLS untrusted certificate error"),
        ("tls: tlsv1 unrecognized name", "https", "TLS unrecognized name error"),
        ("tls: wrong version number", "https", "TLS protocol error"),
        ("tls: sslv3 alert handshake failure", "https", "TLS Handshake Failure"),
        ("the monitor's request is not valid HTTP: x", "http", "Monitor Config Error"),
        ("EHLO: 554 no", "smtp", "Other Failure"),
    ],
)
def test_failures_have_cloudflare_s_words(reason, monitor_type, word):
    assert failure_reason(reason, monitor_type) == word
