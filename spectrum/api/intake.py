"""Requests before and after the application: authentication, limits, request id, headers, the log.

Each error leaves as the envelope, and no client sees a traceback.
"""

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spectrum.api.envelope import INTERNAL_ERROR, ApiError
from spectrum.api.traces import Trace, Traces

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 2**20
# Items of lists, and whole configurations, from authenticated clients.
MAX_LARGE_BODY_BYTES = 32 * 2**20
LARGE = re.compile(r"/client/v4/(?:accounts/[^/]+/rules/lists/[^/]+/items|spectrum/import)")
# What is read of a body that is too large, and discarded: a client that sends on while the connection is closed may see
# that only, and not the answer (nginx's lingering_close). Beyond it the connection is closed.
MAX_DISCARDED_BYTES = 64 * 2**20
# Large bodies in memory at once.
LARGE_AT_ONCE = 4
# Bodies written by hand have up to ten levels; each level takes stack of the parser.
MAX_DEPTH = 32
BAD_BODY = 6003
NOT_JSON = 6007
TOO_LARGE = 6004
READING = frozenset({"GET", "HEAD", "OPTIONS"})
JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json *(?:;.*)?", re.IGNORECASE)


class _Gone(Exception):
    """The client disconnected before its request was complete."""


class Intake:
    """Handles requests.

    The application finds in `scope["state"]`: `request_id`, `caller` (a `Caller`, or the `ApiError` by which
    authentication failed), `body` (the decoded JSON; None without one) and `steps` (for its trace; None without one).

    Args:
        app: The application.
        identify: Returns the caller, from headers and connection (`state` and `client` of the scope); raises
            `ApiError` if authentication fails.
        limit: Counts a request of a caller, and returns headers with the count; raises `ApiError` above the limit.
        traces: Traces requests.
        refused: Called with each request that changes things, after its answer, to record refused ones: the caller (or
            the error of authentication), method, path, query string, status, request id, and address.
    """

    def __init__(
        self,
        app: ASGIApp,
        identify: Callable[[Scope, Headers], Any],
        limit: Callable[[Any], Mapping[str, str]],
        traces: Traces,
        refused: Callable[[Any, str, str, str, int, str, str], None],
    ) -> None:
        self._app = app
        self._identify = identify
        self._limit = limit
        self._traces = traces
        self._refused = refused
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        answer = _Reply(scope, send)
        try:
            await self._take(scope, receive, answer)
        except ApiError as exc:
            await exc.response()(scope, receive, answer.send)
        except _Gone:
            answer.status = 499  # nginx's status for it
        except Exception:
            log.exception("request %s: %s %s failed", answer.id, scope["method"], ascii(scope["path"]))
            if not answer.status:
                error = ApiError(500, INTERNAL_ERROR, f"Internal error; see request {answer.id} in the log")
                await error.response()(scope, receive, answer.send)
        answer.log()
        if scope["method"] not in READING:
            self._note(scope, answer)
        if answer.trace is not None:
            answer.trace.end(scope, answer.status, answer.id)

    def _note(self, scope: Scope, answer: "_Reply") -> None:
        caller, client = scope["state"].get("caller"), scope["client"][0] if scope.get("client") else ""
        try:
            query = scope.get("query_string", b"").decode("latin-1")
            self._refused(caller, scope["method"], scope["path"], query, answer.status, answer.id, client)
        except Exception:
            log.exception("request %s: its line in the audit log failed", answer.id)

    async def _take(self, scope: Scope, receive: Receive, answer: "_Reply") -> None:
        headers = Headers(scope=scope)
        scope.setdefault("state", {})
        try:
            caller = self._identify(scope, headers)
        except ApiError as exc:
            caller = exc
        # Only authenticated callers may force a trace.
        answer.trace = self._traces.begin({} if isinstance(caller, ApiError) else headers)
        steps = answer.trace.steps if answer.trace else None
        scope["state"].update({"request_id": answer.id, "caller": caller, "body": None, "steps": steps})
        if not isinstance(caller, ApiError):
            answer.caller = str(caller)
            answer.headers |= self._limit(caller)
        may_be_large = not isinstance(caller, ApiError) and LARGE.fullmatch(scope["path"]) is not None
        if may_be_large and _is_large(headers):
            async with self._large:
                await self._pass_on(scope, headers, receive, answer, MAX_LARGE_BODY_BYTES)
        else:
            await self._pass_on(scope, headers, receive, answer, MAX_BODY_BYTES)

    async def _pass_on(self, scope: Scope, headers: Headers, receive: Receive, answer: "_Reply", most: int) -> None:
        is_known = not isinstance(scope["state"]["caller"], ApiError)
        body = await _read(headers, receive, most, MAX_DISCARDED_BYTES if is_known else 0)
        if body and scope["method"] not in READING:
            scope["state"]["body"] = decoded(body, headers)
        parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return parts.pop() if parts else await receive()

        await self._app(scope, replay, answer.send)


