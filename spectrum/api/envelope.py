"""Cloudflare's envelope: what every answer is wrapped in, and how an error is said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from spectrum.link.encoding import encode

# Official clients try these again unless they are told not to; Terraform's provider ten times, for minutes.
_RETRIED_BY_CLIENTS = frozenset({408, 409})
# What a client may send again as it is, after a while.
_WORTH_A_RETRY = frozenset({429, 503})
INTERNAL_ERROR = 10002
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One entry of `errors`.

    Attributes:
        code: Cloudflare's number for it; 1000 at least.
        message: For people.
        pointer: Where in the request's body the fault is (RFC 6901).
        chain: Code and message of what led to it.
    """

    code: int
    message: str
    pointer: str | None = None
    chain: Sequence[tuple[int, str]] = ()

    def shown(self) -> dict[str, Any]:
        """Return it as it is sent."""
        entry: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.pointer is not None:
            entry["source"] = {"pointer": self.pointer}
        if self.chain:
            entry["error_chain"] = [{"code": code, "message": message} for code, message in self.chain]
        return entry


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: Of HTTP.
        code: Cloudflare's number for it.
        message: For people.
        pointer: Where in the request's body the fault is (RFC 6901).
        chain: Code and message of what led to it.
        more: Further errors.
        headers: Further headers.
        retry: Whether the official clients are to send it again by themselves; None for what the status says.
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
        """The first error's number."""
        return self.details[0].code

    def response(self) -> Response:
        """Return the answer."""
        return failure(self.status, self.details, self.headers, self.retry)


class BodyFault(ApiError):
    """A body that does not say what it should: status 400.

    Args:
        code: Cloudflare's number for it.
        message: For people.
        pointer: Where in the body (RFC 6901).
    """

    def __init__(self, code: int, message: str, pointer: str | None = None) -> None:
        super().__init__(400, code, message, pointer)


def success(
    result: Any,
    result_info: Mapping[str, Any] | None = None,
    messages: Iterable[tuple[int, str]] = (),
    status: int = 200,
) -> Response:
    """Return the answer to a request that was carried out.

    Args:
        result: What is asked for.
        result_info: About the page of a list.
        messages: Code and text of each.
        status: Of HTTP.
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
    """Return the answer to a request that was not.

    Args:
        status: Of HTTP; a client takes 2xx for success, whatever the body says.
        details: The errors.
        headers: Further headers.
        retry: Whether the official clients are to send it again by themselves; None for what the status says.
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
