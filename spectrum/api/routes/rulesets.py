"""Rulesets of DDoS protection: the managed ruleset, and the entry point of its phase with overrides.

The filter belongs to the machine: only the account that owns the machine has an entry point. Only the latest version
of a ruleset is stored; the audit log has the changes.
"""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from spectrum.api.access import Call, InAccount
from spectrum.api.catalogue import ChangeRefused
from spectrum.api.envelope import ApiError, BodyFault, ErrorDetail, success
from spectrum.api.kinds.kind import Value
from spectrum.api.kinds.rulesets import (
    DEFAULT_NAME,
    INVALID,
    NO_ENTRYPOINT,
    NO_RULE,
    NO_RULESET,
    RULESETS,
    managed_rule,
    managed_ruleset,
    moved,
    to_body,
    version_of,
    with_ref,
    with_refs,
    without_rules,
)
from spectrum.api.paging import by_cursor
from spectrum.api.routes.faults import answer_to
from spectrum.api.routes.objects import NamedByCaller, Objects, with_revision
from spectrum.api.routes.schemas import RULE, gives, takes, takes_body
from spectrum.api.routes.tcp_protection import check_owner
from spectrum.core.ddos.managed import PHASE, RULES, RULESET_ID
from spectrum.core.ddos.ruleset_objects import rule_id
from spectrum.store.objects import ObjectChange, StoredObject, free_name, new_id

router = APIRouter(tags=["Rulesets"])
_PATH = "/accounts/{account_id}/rulesets"
_ENTRY = f"{_PATH}/phases/{{phase}}/entrypoint"
_ONE = f"{_PATH}/{{ruleset_id}}"
Reading = Annotated[Call, InAccount("rulesets")]
Editing = Annotated[Call, InAccount("rulesets", edit=True)]
DryRun = Annotated[bool, Query(description="Checks the change, and changes nothing.")]
_PLACED_RULE = RULE | {"properties": RULE["properties"] | {"position": {"type": "object"}}}
_PART_OF_RULE = {key: item for key, item in _PLACED_RULE.items() if key != "required"}


def _check(call: Call, value: Value, before: StoredObject | None) -> None:
    check_owner(call)
    if before is None and (entry := _of_account(call)) is not None:
        raise BodyFault(INVALID, f"phase {PHASE} has an entry point already, {entry.id}: change that", "/phase")


# The entry point as the file has it, for previews.
OBJECTS = Objects(RULESETS, lambda value: DEFAULT_NAME, _check)


# --- reading ------------------------------------------------------------------------------------------------------


@router.get(_PATH)
async def list_rulesets(call: Reading) -> Response:
    """List rulesets, without their rules."""
    return by_cursor([managed_ruleset(), *map(without_rules, call.objects("rulesets"))], "")


@router.get(_ENTRY, responses=gives(RULESETS))
async def get_entry_point(call: Reading, phase: str) -> Response:
    """Return the overrides of managed rules."""
    return _answer(call, _entry_point(call, phase))


@router.get(f"{_ENTRY}/versions")
async def list_entry_point_versions(call: Reading, phase: str) -> Response:
    """List the stored versions: the latest one."""
    return success([without_rules(_entry_point(call, phase))])


@router.get(f"{_ENTRY}/versions/{{version}}")
async def get_entry_point_version(call: Reading, phase: str, version: str) -> Response:
    """Return a stored version."""
    return _version(call, _entry_point(call, phase), version)


@router.get(_ONE, responses=gives(RULESETS))
async def get_ruleset(call: Reading, ruleset_id: str) -> Response:
    """Return a ruleset."""
    return success(_managed()) if ruleset_id == RULESET_ID else _answer(call, _found(call, ruleset_id))


@router.get(f"{_ONE}/versions")
async def list_ruleset_versions(call: Reading, ruleset_id: str) -> Response:
    """List the stored versions: the latest one."""
    return success([managed_ruleset() if ruleset_id == RULESET_ID else without_rules(_found(call, ruleset_id))])


@router.get(f"{_ONE}/versions/{{version}}")
async def get_ruleset_version(call: Reading, ruleset_id: str, version: str) -> Response:
    """Return a stored version."""
    if ruleset_id != RULESET_ID:
        return _version(call, _found(call, ruleset_id), version)
    if version not in (managed_ruleset()["version"], "latest"):
        raise _no_version(version)
    return success(_managed())


# --- changes ------------------------------------------------------------------------------------------------------


