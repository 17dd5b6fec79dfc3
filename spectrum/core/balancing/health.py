"""From the results of probes to a verdict on an origin's address. Cloudflare's rules: docs/balancing.md."""

from dataclasses import dataclass

import msgspec


class ProbeResult(msgspec.Struct, frozen=True):
    """What one probe found.

    Attributes:
        ok: The origin answered as it should.
        reason: Why not, or "" if it did: a few words.
        rtt_s: How long the answer took; 0 when there was none.
        code: The HTTP or SMTP status; 0 where there is none.
        certificate_expires: When the certificate ends (seconds since 1970); 0 where there is none.
        timed_out: Nothing came in time, so it may be tried again at once.
    """

    ok: bool
    reason: str = ""
    rtt_s: float = 0.0
    code: int = 0
    certificate_expires: float = 0.0
    timed_out: bool = False


# So many results are shown.
RECENT = 40
# A new sample's weight in the mean of round trips: a change has half its effect after three probes.
RTT_WEIGHT = 0.2


@dataclass(slots=True)
class Health:
    """What is known of one address that a monitor probes.

    Attributes:
        healthy: The verdict; None while unknown, which counts as down.
        reason: Of the last failure, "" while healthy.
        streak: Results in a row that contradict the verdict.
        rtt_s: Exponentially weighted mean of the round trips of probes that passed; 0 without any.
        changed_at: When the verdict last changed.
        probed_at: When the last result came.
        history: The last results as bits below a 1 that marks their begin, the last one lowest; 1 is a pass.
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

        Flips to down after `consecutive_down` failures, to up after `consecutive_up` successes; 0 is at once. The first
        result decides alone: otherwise a start would send everybody to the fallback pool for several intervals.
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
