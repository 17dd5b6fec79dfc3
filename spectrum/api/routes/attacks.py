"""Attacks on an account's apps, open and past ones, with their rules and packets.

Attacks on addresses without an app belong to the machine: callers who may read everything see them.
"""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.caller import ANY
from spectrum.api.envelope import ApiError, success
from spectrum.api.supervisor import ValueRefused
from spectrum.core.ddos.attack_events import AttackSample
from spectrum.core.ddos.attack_view import as_capture

router = APIRouter(tags=["Attacks"])
NOT_FOUND = 1001
MOST_SHOWN = 1000


@router.get("/accounts/{account_id}/attacks")
async def list_attacks(
    call: Annotated[Call, InAccount("analytics")],
    state: Literal["", "open", "mitigated", "logged", "left_alone", "fading", "ended"] = "",
    limit: Annotated[int, Query(ge=0, le=MOST_SHOWN)] = 100,
) -> Response:
    """List attacks on an account's apps: open ones first, then the latest."""
    asked = {"state": state, "limit": str(limit)} | ({} if _sees_all(call) else {"apps": ",".join(_apps(call))})
    answer = await call.context.supervisor.ask("GET", "/attacks", {key: one for key, one in asked.items() if one})
    shown = [_shown(call, one) for one in answer["attacks"]]
    return success(shown, {"count": len(shown), "total_count": answer["total"]})


@router.get("/accounts/{account_id}/attacks/{attack_id}")
async def show_attack(attack_id: str, call: Annotated[Call, InAccount("analytics")]) -> Response:
    """Show an attack, with its rules in words, and sampled packets with decoded headers."""
    return success(_shown(call, await _found(call, attack_id)))


@router.get("/accounts/{account_id}/attacks/{attack_id}/pcap")
async def capture_attack(attack_id: str, call: Annotated[Call, InAccount("analytics")]) -> Response:
    """Return sampled packets of an attack as a capture that tcpdump and Wireshark read."""
    found = await _found(call, attack_id)
    data = as_capture(
        AttackSample(datetime.fromisoformat(one["time"]).timestamp(), one["frame_bytes"], b64decode(one["header"]))
        for one in found["samples"]
    )
    headers = {"content-disposition": f'attachment; filename="attack-{found["id"]}.pcap"'}
    return Response(data, media_type="application/vnd.tcpdump.pcap", headers=headers)


async def _found(call: Call, attack_id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await call.context.supervisor.ask("GET", "/attack", {"id": attack_id})
    except ValueRefused as exc:
        raise ApiError(404, NOT_FOUND, f'there is no attack "{attack_id}"') from exc
    if not _sees_all(call) and found["app"] not in _apps(call):
        raise ApiError(404, NOT_FOUND, f'there is no attack "{attack_id}"')
    return found


def _sees_all(call: Call) -> bool:
    return call.caller.may("analytics", False, ANY)


def _apps(call: Call) -> list[str]:
    # Never an empty list: attacks without an app have an empty name.
    return [one.name for one in call.objects("apps")] or ["\0"]


def _shown(call: Call, attack: Mapping[str, Any]) -> dict[str, Any]:
    app = call.catalogue.named("apps", attack["app"]) if attack["app"] else None
    return {**attack, "app_id": app.id if app and call.object("apps", app.id) else None}
