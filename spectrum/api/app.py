"""The application: the routes of all kinds, and Cloudflare's errors for requests that do not reach one."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from spectrum import __version__
from spectrum.api.access import Context
from spectrum.api.catalogue import ChangeError, ChangeRefused, Conflict, NotLive, ReadOnly
from spectrum.api.dashboard import Dashboard
from spectrum.api.envelope import INTERNAL_ERROR, ApiError, ErrorDetail, failure, pointer_to
from spectrum.api.openapi import document
from spectrum.api.routes import ROUTERS
from spectrum.store.errors import StoreError
from spectrum.tasks import in_thread

BASE = "/client/v4"
NO_ROUTE = 10404
BAD_METHOD = 10405
# Codes for an invalid body or query, for kinds without their own.
VALIDATION_FAILED = 1002
READ_ONLY, CONFLICT = 10013, 10014
MAX_ERRORS = 20


def make_app(context: Context) -> FastAPI:
    """Return the application.

    Args:
        context: The services of its routes.
    """
    app = FastAPI(
        title="Spectrum",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            ApiError: _answer_error,
            ChangeError: _answer_unchanged,
            StoreError: _answer_store,
            RequestValidationError: _answer_invalid,
            HTTPException: _answer_no_route,
            Exception: _answer_fault,
        },
    )
    app.state.context = context
    app.router.routes.extend(_dashboard().routes())  # before all others, which are searched one by one
    app.router.routes.extend(_kinds().routes)
    text: list[bytes] = []

    @app.get(f"{BASE}/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        if not text:  # it takes half a second; a process that replaces another one does not wait for it
            text.append(await in_thread(lambda: msgspec.json.encode(document(app))))
        return Response(text[0], media_type="application/json")

    return app


@cache
def _dashboard() -> Dashboard:
    return Dashboard()


@cache
def _kinds() -> APIRouter:
    """Return the routes of all kinds under `BASE`, built at the first request and shared by all applications."""
    included = APIRouter()
    for router in ROUTERS:
        included.include_router(router, prefix=BASE)
    return included


async def _answer_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, ApiError), "it is registered for it"
    return exc.response()


async def _answer_unchanged(_: Request, exc: Exception) -> Response:
    """Answer a change that was not applied, for kinds without their own errors."""
    match exc:
        case ChangeRefused(faults=faults):
            details = [ErrorDetail(VALIDATION_FAILED, one.message, pointer_to(one.place[2:])) for one in faults]
            return failure(400, details[:MAX_ERRORS])
        case ReadOnly():
            return failure(403, [ErrorDetail(READ_ONLY, str(exc))])
        case Conflict(is_stale=is_stale):
            # Not 409: official clients retry it.
            return failure(412 if is_stale else 400, [ErrorDetail(CONFLICT, str(exc))])
        case NotLive(is_for_now=is_for_now):
            return failure(503, [ErrorDetail(INTERNAL_ERROR, str(exc))], retry=is_for_now)
        case _:
            raise AssertionError(f"an error of changes without an answer: {exc!r}")


async def _answer_store(_: Request, exc: Exception) -> Response:
    return failure(503, [ErrorDetail(INTERNAL_ERROR, f"The store cannot be read: {exc}")], retry=False)


async def _answer_invalid(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError), "it is registered for it"
    return failure(400, [_detail(error) for error in exc.errors()[:MAX_ERRORS]])


def _detail(error: Mapping[str, Any]) -> ErrorDetail:
    where, *place = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f'unknown field "{place[-1]}"'
    if where == "body":
        return ErrorDetail(VALIDATION_FAILED, message, pointer_to(place))
    return ErrorDetail(VALIDATION_FAILED, f"{'.'.join(map(str, place))}: {message}")


async def _answer_no_route(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException), "it is registered for it"
    if exc.status_code == 405:
        what = ErrorDetail(BAD_METHOD, f"Method {request.method} is not allowed here")
    elif exc.status_code == 404:
        what = ErrorDetail(NO_ROUTE, "No route for that URI; docs/api.md lists the calls")
    else:
        what = ErrorDetail(VALIDATION_FAILED, str(exc.detail))
    return failure(exc.status_code, [what], exc.headers)


async def _answer_fault(request: Request, _: Exception) -> Response:
    """Answer an internal error; `Intake` logs it."""
    number = request.state.request_id
    return failure(500, [ErrorDetail(INTERNAL_ERROR, f"Internal error; see request {number} in the log")])
