"""The current state of load balancing, and manual changes of origins. Extensions of Cloudflare's API."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, ValidationError
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.envelope import BodyFault, pointer_to, success
from spectrum.api.kinds.balancing import INVALID
from spectrum.api.request_body import RequestBody
from spectrum.api.routes.objects import note_by_hand
from spectrum.api.routes.pools import OBJECTS
from spectrum.api.routes.schemas import takes_body
from spectrum.store.objects import StoredObject

router = APIRouter(tags=["Load balancing: state"])
_PATH = "/accounts/{account_id}/load_balancers"


class ManualSettings(RequestBody):
    """Manual settings of an origin; a field that is left out stays."""

    origin: str = Field(min_length=1)
    state: Literal["drain", "disable", "enable"] | None = None
    # null: the weight of the configuration again.
    weight: float | None = Field(None, ge=0, le=1)


@router.get(f"{_PATH}/state")
async def get_state(call: Annotated[Call, InAccount("pools")]) -> Response:
    """Return the state of an account's pools and origins, and the load balancers on their fallback pool."""
    told = await call.context.supervisor.ask("GET", "/balancing")
    found = {section: {one.name: one for one in call.objects(section)} for section in ("pools", "load_balancers")}
    shown = {
        section: [{"id": found[section][one["name"]].id, **one} for one in told[section] if one["name"] in known]
        for section, known in found.items()
    }
    return success({"node": told["node"], **shown})


@router.post(f"{_PATH}/pools/{{pool_id}}/by_hand", openapi_extra=takes_body(ManualSettings.model_json_schema()))
async def set_by_hand(call: Annotated[Call, InAccount("pools", edit=True)], pool_id: str) -> Response:
    """Drain, disable or weigh an origin of a pool until that is undone; the configuration does not change."""
    pool, body = OBJECTS.found(call, pool_id), _by_hand(call.body)
    if body.origin not in [one["name"] for one in pool.value["origins"]]:
        raise BodyFault(INVALID, f"pool {pool.name} has no origin {body.origin!r}", "/origin")
    if not body.model_fields_set & {"state", "weight"}:
        raise BodyFault(INVALID, "expected state, weight, or both", "")
    messages = []
    if body.state is not None:
        messages.append(await _set(call, pool, body, body.state, {}))
    if "weight" in body.model_fields_set:
        value = "" if body.weight is None else f"{body.weight:g}"
        messages.append(await _set(call, pool, body, "weight", {"value": value}))
    return success({"message": "; ".join(messages)})


def _by_hand(body: Any) -> ManualSettings:
    try:
        return ManualSettings.model_validate(body)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise BodyFault(INVALID, first["msg"], pointer_to(first["loc"])) from exc


async def _set(call: Call, pool: StoredObject, body: ManualSettings, what: str, more: dict[str, str]) -> str:
    query = {"origin": f"{pool.name}/{body.origin}", **more}
    told = await call.context.supervisor.ask("POST", f"/origins/{what}", query)
    if told["changed"]:
        await note_by_hand(
            call, pool, what, {"origin": body.origin} | ({"weight": body.weight} if what == "weight" else {})
        )
    return str(told["message"])
