"""`POST /graphql`: Cloudflare's GraphQL. Its answers have no envelope."""

from typing import Annotated

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Anywhere, Call
from spectrum.api.envelope import ApiError
from spectrum.link.encoding import encode

router = APIRouter(tags=["Analytics"])
MISSING = 10404
_ENCODER = msgspec.json.Encoder()


# The OpenAPI document describes enveloped answers only.
@router.post("/graphql", include_in_schema=False)
async def query(call: Annotated[Call, Anywhere]) -> Response:
    """Answer a query of GraphQL."""
    try:
        from spectrum.api.graphql.answers import answered  # an extra
    except ImportError as exc:
        raise ApiError(404, MISSING, f"{exc}: pip install 'spectrum-edge[analytics]'") from exc
    status, answer = await answered(call, call.body)
    headers = {"x-should-retry": "true" if status in (429, 503) else "false"} if status != 200 else None
    return Response(encode(_ENCODER, answer), status, headers, "application/json")
