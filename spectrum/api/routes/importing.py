"""`spectrum import`: takes objects in the form of the file, from root and the daemon's user on this machine."""

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call, unauthorized
from spectrum.api.catalogue import ChangeRefused
from spectrum.api.envelope import ApiError, ErrorDetail, pointer_to, success
from spectrum.api.request_body import RequestBody
from spectrum.api.routes.tokens import put_token
from spectrum.core.configuration.faults import faults_of
from spectrum.core.tenants.tokens import Token
from spectrum.store.objects import ObjectChange, new_id
from spectrum.store.tokens import StoredToken

router = APIRouter(tags=["Import"])
VALIDATION_FAILED = 1002
# Limit of the faults in an answer.
MAX_FAULTS = 100


class ImportBody(RequestBody):
    """Objects by section of the file and by name."""

    objects: dict[str, dict[str, dict[str, Any]]]


@router.post("/spectrum/import", include_in_schema=False)
async def import_objects(call: Annotated[Call, Anywhere], body: ImportBody) -> Response:
    """Make objects, or replace objects of the store with the same names: all, or none. Then tokens, by their hashes."""
    if not call.caller.is_local:
        raise unauthorized()
    tokens = list(_tokens(call, body.objects.pop("tokens", {})))
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    changes = []
    implied = call.catalogue.implied_account()  # no object defines it yet
    for section, objects in body.objects.items():
        for name, value in objects.items():
            before = call.catalogue.named(section, name)
            is_made = before is not None and before is not implied
            counts[what := _what(before.value if before and is_made else None, value)] += 1
            if what != "unchanged":
                changes.append(ObjectChange(section, before.id if before else new_id(), name, value))
    if changes:
        try:
            await call.change(changes)
        except ChangeRefused as exc:
            raise _invalid((one.place, one.message) for one in exc.faults) from exc
    for token, known in tokens:
        counts[what := _what(known.value if known else None, token.value)] += 1
        if what != "unchanged":
            await put_token(call, token, known, what.removesuffix("d"), token.modified_on)
    return success(counts)


def _what(before: Mapping[str, Any] | None, value: Mapping[str, Any]) -> str:
    return "created" if before is None else "unchanged" if before == value else "updated"


def _tokens(call: Call, values: Mapping[str, dict[str, Any]]) -> Iterator[tuple[StoredToken, StoredToken | None]]:
    """Yield new values of tokens, each with its former one: the token with the same hash, whatever its name."""
    by_digest = {one.digest: one for one in call.context.tokens.all()}
    now = time.time()
    for name, value in values.items():
        try:
            Token.model_validate(value)
        except ValidationError as exc:
            raise _invalid((one.path, one.message) for one in faults_of(exc, Token, ("tokens", name))) from exc
        digest, limits = value["hash"], {key: item for key, item in value.items() if key != "hash"}
        known = by_digest.get(digest)
        if known is not None and known.is_in_file:
            continue
        token_id, created_on = (known.id, known.created_on) if known else (new_id(), now)
        yield StoredToken(token_id, name, digest, limits, created_on, now), known


def _invalid(faults: Iterator[tuple[tuple[str | int, ...], str]]) -> ApiError:
    details = [ErrorDetail(VALIDATION_FAILED, message, pointer_to(("objects", *place))) for place, message in faults][
        :MAX_FAULTS
    ]
    first, *more = details
    return ApiError(400, first.code, first.message, first.pointer, more=more)
