"""The limit of requests per caller: Cloudflare's, 1200 in five minutes, with its headers."""

from collections.abc import Mapping
from email.utils import formatdate

from spectrum.api.envelope import ApiError
from spectrum.api.windows import Windows

REQUESTS, PER_S = 1200, 300.0
TOO_MANY = 10429
# Callers that are remembered. Each has a token, and tokens are few.
MAX_CALLERS = 10_000


class RequestRates:
    """Counts requests in windows that begin with a caller's first request.

    Args:
        requests: The limit; 0 for no limit.
        per_s: The length of a window in seconds.
    """

    def __init__(self, requests: int = REQUESTS, per_s: float = PER_S) -> None:
        self.requests = requests
        self.per_s = per_s
        self._windows = Windows(MAX_CALLERS)

    def count(self, caller: str, now: float) -> Mapping[str, str]:
        """Count a request; return the headers with the count.

        Args:
            caller: The caller.
            now: The time, in seconds since 1970.

        Raises:
            ApiError: If the request exceeds the limit.
        """
        if not self.requests:
            return {}
        count, ends = self._windows.add(caller, now, self.per_s)
        headers = {
            "x-ratelimit-limit": str(self.requests),
            "x-ratelimit-remaining": str(max(0, self.requests - count)),
            "x-ratelimit-reset": formatdate(ends, usegmt=True),
        }
        if count > self.requests:
            retry = {"retry-after": str(max(1, round(ends - now)))}
            message = f"More than {self.requests} requests in {self.per_s:g} seconds: please wait"
            raise ApiError(429, TOO_MANY, message, headers={**headers, **retry})
        return headers
