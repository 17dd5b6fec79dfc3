"""Faults of the file's checks as an answer of the API.

A check sees all objects and names them: "taken by app X". What belongs to another account is not told.
"""

import re
from typing import Any

from spectrum.api.access import Call
from spectrum.api.catalogue import ChangeRefused, ObjectFault
from spectrum.api.envelope import ApiError, ErrorDetail, pointer_to
from spectrum.api.kinds.kind import MAX_ERRORS, Kind
from spectrum.core.features import SECTIONS

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HIDDEN = "(of another account)"


def answer_to(refused: ChangeRefused, kind: Kind, name: str, body: Any, call: Call) -> ApiError:
    """Return the answer to a change that was refused.

    Args:
        refused: What checks say.
        kind: Of the object that was changed.
        name: Its name in the file.
        body: The request's.
        call: The request.
    """
    first, *more = [_detail(fault, kind, name, body, call) for fault in refused.faults[:MAX_ERRORS]]
    return ApiError(400, first.code, first.message, first.pointer, more=more)


def _detail(fault: ObjectFault, kind: Kind, name: str, body: Any, call: Call) -> ErrorDetail:
    message = without_others(fault.message, call)
    if fault.place[:2] == (kind.section, name):
        place = fault.place[2:]
        return ErrorDetail(kind.code(place), message, pointer_to(kind.place(place, body)))
    where = " ".join(map(str, fault.place))
    return ErrorDetail(kind.code(("",)), f"{without_others(where, call)}: {message}")


def without_others(message: str, call: Call) -> str:
    """Return a message without the names of objects of other accounts."""
    catalogue = call.catalogue
    if call.account is None or len(catalogue.names("accounts")) < 2:
        return message
    own = call.account.name

    def hide(word: re.Match[str]) -> str:
        text = word.group()
        for name in {text, text.rstrip(".")}:
            found = [one for section in SECTIONS if (one := catalogue.named(section.key, name)) is not None]
            if found and all(catalogue.owners(one)[0] != own for one in found):
                return HIDDEN + text[len(name) :]
        return text

    return _WORD.sub(hide, message)
