"""Authentication of requests: by token, or by the process at the other end of a UNIX socket. Cloudflare's errors."""

import logging
import os
import pwd
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from starlette.types import Scope

from spectrum.api.caller import Caller
from spectrum.api.envelope import ApiError
from spectrum.api.failures import FailedAttempts
from spectrum.api.token_book import TokenBook
from spectrum.kernel.peers import Peer
from spectrum.store.audit import Author

log = logging.getLogger(__name__)

NO_CREDENTIALS, NO_GLOBAL_KEYS, AUTHENTICATION_ERROR, NOT_FROM_HERE, TOO_MANY = 9106, 9103, 10000, 9109, 10502
BAD_HEADERS, BAD_AUTHORIZATION = 6003, 6111
# Limit of User-Agent, in characters, in the audit log.
MAX_USER_AGENT = 200
_WHY_NOT = {
    "disabled": "the token is disabled",
    "expired": "the token has expired",
    "not_yet": "the token is not valid yet",
}
_HOW = "send a token as Authorization: Bearer TOKEN"


class Authentication:
    """Identifies callers.

    Args:
        tokens: All tokens.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(self, tokens: TokenBook, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._clock = clock
        self._failures = FailedAttempts()

    def identify(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """Return the caller of a request.

        Args:
            scope: The ASGI scope; `state["peer"]` is the process at the other end of a UNIX socket.
            headers: The headers of the request.

        Raises:
            ApiError: If authentication fails.
        """
        peer: Peer | None = scope["state"].get("peer")
        address = scope["client"][0] if scope.get("client") else ""
        agent = headers.get("user-agent", "")[:MAX_USER_AGENT]
        if "authorization" in headers:
            return self._bearer(headers["authorization"], address, agent)
        if peer is not None and peer.is_trusted:
            _refuse_other_sites(headers)
            return Caller(Author("local", str(peer.uid), _user(peer.uid), "", agent))
        if "x-auth-key" in headers:
            raise ApiError(
                403, NO_GLOBAL_KEYS, f"Unknown X-Auth-Key or X-Auth-Email: there are no such keys here; {_HOW}"
            )
        if "x-auth-email" in headers:
            # Official clients send no token if CLOUDFLARE_EMAIL is set.
            hint = "X-Auth-Email is set (by CLOUDFLARE_EMAIL?) in place of a token"
            raise ApiError(400, NO_CREDENTIALS, f"Missing X-Auth-Key or Authorization headers: {hint}; {_HOW}")
        raise ApiError(400, NO_CREDENTIALS, f"Missing X-Auth-Key, X-Auth-Email or Authorization headers; {_HOW}")

    def _bearer(self, header: str, address: str, agent: str) -> Caller:
        kind, _, text = header.partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            chain = [(BAD_AUTHORIZATION, "Invalid format for Authorization header")]
            raise ApiError(400, BAD_HEADERS, "Invalid request headers", chain=chain)
        token = self._tokens.find(text.strip())
        if token is None:
            raise self._failed(address)
        now = self._clock()
        self._tokens.used(token, now)
        author = Author("token", token.id, token.name, address, agent)
        limits = self._tokens.limits(token)
        status = limits.state(now)
        fault = None
        if status != "active":
            fault = ApiError(403, AUTHENTICATION_ERROR, f"Authentication error: {_WHY_NOT[status]}")
        elif (limits.addresses or limits.not_addresses) and not (address and limits.takes_from(address)):
            where = address or "this machine"
            fault = ApiError(403, NOT_FROM_HERE, f"Cannot use the access token from location: {where}")
        return Caller(author, token, limits, status, fault)

    def _failed(self, address: str) -> ApiError:
        count, wait_s = self._failures.add(address, time.monotonic())
        if self._failures.is_first_too_many(count):
            log.warning("%s: %d requests with unknown tokens within a minute", address or "a local client", count)
        if wait_s > 0:
            headers = {"retry-after": str(max(1, round(wait_s)))}
            return ApiError(429, TOO_MANY, "Too many authentication failures: please wait", headers=headers)
        return ApiError(
            401, AUTHENTICATION_ERROR, "Authentication error", headers={"www-authenticate": 'Bearer realm="spectrum"'}
        )


def _refuse_other_sites(headers: Mapping[str, str]) -> None:
    """Refuse requests that a page of another site makes a browser send to a forwarded socket, which needs no token.

    Browsers mark such requests (Fetch Metadata; towards an address other than loopback, Origin alone). With DNS
    rebinding, the Host header has a name of the attacker. Names without a dot are allowed: they are names of this
    machine, or placeholders of clients that must send a name.

    Raises:
        ApiError: If the request is from another site.
    """
    host = headers.get("host", "").rpartition("@")[2]
    name = host if host.startswith("[") else host.partition(":")[0]
    is_foreign = "." in name.strip(".") and not _is_address(name)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    is_foreign |= site in ("cross-site", "same-site")
    if site is None and origin is not None:
        is_foreign |= origin.partition("://")[2] != host
    if is_foreign:
        raise ApiError(403, NOT_FROM_HERE, f"Cannot be used by pages of other sites without a token: {_HOW}")


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid) if uid != os.geteuid() else "spectrum"
