"""This node: its workers, kernel features, use of limits, and findings about the machine."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.caller import ANY
from spectrum.api.envelope import success

router = APIRouter(tags=["Node"])
# Parts of the status that every account may see.
_OF_ALL = ("version", "generation", "uptime_s", "starting", "draining", "workers", "pauses", "kernel")
# Further parts, with paths of the machine or objects of others: for callers who may read everything.
_OF_OPERATORS = ("pid", "config", "restart_needed", "names", "records", "api", "acme", "analytics")
_SHARED = ("node", "supervisor", "helper", "api")


@router.get("/accounts/{account_id}/node")
async def show_node(call: Annotated[Call, InAccount("diagnostics")]) -> Response:
    """Show the node's workers, kernel and limits; limits of apps and pools of this account alone."""
    supervisor = call.context.supervisor
    status, limits = await supervisor.ask("GET", "/status"), await supervisor.ask("GET", "/limits")
    keys = (*_OF_ALL, *_OF_OPERATORS) if _is_operator(call) else _OF_ALL
    shown = {key: status[key] for key in keys if key in status}
    if not _is_operator(call):  # the reason why a part is off names files and lists of the machine
        shown["kernel"] = {part: str(state).partition(":")[0] for part, state in status["kernel"].items()}
    return success(shown | {"limits": list(_own(call, limits["limits"]))})


@router.get("/accounts/{account_id}/doctor")
async def examine_node(call: Annotated[Call, InAccount("diagnostics")]) -> Response:
    """Return what the machine lacks for the configuration, with commands that help: for callers who may read all."""
    if not _is_operator(call):
        return success({"findings": [], "not_looked": []})
    return success(await call.context.supervisor.ask("GET", "/doctor"))


def _is_operator(call: Call) -> bool:
    return call.caller.may("diagnostics", False, ANY)


def _own(call: Call, limits: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Return the limits of the node itself, and of the account's apps and pools."""
    own = {one.name for section in ("apps", "pools") for one in call.objects(section)}
    for one in limits:
        whose = str(one["of"])
        of_machine = whose in _SHARED or whose.startswith(("worker-", "former-"))
        if _is_operator(call) or of_machine or not own.isdisjoint((whose, whose.partition("/")[0])):
            yield one
