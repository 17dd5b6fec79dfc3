"""Calls that kinds of objects have in common: make, get, replace, edit, delete, and references."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from spectrum.api.access import Call, no_such
from spectrum.api.catalogue import ChangeRefused, Conflict
from spectrum.api.envelope import ApiError, BodyFault, success
from spectrum.api.kinds.kind import Body, Kind, References, Value
from spectrum.api.routes.faults import answer_to
from spectrum.core.tenants.scope import DEFAULT_ACCOUNT
from spectrum.store.audit import AuditEntry
from spectrum.store.objects import ObjectChange, StoredObject, free_name, new_id
from spectrum.tasks import in_thread

IN_USE = 1005
_OWNERS = ("zone", "account")


class NamedByCaller(References):
    """The objects that a caller may refer to: those of the request's account.

    Args:
        call: The request.
    """

    def __init__(self, call: Call) -> None:
        self._catalogue = call.catalogue
        assert call.account is not None, "objects belong to an account"
        self._account = call.account.name

    def key_of(self, section: str, object_id: str) -> str | None:
        """Return the name of an object in the file, by its id; None where the caller has no such object."""
        return self._own(self._catalogue.get(section, object_id))

    def id_of(self, section: str, key: str) -> str | None:
        """Return the id of an object by its name in the file."""
        found = self._catalogue.named(section, key)
        return found.id if found else None

    def key_named(self, section: str, name: str) -> str | None:
        """Return the name of an object in the file, by its name in the API."""
        if (key := self._own(self._catalogue.named(section, name))) is not None:
            return key
        own = self._catalogue.in_account(section, self._account)
        return next((one.name for one in own if one.value.get("name") == name), None)

    def name_of(self, section: str, key: str) -> str:
        """Return the name of an object in the API, by its name in the file."""
        found = self._catalogue.named(section, key)
        return str(found.value.get("name", key)) if found else key

    def kind_of_list(self, key: str) -> str:
        """Return the kind of a list, by its name in the file: ip or asn."""
        found = self._catalogue.named("lists", key)
        return str(found.value["kind"]) if found else "ip"

    def _own(self, found: StoredObject | None) -> str | None:
        return found.name if found and self._catalogue.owners(found)[0] == self._account else None


def _nothing_more(call: Call, value: Value, before: StoredObject | None) -> None:
    return None


def _whatever(value: Value) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Objects:
    """The calls of one kind.

    Attributes:
        kind: The kind.
        wanted_name: Returns a name for a new object in the file, from its value.
        check: Raises `ApiError` if a value does not fit the zone or account; called with the former object, too.
        missing: Code and message for a missing object.
        holds: Returns whether a value is of this kind, where a section has several.
        is_large: Whether values may be so large that their check takes long: it is done in a thread.
    """

    kind: Kind
    wanted_name: Callable[[Value], str]
    check: Callable[[Call, Value, StoredObject | None], None] = _nothing_more
    missing: tuple[int, str] | None = None
    holds: Callable[[Value], bool] = _whatever
    is_large: bool = False

    def found(self, call: Call, object_id: str) -> StoredObject:
        """Return an object.

        Raises:
            ApiError: If the zone, or the account, has no such object.
        """
        found = call.object(self.kind.section, object_id)
        if found is not None and self.holds(found.value):
            return found
        if self.missing is not None:
            raise ApiError(404, *self.missing)
        raise no_such(call.request)

    def shown(self, call: Call, one: StoredObject) -> Value:
        """Return an object in the form of answers."""
        return self.kind.from_value(one, NamedByCaller(call))

    def answer(self, call: Call, one: StoredObject) -> Response:
        """Return the answer with an object, and its revision for If-Match."""
        return with_revision(success(self.shown(call, one)), one)

    async def make(self, call: Call, only: Body | None = None) -> StoredObject:
        """Make an object of the request's body, or of `only`.

        Raises:
            ApiError: If it cannot be made.
        """
        body = self._body(call) if only is None else only
        return await self._put(call, body, await self._checked(call, body), None)

    async def replace(self, call: Call, object_id: str) -> StoredObject:
        """Replace an object by the request's body; fields that it leaves out get their defaults."""
        before, body = self._changeable(call, object_id), self._body(call)
        return await self._put(call, body, await self._checked(call, body), before)

    async def edit(self, call: Call, object_id: str, only: Mapping[str, Any] | None = None) -> StoredObject:
        """Change the fields of the request's body, or of `only`; null resets a field to its default."""
        before = self._changeable(call, object_id)
        body = self._edited(call, before, self._body(call) if only is None else only)
        return await self._put(call, body, await self._checked(call, body), before)

    async def preview(self, call: Call, object_id: str) -> tuple[StoredObject | None, ObjectChange]:
        """Return an object, and the change that the request's body would make; without an id, a new object.

        Raises:
            ApiError: If the change is invalid.
        """
        before, body = self._changeable(call, object_id) if object_id else None, self._body(call)
        if before is not None:
            body = self._edited(call, before, body)
        value = await self._checked(call, body)
        self.check(call, value, before)
        change = self._change(call, dict(value), before, object_id or new_id())
        try:
            await call.catalogue.check(change, call.caller.author)
        except ChangeRefused as exc:
            raise answer_to(exc, self.kind, change.name, body, call) from exc
        return before, change

    async def delete(self, call: Call, object_id: str) -> StoredObject:
        """Delete an object that no other one refers to."""
        found = self._changeable(call, object_id)
        if referring := call.catalogue.referrers(found.section, found.name):
            names = ", ".join(f"{one.section} {one.name}" for one in referring[:5])
            raise ApiError(400, IN_USE, f"{self.kind.noun} is referenced by other objects: {names}")
        await self.change(call, {}, ObjectChange(found.section, found.id, found.name, None))
        return found

    async def change(
        self, call: Call, body: Any, change: ObjectChange, expected: Mapping[str, int] | None = None
    ) -> StoredObject | None:
        """Apply one change; faults have their places in the body."""
        try:
            kept = await call.change([change], expected)
        except ChangeRefused as exc:
            raise answer_to(exc, self.kind, change.name, body, call) from exc
        return kept[0] if kept else None

    def new(self, call: Call, body: Body, taken: Collection[str]) -> ObjectChange:
        """Return the change that makes an object of a body; `taken` are names of other new objects."""
        value = dict(self.kind.checked(body, NamedByCaller(call))) | _owner(call, self.kind)
        object_id = new_id()
        names = {*call.catalogue.names(self.kind.section), *taken}
        return ObjectChange(self.kind.section, object_id, free_name(self.wanted_name(value), names, object_id), value)

    async def _checked(self, call: Call, body: Any) -> Value:
        """Return the value of a body, checked by itself."""
        refs = NamedByCaller(call)
        return await in_thread(self.kind.checked, body, refs) if self.is_large else self.kind.checked(body, refs)

    async def change_all(self, call: Call, changes: Sequence[ObjectChange]) -> list[StoredObject]:
        """Apply changes, all or none."""
        try:
            return await call.change(changes)
        except ChangeRefused as exc:
            raise answer_to(exc, self.kind, changes[0].name, {}, call) from exc

    def _changeable(self, call: Call, object_id: str) -> StoredObject:
        """Return an object that is not of the file, whose error is answered before those of the body."""
        found = self.found(call, object_id)
        call.catalogue.refuse_of_file(found)
        return found

    @property
    def _is_named(self) -> bool:
        """Whether bodies of this kind have a name."""
        return self.kind.section in ("pools", "load_balancers", "lists")

    def _edited(self, call: Call, before: StoredObject, only: Mapping[str, Any]) -> Value:
        """Return the body of an object with some of its fields changed."""
        body = self.kind.to_body(before.value, NamedByCaller(call))
        if "name" in before.value or self._is_named:
            body["name"] = self.kind.api_name(before)
        return body | dict(only)

    def _body(self, call: Call) -> Body:
        if not isinstance(call.body, dict):
            raise BodyFault(self.kind.code(("",)), "expected a JSON object", "")
        return call.body

    async def _put(self, call: Call, body: Any, value: Value, before: StoredObject | None) -> StoredObject:
        object_id = before.id if before else new_id()
        for is_last in (False, True):
            self.check(call, value, before)
            change = self._change(call, dict(value), before, object_id)
            try:
                kept = await self.change(call, body, change)
            except Conflict as exc:
                # Another request took the name meanwhile: the next attempt chooses another one.
                if is_last or before is not None or exc.is_stale:
                    raise
            else:
                assert kept is not None, "it is not deleted"
                return kept
        raise AssertionError("the last one ends it")

    def _change(self, call: Call, value: Value, before: StoredObject | None, object_id: str) -> ObjectChange:
        """Return the change that makes an object, or replaces its value."""
        value |= (
            {key: before.value[key] for key in _OWNERS if key in before.value} if before else _owner(call, self.kind)
        )
        wanted = str(value.get("name") or self.wanted_name(value))
        if "name" in value and any(one.id != object_id for one in self._called(call, wanted)):
            raise BodyFault(self.kind.code(("name",)), f"name: {wanted} is in use already: validation failed", "/name")
        key = before.name if before else free_name(wanted, call.catalogue.names(self.kind.section), object_id)
        if value.get("name") == key:
            del value["name"]
        return ObjectChange(self.kind.section, object_id, key, value)

    def _called(self, call: Call, name: str) -> Iterator[StoredObject]:
        """Yield the account's objects with a name in the API."""
        assert call.account is not None, "objects belong to an account"
        for one in call.catalogue.in_account(self.kind.section, call.account.name):
            if self.kind.api_name(one) == name:
                yield one


