from datetime import UTC, datetime

import msgspec
import pytest

from spectrum.core.balancing.events import HealthEvent, as_text

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (HealthEvent("originHealth", NOW, False, "status 500", "eu", "a"), "origin eu/a is down: status 500"),
        (HealthEvent("originHealth", NOW, True, "", "eu", "a"), "origin eu/a is healthy"),
        (
            HealthEvent("monitorHealth", NOW, False, "timeout", "eu", "a", Monitor="m", MonitorGroup="g"),
            "monitor m finds origin eu/a down: timeout",
        ),
        (HealthEvent("originEjected", NOW, False, "x", "eu", "a"), "origin eu/a is ejected: x"),
        (HealthEvent("originReturned", NOW, True, "x", "eu", "a"), "origin eu/a is back from its ejection: x"),
        (HealthEvent("poolHealth", NOW, False, "x", "eu"), "pool eu is down: x"),
        (HealthEvent("poolHealth", NOW, True, "", "eu"), "pool eu is healthy"),
        (
            HealthEvent("loadBalancerFallback", NOW, False, "", "us", LoadBalancer="game"),
            "load balancer game has no healthy pool: fallback pool us serves",
        ),
        (
            HealthEvent("loadBalancerFallback", NOW, True, "", "us", LoadBalancer="game"),
            "load balancer game has a healthy pool again",
        ),
    ],
)
def test_for_people(event, text):
    assert as_text(event) == text


def test_what_is_empty_is_left_out():
    event = msgspec.json.decode(msgspec.json.encode(HealthEvent("poolHealth", NOW, True, "", "eu")))
    assert event == {
        "Event": "poolHealth",
        "Timestamp": "2026-01-02T00:00:00Z",
        "Healthy": True,
        "Reason": "",
        "Pool": "eu",
    }
