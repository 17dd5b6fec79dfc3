"""Faults of the file's checks as answers of the API.

Checks see all objects, and their messages name them: "taken by app X". Names of another account's objects are hidden;
names that the client sent itself are kept.
"""

import re
from collections.abc import Mapping
from typing import Any

from spectrum.api.access import Call
from spectrum.api.catalogue import ChangeRefused, ObjectFault
from spectrum.api.envelope import INTERNAL_ERROR, ApiError, ErrorDetail, pointer_to
from spectrum.api.kinds.apps import APPS, port_taken
from spectrum.api.kinds.kind import MAX_ERRORS, Kind
from spectrum.core.features import SECTIONS

HIDDEN = "(of another account)"
# The words for objects in messages, before a name; the longest first.
_SECTION_OF: Mapping[str, str] = {section.kind: section.key for section in SECTIONS}
_NOUNS = "|".join(sorted(_SECTION_OF, key=len, reverse=True))
_NAMED = re.compile(rf'\b(?P<noun>{_NOUNS}) (?P<quote>"?)(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)')
# Hints list the names of all objects.
_HINTS = re.compile(r"; (?:did you mean|known here:) .*", re.DOTALL)


def answer_to(refused: ChangeRefused, kind: Kind, name: str, body: Any, call: Call) -> ApiError:
    """Return the answer to a refused change.

    Args:
        refused: The faults.
        kind: The kind of the changed object.
        name: Its name in the file.
        body: The body of the request.
        call: The request.
    """
    if not any(fault.place for fault in refused.faults):
        # No object is at fault, but the machine: a worker does not answer, or the kernel refuses.
        return ApiError(503, INTERNAL_ERROR, without_others(str(refused), call), retry=False)
    first, *more = [_detail(fault, kind, name, body, call) for fault in refused.faults[:MAX_ERRORS]]
    return ApiError(400, first.code, first.message, first.pointer, more=more)


def _detail(fault: ObjectFault, kind: Kind, name: str, body: Any, call: Call) -> ErrorDetail:
    message = without_others(fault.message, call)
    is_own = fault.place[:2] == (kind.section, name)
    if fault.taken_by and kind is APPS and (is_own or fault.taken_by == name):
        code, place = port_taken(body, is_own and _is_of_other_zone(fault.taken_by, call))
        where = "" if is_own else f"{' '.join(map(str, fault.place))}: "
        return ErrorDetail(code, where + message, pointer_to(place))
    if is_own:
        place = fault.place[2:]
        return ErrorDetail(kind.code(place), message, pointer_to(kind.place(place, body)))
    if not fault.place:
        return ErrorDetail(kind.code(("",)), message)
    section, *rest = map(str, fault.place)
    if rest and not _may_be_told(section, rest[0], call):
        rest = [HIDDEN]
    return ErrorDetail(kind.code(("",)), f"{' '.join((section, *rest))}: {message}")


def _is_of_other_zone(app: str, call: Call) -> bool:
    found = call.catalogue.named("apps", app)
    return found is not None and call.zone is not None and call.catalogue.owners(found)[1] != call.zone.name


def without_others(message: str, call: Call) -> str:
    """Return a message without the names of objects of other accounts."""
    if len(call.catalogue.names("accounts")) < 2:
        return message

    def hide(found: re.Match[str]) -> str:
        name = found["name"].rstrip(".")
        if _may_be_told(_SECTION_OF[found["noun"]], name, call):
            return found.group()
        return f"{found['noun']} {found['quote']}{HIDDEN}{found['name'][len(name) :]}"

    return _NAMED.sub(hide, _HINTS.sub("", message))


def _may_be_told(section: str, name: str, call: Call) -> bool:
    """Return whether a name belongs to no object of another account."""
    found = call.catalogue.named(section, name)
    return found is None or (call.account is not None and call.catalogue.owners(found)[0] == call.account.name)
