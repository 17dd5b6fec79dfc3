"""The supervisor's part of the API: questions over the link, for the catalogue and the routes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from spectrum.api.catalogue import NotLive, ObjectFault
from spectrum.api.steps import Steps
from spectrum.link.api import ASK_TIMEOUT_S, ApiClient, LinkLost
from spectrum.store.objects import ObjectChange

# Each part of a rollout has its own deadline. Before it is over, the result is unknown.
CHANGE_TIMEOUT_S = 600.0
# Status of a resource for invalid values in a request.
UNPROCESSABLE = 422


class ValueRefused(NotLive):
    """The daemon refused a value of a request; the message says which values are valid."""


class DaemonLink:
    """Asks the supervisor.

    Args:
        client: The API's end of the link.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def change(
        self, groups: Sequence[tuple[str, Sequence[ObjectChange]]], steps: Steps | None = None
    ) -> list[list[ObjectFault]]:
        """Check and serve changes; return the faults of each group: a group without faults is live.

        Args:
            groups: The author of each group, and its changes.
            steps: Collects the duration of each step.

        Raises:
            NotLive: If nothing was tried, or the result is unknown.
        """
        body = _body(groups)
        began_ns = time.time_ns()
        more = {} if steps is None else {"trace": True}
        answer = await self.ask("POST", "/changes", body=body | more, timeout_s=CHANGE_TIMEOUT_S)
        if steps is not None:
            steps.add(map(tuple, answer["steps"]))
            steps.note("roll out", began_ns)
        if busy := answer.get("busy"):
            raise NotLive(str(busy), is_for_now=True)
        return _faults(answer)

    async def check(self, groups: Sequence[tuple[str, Sequence[ObjectChange]]]) -> list[list[ObjectFault]]:
        """Return the faults that `change` would return; nothing is changed.

        Raises:
            NotLive: If the supervisor does not answer.
        """
        return _faults(await self.ask("POST", "/changes", body=_body(groups) | {"check": True}))

    async def objects(self) -> dict[str, Any]:
        """Return the file's objects: `{"path": ..., "file": {section: {name: value}}, "set_aside": [...]}`."""
        answer: dict[str, Any] = await self.ask("GET", "/objects")
        return answer

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Any:
        """Return the answer of a resource of the control socket.

        Raises:
            ValueRefused: If the supervisor refuses a value.
            NotLive: If it does not answer.
        """
        try:
            status, answer = await self._client.ask(method, path, query or {}, body, timeout_s)
        except LinkLost as exc:
            raise NotLive(str(exc), is_for_now=True, is_unknown=True) from exc
        if status != 200:
            errors = answer.get("errors") if isinstance(answer, dict) else None
            kind = ValueRefused if status == UNPROCESSABLE else NotLive
            raise kind("; ".join(errors or [f"the daemon answers {method} {path} with status {status}"]))
        return answer


def _body(groups: Sequence[tuple[str, Sequence[ObjectChange]]]) -> dict[str, Any]:
    return {"groups": [{"by": by, "objects": [_shown(change) for change in group]} for by, group in groups]}


def _faults(answer: Mapping[str, Any]) -> list[list[ObjectFault]]:
    return [
        [ObjectFault(tuple(fault["place"]), fault["message"], fault.get("taken_by", "")) for fault in some]
        for some in answer["faults"]
    ]


def _shown(change: ObjectChange) -> dict[str, Any]:
    return {"section": change.section, "name": change.name, "value": change.value}