def with_revision(answer: Response, one: StoredObject) -> Response:
    """Return an answer with the object's ETag; objects of the file have none."""
    if one.revision:
        answer.headers["etag"] = f'"{one.revision}"'
    return answer


async def note_by_hand(call: Call, one: StoredObject, action: str, after: Value | None = None) -> None:
    """Write a line of the audit log about a manual action that is not configuration, such as a drain."""
    cause = call.cause
    entry = AuditEntry(
        cause.author,
        action,
        one.section,
        one.id,
        one.name,
        None,
        after,
        call.account.id if call.account else "",
        method=cause.method,
        path=cause.path,
        status=200,
        request_id=cause.request_id,
    )
    await in_thread(call.context.store.write_audit, [entry], time.time())


def _owner(call: Call, kind: Kind) -> Value:
    """Return the owner keys of a new object; none for the implied account, which objects do not name."""
    if "account" not in kind.model.model_fields and "zone" not in kind.model.model_fields:
        return {}  # it belongs to the machine
    if call.zone is not None:
        return {"zone": call.zone.name}
    assert call.account is not None, "objects belong to an account"
    return {} if call.account.name == DEFAULT_ACCOUNT else {"account": call.account.name}


def referrers(call: Call, one: StoredObject) -> list[Value]:
    """Return the objects that refer to an object, in the form of `.../references`."""
    return [reference(other, "referrer") for other in call.catalogue.referrers(one.section, one.name)]


def reference(one: StoredObject, direction: str) -> Value:
    """Return an object as a referrer (`referrer`), or as one that is referred to (`referral`)."""
    return {
        "reference_type": direction,
        "resource_id": one.id,
        "resource_name": name_of(one),
        "resource_type": one.section.removesuffix("s"),
    }


def name_of(one: StoredObject) -> str:
    """Return the displayed name of an object of load balancing."""
    return str(one.value.get("name") or (one.value.get("description") if one.section == "monitors" else "") or one.name)
