"""The audit log: who changed what, from where. What may be a secret is never written into it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

HIDDEN = "(hidden)"
# Keys of values that are secrets, or come near to one.
_SECRET_KEY = re.compile(r"(?:^|_)(?:secret|password|passphrase|token|tsig_key|private_key|sealed_key)$")
# A certificate is for everybody to see.
_PEM = re.compile("-----BEGIN (?!CERTIFICATE-----)")
# Of headers, those that tell nobody anything; others may authenticate whoever sends them.
_OPEN_HEADERS = frozenset({"host", "user-agent", "connection", "accept", "accept-encoding", "accept-language"})

# Entries of a list, beside those that changed, that are written all the same.
MAX_UNCHANGED = 20
Place = tuple[str | int, ...]
Value = dict[str, Any]
ActorKind = Literal["token", "local", "system", "unknown"]


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change.

    Attributes:
        kind: A token of the API, someone on this machine, the program itself, or a client that nobody knows.
        id: The token's id, or the number of the user; empty for a client that nobody knows, as the name.
        name: The token's name, or the user's.
        address: The client's address; empty for someone on this machine.
        user_agent: What the client calls itself.
    """

    kind: ActorKind
    id: str
    name: str
    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log.

    Attributes:
        author: Who.
        action: create, update, delete, or a verb of its own such as roll.
        section: What kind of object; `tokens` too.
        object_id: Which one.
        name: Its name then.
        before: Its value before; None where it is new.
        after: Its value since; None where it is gone.
        account: The id of the account that it belongs to.
        zone: The id of the zone; empty where it belongs to none.
        is_done: Whether it was carried out.
        method: Of the HTTP request.
        path: Of the HTTP request.
        status: Of the HTTP answer.
        request_id: What the answer's headers call the request.
        id: 32 hex digits; made when it is written.
        number: Its place in the log; set when it is written, as `at`.
        at: In seconds since 1970.
    """

    author: Author
    action: str
    section: str
    object_id: str
    name: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    account: str = ""
    zone: str = ""
    is_done: bool = True
    method: str = ""
    path: str = ""
    status: int = 0
    request_id: str = ""
    id: str = ""
    number: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines are wanted; what is None or empty does not matter.

    Attributes:
        since: At or after this time.
        before: Before this time.
        accounts: Those of these accounts. An empty tuple: of none.
        zones: Those of these zones; with `accounts`: of either.
        actions: One of these.
        sections: One of these.
        object_id: Of this object.
        author_id: By this token or user.
        address: From this address.
        id: This line.
    """

    since: float | None = None
    before: float | None = None
    accounts: tuple[str, ...] | None = None
    zones: tuple[str, ...] | None = None
    actions: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    object_id: str = ""
    author_id: str = ""
    address: str = ""
    id: str = ""


def changed_part(before: Value | None, after: Value | None) -> tuple[Value | None, Value | None]:
    """Return a value before and after a change, less what stayed of long lists: those grow entry by entry.

    Where entries are left out, a text in their place says how many.
    """
    if before is None or after is None:
        return before, after
    old, new = dict(before), dict(after)
    for key in old.keys() & new.keys():
        if isinstance(old[key], list) and isinstance(new[key], list):
            old[key], new[key] = _changed_entries(old[key], new[key])
    return old, new


def _changed_entries(before: list[Any], after: list[Any]) -> tuple[list[Any], list[Any]]:
    both = min(len(before), len(after))
    first = next((index for index in range(both) if before[index] != after[index]), both)
    last = next((index for index in range(both - first) if before[-1 - index] != after[-1 - index]), both - first)
    if first + last <= MAX_UNCHANGED:
        return before, after
    stayed = f"({first + last} unchanged)"
    return [stayed, *before[first : len(before) - last]], [stayed, *after[first : len(after) - last]]


def secret_places(value: Any, place: Place = (), is_secret: bool = False) -> Iterator[Place]:
    """Yield where in a value of the file texts stand that may be secrets.

    Args:
        value: The value.
        place: Where it stands itself.
        is_secret: Every text in it may be one.
    """
    match value:
        case dict():
            is_header = place[-1:] == ("header",)
            for key, item in value.items():
                yield from secret_places(item, (*place, key), is_secret or _may_name_secret(key, is_header))
        case list():
            for index, item in enumerate(value):
                yield from secret_places(item, (*place, index), is_secret)
        case str() if value and (is_secret or _PEM.search(value)):
            yield place


def replaced(value: Any, texts: Mapping[Place, Any], place: Place = ()) -> Any:
    """Return a value with other ones at some places; `place` is where it stands itself."""
    if place in texts:
        return texts[place]
    match value:
        case dict():
            return {key: replaced(item, texts, (*place, key)) for key, item in value.items()}
        case list():
            return [replaced(item, texts, (*place, index)) for index, item in enumerate(value)]
    return value


def without_secrets(value: Any) -> Any:
    """Return a value of the file with `(hidden)` in place of what may be a secret."""
    return replaced(value, dict.fromkeys(secret_places(value), HIDDEN))


def _may_name_secret(key: object, is_header: bool) -> bool:
    if not isinstance(key, str):
        return False
    return key.lower() not in _OPEN_HEADERS if is_header else _SECRET_KEY.search(key) is not None
