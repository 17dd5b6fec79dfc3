"""The audit log: who changed what, from which address. Possible secrets are never written into it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

HIDDEN = "(hidden)"
# Keys whose values are, or may be, secrets.
_SECRET_KEY = re.compile(r"(?:^|_)(?:secret|password|passphrase|token|tsig_key|private_key|sealed_key)$")
# Keys of public values: certificates.
_PEM = re.compile("-----BEGIN (?!CERTIFICATE-----)")
# Headers without secrets; others may contain credentials.
_OPEN_HEADERS = frozenset({"host", "user-agent", "connection", "accept", "accept-encoding", "accept-language"})

# Unchanged entries of a list that are written beside changed ones.
MAX_UNCHANGED = 20
Place = tuple[str | int, ...]
Value = dict[str, Any]
ActorKind = Literal["token", "local", "system", "unknown"]


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a change.

    Attributes:
        kind: A token of the API, a user of this machine, the program itself, or an unauthenticated client.
        id: The token's id, or the user's number; empty for an unauthenticated client, as the name.
        name: The token's name, or the user's.
        address: The client's address; empty for a user of this machine.
        user_agent: The client's User-Agent.
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
        author: The author.
        action: create, update, delete, or another verb such as roll.
        section: The kind of object; also `tokens`.
        object_id: The object's id.
        name: Its name at that time.
        before: Its value before; None for a new object.
        after: Its value after; None for a deleted object.
        account: The id of its account.
        zone: The id of its zone; empty for none.
        is_done: Whether the change was carried out.
        method: The method of the HTTP request.
        path: The path of the HTTP request.
        status: The status of the HTTP answer.
        request_id: The request's id in the headers of the answer.
        id: 32 hex digits; made when it is written.
        number: Its position in the log; set when it is written, as `at`.
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
    """A selection of lines; attributes that are None or empty match all.

    Attributes:
        since: At or after this time.
        before: Before this time.
        accounts: Of these accounts. An empty tuple: of none.
        zones: Of these zones; with `accounts`: of either.
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
    """Return a value before and after a change, without unchanged entries of long lists, which change entry by entry.

    In place of these entries is a text with their number.
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
    """Yield the places of possible secrets in a value of the file.

    Args:
        value: The value.
        place: Its own place.
        is_secret: Whether every text in it may be a secret.
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
    """Return a value with some places replaced; `place` is its own place."""
    if place in texts:
        return texts[place]
    match value:
        case dict():
            return {key: replaced(item, texts, (*place, key)) for key, item in value.items()}
        case list():
            return [replaced(item, texts, (*place, index)) for index, item in enumerate(value)]
    return value


def without_secrets(value: Any) -> Any:
    """Return a value of the file with `(hidden)` in place of possible secrets."""
    return replaced(value, dict.fromkeys(secret_places(value), HIDDEN))


def _may_name_secret(key: object, is_header: bool) -> bool:
    if not isinstance(key, str):
        return False
    return key.lower() not in _OPEN_HEADERS if is_header else _SECRET_KEY.search(key) is not None