@router.put(_ENTRY, openapi_extra=takes(RULESETS), responses=gives(RULESETS))
async def put_entry_point(call: Editing, phase: str, dry_run: DryRun = False) -> Response:
    """Replace all overrides of managed rules."""
    _check_phase(phase)
    check_owner(call)
    return _answer(call, await _put(call, call.body, _of_account(call), dry_run))


@router.post(_PATH, openapi_extra=takes(RULESETS), responses=gives(RULESETS))
async def create_ruleset(call: Editing, dry_run: DryRun = False) -> Response:
    """Make the entry point of the phase, if there is none."""
    check_owner(call)
    if (before := _of_account(call)) is not None:
        raise BodyFault(INVALID, f"phase {PHASE} has an entry point already, {before.id}: change that", "/phase")
    return _answer(call, await _put(call, call.body, None, dry_run))


@router.put(_ONE, openapi_extra=takes(RULESETS), responses=gives(RULESETS))
async def put_ruleset(call: Editing, ruleset_id: str, dry_run: DryRun = False) -> Response:
    """Replace the rules of a ruleset, its name and description."""
    before = _changeable(call, ruleset_id)
    return _answer(call, await _put(call, call.body, before, dry_run))


@router.delete(_ONE, status_code=204)
async def delete_ruleset(call: Editing, ruleset_id: str, dry_run: DryRun = False) -> Response:
    """Delete the entry point: managed rules get their defaults."""
    await _change(call, None, _changeable(call, ruleset_id), None, dry_run)
    return Response(status_code=204)


@router.delete(f"{_ONE}/versions/{{version}}")
async def delete_ruleset_version(call: Editing, ruleset_id: str, version: str) -> Response:
    """Refuse: the latest version is the only one that is stored."""
    found = _changeable(call, ruleset_id)
    if version not in (version_of(found), "latest"):
        raise _no_version(version)
    raise BodyFault(INVALID, "the latest version is what holds; delete the ruleset, or replace its rules")


@router.post(f"{_ONE}/rules", openapi_extra=takes_body(_PLACED_RULE), responses=gives(RULESETS))
async def create_rule(call: Editing, ruleset_id: str, dry_run: DryRun = False) -> Response:
    """Add a rule, at the end or at a `position`; return the whole ruleset."""
    before = _changeable(call, ruleset_id)
    rule = with_ref(_rule_of(call), new_id)
    body = to_body(before.value, NamedByCaller(call))
    if any(one["ref"] == rule["ref"] for one in body["rules"]):
        raise BodyFault(INVALID, f"ref: there is a rule {rule['ref']} already", "/ref")
    return await _put_rule(call, before, body, rule, rule.pop("position", None), dry_run)


@router.patch(f"{_ONE}/rules/{{id_of_rule}}", openapi_extra=takes_body(_PART_OF_RULE), responses=gives(RULESETS))
async def edit_rule(call: Editing, ruleset_id: str, id_of_rule: str, dry_run: DryRun = False) -> Response:
    """Change some fields of a rule, or its `position`; return the whole ruleset."""
    before = _changeable(call, ruleset_id)
    given = _rule_of(call)
    body, index = _with_rule(call, before, id_of_rule)
    position = given.pop("position", {"index": index + 1})
    rule = body["rules"][index] | {key: item for key, item in given.items() if key not in ("id", "ref")}
    if rule_id(str(given.get("ref", rule["ref"]))) != id_of_rule:
        raise BodyFault(INVALID, "ref: that of a rule stays as it is", "/ref")
    return await _put_rule(call, before, body, rule, position, dry_run)


@router.delete(f"{_ONE}/rules/{{id_of_rule}}", responses=gives(RULESETS))
async def delete_rule(call: Editing, ruleset_id: str, id_of_rule: str, dry_run: DryRun = False) -> Response:
    """Delete a rule; return the whole ruleset."""
    before = _changeable(call, ruleset_id)
    body, index = _with_rule(call, before, id_of_rule)
    del body["rules"][index]
    return _answer(call, await _put(call, body, before, dry_run))


# --- parts --------------------------------------------------------------------------------------------------------


def _answer(call: Call, one: StoredObject) -> Response:
    return with_revision(success(RULESETS.from_value(one, NamedByCaller(call))), one)


def _managed() -> Value:
    return managed_ruleset() | {"rules": list(map(managed_rule, RULES))}


def _version(call: Call, one: StoredObject, version: str) -> Response:
    if version not in (version_of(one), "latest"):
        raise _no_version(version)
    return _answer(call, one)


