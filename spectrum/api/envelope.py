"""Cloudflare's envelope: the JSON object around each result and each error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from spectrum.link.encoding import encode

# Official clients retry these unless told otherwise; Terraform's provider ten times, for minutes.
_RETRIED_BY_CLIENTS = frozenset({408, 409})
# A client may send the same request again later.
_WORTH_A_RETRY = frozenset({429, 503})
INTERNAL_ERROR = 10002
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One entry of `errors`.

    Attributes:
        code: Cloudflare's number of the error; at least 1000.
        message: The text.
        pointer: The place of the fault in the request's body (RFC 6901).
        chain: Code and message of each cause.
    """

    code: int
    message: str
    pointer: str | None = None
    chain: Sequence[tuple[int, str]] = ()

    def shown(self) -> dict[str, Any]:
        """Return the entry as it is sent."""
        entry: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.pointer is not None:
            entry["source"] = {"pointer": self.pointer}
        if self.chain:
            entry["error_chain"] = [{"code": code, "message": message} for code, message in self.chain]
        return entry


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        code: Cloudflare's number of the error.
        message: The text.
        pointer: The place of the fault in the request's body (RFC 6901).
        chain: Code and message of each cause.
        more: Further errors.
        headers: Further headers.
        retry: Whether official clients should retry by themselves; None for the default of the status.
    """

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        pointer: str | None = None,
        chain: Sequence[tuple[int, str]] = (),
        *,
        more: Sequence[ErrorDetail] = (),
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.details = (ErrorDetail(code, message, pointer, chain), *more)
        self.headers = dict(headers or {})
        self.retry = retry

    @property
    def code(self) -> int:
        """The number of the first error."""
        return self.details[0].code

    def response(self) -> Response:
        """Return the answer."""
        return failure(self.status, self.details, self.headers, self.retry)


class BodyFault(ApiError):
    """An invalid body: status 400.

    Args:
        code: Cloudflare's number of the error.
        message: The text.
        pointer: The place in the body (RFC 6901).
    """

    def __init__(self, code: int, message: str, pointer: str | None = None) -> None:
        super().__init__(400, code, message, pointer)


def success(
    result: Any,
    result_info: Mapping[str, Any] | None = None,
    messages: Iterable[tuple[int, str]] = (),
    status: int = 200,
) -> Response:
    """Return the answer to a successful request.

    Args:
        result: The result.
        result_info: The paging of a list.
        messages: Code and text of each.
        status: The HTTP status.
    """
    envelope: dict[str, Any] = {
        "success": True,
        "errors": [],
        "messages": [{"code": code, "message": message} for code, message in messages],
        "result": result,
    }
    if result_info is not None:
        envelope["result_info"] = result_info
    return _json(envelope, status)


def failure(
    status: int, details: Iterable[ErrorDetail], headers: Mapping[str, str] | None = None, retry: bool | None = None
) -> Response:
    """Return the answer to a failed request.

    Args:
        status: The HTTP status; clients take 2xx for success, whatever the body contains.
        details: The errors.
        headers: Further headers.
        retry: Whether official clients should retry by themselves; None for the default of the status.
    """
    envelope = {"success": False, "errors": [one.shown() for one in details], "messages": [], "result": None}
    response = _json(envelope, status)
    response.headers.update(headers or {})
    if retry is None and (status in _RETRIED_BY_CLIENTS or status >= 500):
        retry = status in _WORTH_A_RETRY
    if retry is not None:
        response.headers["x-should-retry"] = "true" if retry else "false"
    return response


def _json(envelope: Mapping[str, Any], status: int) -> Response:
    return Response(encode(_ENCODER, envelope), status, media_type="application/json")


def pointer_to(place: Iterable[str | int]) -> str:
    """Return the JSON pointer to a place in a body (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)