class _Reply:
    """The answer to one request."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.id = secrets.token_hex(8)
        self.caller = "unknown caller"
        self.status = 0
        self.headers: dict[str, str] = {}
        self.trace: Trace | None = None
        self._scope = scope
        self._send = send
        self._began = time.monotonic()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(self.headers)
            headers["cf-ray"] = self.id
            headers["date"] = formatdate(usegmt=True)
            headers.setdefault("cache-control", "no-store")
            headers["x-content-type-options"] = "nosniff"
        await self._send(message)

    def log(self) -> None:
        scope = self._scope
        level = logging.DEBUG if scope["method"] in READING and self.status < 500 else logging.INFO
        client = scope["client"][0] if scope.get("client") else "local"
        log.log(
            level,
            "request %s: %s %s by %s from %s: %d in %.1f ms",
            self.id,
            scope["method"],
            ascii(scope["path"])[1:-1],
            self.caller,
            client,
            self.status,
            (time.monotonic() - self._began) * 1000,
        )


def _is_large(headers: Headers) -> bool:
    """Return whether a body may exceed `MAX_BODY_BYTES`; the size of a chunked body is not known in advance."""
    return "transfer-encoding" in headers or int(headers.get("content-length", 0)) > MAX_BODY_BYTES


async def _read(headers: Headers, receive: Receive, most: int, discarded: int) -> bytes:
    """Return the whole body.

    Args:
        headers: Headers of the request.
        receive: Returns its next part.
        most: The limit of its size, in bytes.
        discarded: The size up to which the rest of a larger one is read all the same.

    Raises:
        ApiError: If it is too large; the connection is then closed, unless the rest was read.
    """
    declared = int(headers.get("content-length", 0))
    # A client that expects "100 Continue" sends nothing before it, and the answer first instead.
    if declared > most and (declared > discarded or "expect" in headers):
        raise _too_large(most, closes=True)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        part = message.get("body", b"")
        size += len(part)
        if size <= most:
            parts.append(part)
        elif size > discarded:
            raise _too_large(most, closes=True)
        else:
            parts.clear()
        if not message.get("more_body", False):
            break
    if size > most:
        raise _too_large(most, closes=False)
    return b"".join(parts)


def _too_large(most: int, closes: bool) -> ApiError:
    headers = {"connection": "close"} if closes else {}
    return ApiError(413, TOO_LARGE, f"The body is larger than {most // 2**20} MiB", headers=headers)


def decoded(body: bytes, headers: Mapping[str, str]) -> Any:
    """Decode a body.

    Raises:
        ApiError: If it is not JSON, or nested too deep.
    """
    kind = headers.get("content-type", "")
    if not JSON_TYPE.fullmatch(kind):
        raise ApiError(
            415, BAD_BODY, "Invalid request headers", chain=[(NOT_JSON, "Content-Type must be application/json")]
        )
    if headers.get("content-encoding", "identity") != "identity":
        raise ApiError(
            415, BAD_BODY, "Invalid request headers", chain=[(NOT_JSON, "Content-Encoding is not supported")]
        )
    try:
        value = msgspec.json.decode(body)
        if len(body) <= MAX_BODY_BYTES:
            json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        reason = "it is nested too deep" if isinstance(exc, RecursionError) else str(exc)
        raise ApiError(400, NOT_JSON, f"Malformed JSON in the request body: {reason}") from exc
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ApiError(400, NOT_JSON, f"The request body is nested deeper than {MAX_DEPTH} levels")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object with a key twice, of which parsers take one or the other (RFC 8259 section 4)."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f'the key "{key}" is there twice')
        seen.add(key)


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += [item for item in one.values() if isinstance(item, dict | list)]
            elif isinstance(one, list):
                below += [item for item in one if isinstance(item, dict | list)]
        if not below:
            return False
        level = below
    return True
