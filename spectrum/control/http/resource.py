"""The resources of features on the control socket. They are independent of HTTP; `admin.py` serves them. The process of
the control API uses the same resources, over its link.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from spectrum.link.encoding import encode

OK, NOT_FOUND, UNPROCESSABLE = 200, 404, 422


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """A request.

    Attributes:
        query: Its parameters.
        body: Its decoded body; None if the resource takes none.
        uid: The user id of the client; -1 if unknown.
    """

    query: Mapping[str, str]
    body: Any = None
    uid: int = -1


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a feature.

    Attributes:
        method: The HTTP method.
        path: The path.
        answer: Returns the value that is sent as JSON. A ValueError means a wrong request: its message has a line for
            each reason.
        has_body: Whether requests have a body of JSON.
    """

    method: str
    path: str
    answer: Callable[[ResourceRequest], Awaitable[Any]]
    has_body: bool = False


async def answered(resource: Resource, query: Mapping[str, str], data: bytes, uid: int) -> tuple[int, Any]:
    """Return the status and the content of the answer to a request.

    Args:
        resource: The resource.
        query: Its parameters.
        data: The body, not decoded.
        uid: The user id of the client.
    """
    try:
        body = msgspec.json.decode(data) if resource.has_body else None
        return OK, await resource.answer(ResourceRequest(query, body, uid))
    except ValueError as exc:
        return UNPROCESSABLE, {"errors": str(exc).splitlines() or [type(exc).__name__]}


class ResourceTable:
    """All resources, for requests over a link.

    Args:
        resources: All of them.
        uid: The user id of the client.
    """

    def __init__(self, resources: Iterable[Resource], uid: int) -> None:
        self._known = {(one.method, one.path): one for one in resources}
        self._uid = uid

    async def answer(self, method: str, path: str, query: Mapping[str, str], data: bytes) -> tuple[int, bytes]:
        """Return the status and the body, as JSON, of the answer to a request."""
        resource = self._known.get((method, path))
        if resource is None:
            status, content = NOT_FOUND, {"errors": [f"there is no {method} {path}"]}
        else:
            status, content = await answered(resource, query, data, self._uid)
        return status, encode(msgspec.json.Encoder(), content)
