"""From probe results to a verdict on an origin's address. Cloudflare's rules: docs/balancing.md."""

from dataclasses import dataclass

import msgspec


class ProbeResult(msgspec.Struct, frozen=True):
    """The result of one probe.

    Attributes:
        ok: Whether the origin answered as expected.
        reason: Why not, or "" if it did: a few words.
        rtt_s: How long the answer took; 0 when there was none.
        code: The HTTP or SMTP status; 0 without one. certificate_expires: When the certificate ends (seconds since
            1970); 0 where there is none.
        timed_out: No answer came in time, so it may be tried again at once.
    """

    ok: bool
    reason: str = ""
    rtt_s: float = 0.0
    code: int = 0
    certificate_expires: float = 0.0
    timed_out: bool = False


# Number of results that are shown.
RECENT = 40
# Weight of a new sample in the mean of round trips: a change has half its effect after three probes.
RTT_WEIGHT = 0.2


@dataclass(slots=True)
class Health:
    """The health of one address that a monitor probes.

    Attributes:
        healthy: The verdict; None while unknown, which counts as down.
        reason: Of the last failure, "" while healthy.
        streak: Results in a row that contradict the verdict.
        rtt_s: Exponentially weighted mean of the round trips of probes that passed; 0 without any.
        changed_at: When the verdict last changed.
        probed_at: When the last result came.
        history: The last results as bits below a leading 1, the last one lowest; 1 is a pass.
    """

    healthy: bool | None = None
    reason: str = "not probed yet"
    streak: int = 0
    rtt_s: float = 0.0
    code: int = 0
    certificate_expires: float = 0.0
    changed_at: float = 0.0
    probed_at: float = 0.0
    history: int = 1

    def take(self, result: ProbeResult, consecutive_up: int, consecutive_down: int, now: float) -> bool:
        """Take a probe's result; return whether the verdict changed.

        The verdict becomes down after `consecutive_down` failures, and up after `consecutive_up` successes; 0 means at
        once. The first result decides alone: otherwise all clients would go to the fallback pool for several intervals
        after a start.
        """
        self.probed_at = now
        full = self.history >> RECENT
        self.history = (
            full << RECENT | (self.history << 1 | result.ok) & (1 << RECENT) - 1
            if full
            else self.history << 1 | result.ok
        )
        self.code = result.code
        self.certificate_expires = result.certificate_expires or self.certificate_expires
        if result.ok and result.rtt_s:
            self.rtt_s += (result.rtt_s - self.rtt_s) * (RTT_WEIGHT if self.rtt_s else 1.0)
        if self.healthy is result.ok:
            self.streak = 0
            self.reason = result.reason
            return False
        self.streak += 1
        needed = consecutive_up if result.ok else consecutive_down
        if self.healthy is not None and self.streak < needed:
            return False
        self.healthy = result.ok
        self.reason = result.reason
        self.streak = 0
        self.changed_at = now
        return True