def _no_version(version: str) -> ApiError:
    return ApiError(404, NO_RULESET, f"version {version} is not kept; the audit log has what changed")


def _of_account(call: Call) -> StoredObject | None:
    return next(iter(call.objects("rulesets")), None)


def _check_phase(phase: str) -> None:
    if phase != PHASE:
        raise ApiError(404, NO_ENTRYPOINT, f"could not find entrypoint ruleset in the {phase} phase: here is {PHASE}")


def _entry_point(call: Call, phase: str) -> StoredObject:
    _check_phase(phase)
    found = _of_account(call)
    if found is None:
        raise ApiError(404, NO_ENTRYPOINT, f"could not find entrypoint ruleset in the {phase} phase")
    return found


def _found(call: Call, ruleset_id: str) -> StoredObject:
    found = call.object("rulesets", ruleset_id)
    if found is None:
        raise ApiError(404, NO_RULESET, f"could not find ruleset {ruleset_id}")
    return found


def _changeable(call: Call, ruleset_id: str) -> StoredObject:
    if ruleset_id == RULESET_ID:
        message = f"the managed ruleset is read-only; overrides go into the entry point of phase {PHASE}"
        raise ApiError(400, INVALID, message)
    return _found(call, ruleset_id)


def _rule_of(call: Call) -> Value:
    if not isinstance(call.body, dict):
        raise BodyFault(INVALID, "expected a rule: an object with action, expression and action_parameters", "")
    return dict(call.body)


def _with_rule(call: Call, one: StoredObject, id_of_rule: str) -> tuple[Value, int]:
    """Return the body of a ruleset, and the index of a rule in it."""
    body = to_body(one.value, NamedByCaller(call))
    for index, rule in enumerate(body["rules"]):
        if rule_id(rule["ref"]) == id_of_rule:
            return body, index
    raise ApiError(404, NO_RULE, f"could not find rule {id_of_rule}")


async def _put_rule(
    call: Call, before: StoredObject, body: Value, rule: Value, position: Any, dry_run: bool
) -> Response:
    """Put a rule into a ruleset; faults have their places in the rule."""
    rules = moved(body["rules"], rule, position)
    prefix = f"/rules/{rules.index(rule)}"
    try:
        return _answer(call, await _put(call, body | {"rules": rules}, before, dry_run))
    except ApiError as exc:
        first, *more = [
            ErrorDetail(one.code, one.message, one.pointer and one.pointer.removeprefix(prefix)) for one in exc.details
        ]
        raise ApiError(exc.status, first.code, first.message, first.pointer, more=more) from exc


async def _put(call: Call, body: Any, before: StoredObject | None, dry_run: bool) -> StoredObject:
    """Replace a ruleset by a body. It keeps its name and its rules if the body has none."""
    if not isinstance(body, dict):
        raise BodyFault(INVALID, "expected a ruleset: an object with rules", "")
    stays = to_body(before.value, NamedByCaller(call)) | {"name": RULESETS.api_name(before)} if before else {}
    body = {key: stays[key] for key in ("name", "rules") if key in stays} | with_refs(body, new_id)
    value = RULESETS.checked(body, NamedByCaller(call))
    kept = await _change(call, body, before, value, dry_run)
    assert kept is not None, "it is not deleted"
    return kept


async def _change(
    call: Call, body: Any, before: StoredObject | None, value: Value | None, dry_run: bool
) -> StoredObject | None:
    """Apply a change, or check it. If another request changed the ruleset meanwhile, the client has to retry."""
    object_id = before.id if before else new_id()
    wanted = str((value or {}).get("name", DEFAULT_NAME))
    name = before.name if before else free_name(wanted, call.catalogue.names("rulesets"), object_id)
    if value is not None and value.get("name") == name:
        del value["name"]
    change = ObjectChange("rulesets", object_id, name, value)
    try:
        if dry_run:
            await call.catalogue.check(change, call.caller.author)
            return _as_it_would_be(change, before)
        kept = await call.change([change], {before.id: before.revision} if before else None)
    except ChangeRefused as exc:
        raise answer_to(exc, RULESETS, name, body, call) from exc
    return kept[0] if kept else None


def _as_it_would_be(change: ObjectChange, before: StoredObject | None) -> StoredObject | None:
    if change.value is None:
        return None
    now = time.time()
    created, revision = (before.created_on, before.revision) if before else (now, 0)
    return StoredObject(change.section, change.id, change.name, change.value, created, now, revision)
