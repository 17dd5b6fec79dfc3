"""What a feature answers on the control socket. It knows nothing of HTTP; `admin.py` serves it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        query: Its parameters.
        body: Its decoded body; None where the resource takes none.
        uid: The user who asks; -1 where the kernel does not tell.
    """

    query: Mapping[str, str]
    body: Any = None
    uid: int = -1


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource.

    Attributes:
        method: Of HTTP.
        path: Of the resource.
        answer: Returns what is sent as JSON. A ValueError is a wrong request: its message has a line for each reason.
        has_body: Requests bring JSON.
    """

    method: str
    path: str
    answer: Callable[[Asked], Awaitable[Any]]
    has_body: bool = False
