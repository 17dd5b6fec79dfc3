"""Open sessions of an account's apps: listed, ended, and explanations of routing.

The daemon has them. It is asked for those of one account, so that sessions of others are neither shown nor ended.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.caller import described
from spectrum.api.envelope import BodyFault, success
from spectrum.api.routes.schemas import takes_body
from spectrum.api.supervisor import ValueRefused
from spectrum.core.live_sessions import ORDERS
from spectrum.store.audit import AuditEntry
from spectrum.tasks import in_thread

router = APIRouter(tags=["Sessions"])
BAD_VALUE = 1002
MOST_SHOWN = 10_000
_FILTERS = ("app", "client", "origin", "older_than", "min_bytes")
_TEXT = {"type": "string"}
_KILL = takes_body(
    {
        "type": "object",
        "properties": {
            "ids": {"type": "array", "items": _TEXT, "maxItems": 500},
            **dict.fromkeys(_FILTERS, _TEXT),
        },
        "minProperties": 1,
        "additionalProperties": False,
    }
)


@router.get("/accounts/{account_id}/sessions")
async def list_sessions(
    call: Annotated[Call, InAccount("diagnostics")],
    app: Annotated[str, Query(description="An app, by id or name.")] = "",
    client: Annotated[str, Query(description="An address, or a prefix.")] = "",
    origin: Annotated[str, Query(description="POOL/ORIGIN, 192.0.2.1 or 192.0.2.1:22.")] = "",
    older_than: str = "",
    min_bytes: str = "",
    ids: Annotated[str, Query(description="With commas between.")] = "",
    sort: Literal[*ORDERS] = "age",  # type: ignore[valid-type]
    limit: Annotated[int, Query(ge=0, le=MOST_SHOWN)] = 100,
) -> Response:
    """List the open sessions and flows of an account's apps."""
    given = {"client": client, "origin": origin, "older_than": older_than, "min_bytes": min_bytes, "ids": ids}
    asked = _scoped(call, app, given) | {"sort": sort, "limit": str(limit)}
    answer = await ask(call, "GET", "/sessions", asked)
    shown = [_shown(call, one) for one in answer["sessions"]]
    return success(shown, {"count": len(shown), "total_count": answer["total"], "silent": answer["silent"]})


@router.post("/accounts/{account_id}/sessions/kill", openapi_extra=_KILL)
async def kill_sessions(call: Annotated[Call, InAccount("diagnostics", edit=True)]) -> Response:
    """End sessions and flows of an account's apps, by id or by the filters of the list."""
    body = _kill_body(call.body)
    asked = _scoped(call, body.pop("app", ""), body) | {"by": described(call.caller.author)}
    answer = await ask(call, "POST", "/sessions/kill", asked)
    await in_thread(call.context.store.write_audit, [_audited(call, answer["killed"])], time.time())
    return success({"killed": answer["killed"], "silent": answer["silent"]})


@router.get("/accounts/{account_id}/explain")
async def explain(
    call: Annotated[Call, InAccount("diagnostics")],
    app: Annotated[str, Query(description="An app, by id or name.")],
    client: Annotated[str, Query(description="An address.")],
    port: Annotated[int, Query(ge=0, le=65535, description="The client's, where affinity is by address and port.")] = 0,
) -> Response:
    """Explain step by step to which origin a client of an app would go now."""
    asked = {"app": named_app(call, app), "client": client, "port": str(port)}
    return success(await ask(call, "GET", "/explain", asked))


async def ask(call: Call, method: str, path: str, asked: Mapping[str, str]) -> Any:
    """Return an answer of the daemon.

    Raises:
        BodyFault: If it refuses a value.
        NotLive: If it does not answer.
    """
    try:
        return await call.context.supervisor.ask(method, path, asked)
    except ValueRefused as exc:
        raise BodyFault(BAD_VALUE, str(exc)) from exc


def named_app(call: Call, app: str) -> str:
    """Return the name of an app of the account, by its id or its name.

    Raises:
        BodyFault: If the account has no such app.
    """
    found = call.object("apps", app) or call.catalogue.named("apps", app)
    if found is None or call.object("apps", found.id) is None:
        raise BodyFault(BAD_VALUE, f'app: this account has no app "{app}"')
    return found.name


def _scoped(call: Call, app: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the daemon's parameters, limited to the account's apps."""
    assert call.account is not None, "the path names one"
    asked = {key: value for key, value in given.items() if value} | {"account": call.account.name}
    return asked | ({"app": named_app(call, app)} if app else {})


def _kill_body(body: Any) -> dict[str, str]:
    """Return the daemon's parameters for a body that ends sessions."""
    if not isinstance(body, dict) or not body:
        raise BodyFault(BAD_VALUE, f"expected a JSON object with ids, or some of {', '.join(_FILTERS)}", "")
    for key, value in body.items():
        is_list = key == "ids" and isinstance(value, list) and all(isinstance(one, str) for one in value)
        if key not in ("ids", *_FILTERS):
            raise BodyFault(BAD_VALUE, f"there is no filter {key}: ids, {', '.join(_FILTERS)}", f"/{key}")
        if not value or not (is_list or (key != "ids" and isinstance(value, str))):
            raise BodyFault(BAD_VALUE, "expected a list of ids" if key == "ids" else "expected a text", f"/{key}")
    return {key: ",".join(value) if key == "ids" else value for key, value in body.items()}


def _audited(call: Call, killed: int) -> AuditEntry:
    assert call.account is not None, "the path names one"
    request = call.request
    return AuditEntry(
        call.caller.author,
        "kill",
        "sessions",
        "",
        f"{killed} sessions",
        after={**call.body, "killed": killed},
        account=call.account.id,
        method=request.method,
        path=request.url.path,
        status=200,
        request_id=request.state.request_id,
    )


def _shown(call: Call, one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session with its app's id, without the worker's process id."""
    app = call.catalogue.named("apps", one["app"])
    return {**{key: value for key, value in one.items() if key != "worker_pid"}, "app_id": app.id if app else None}
