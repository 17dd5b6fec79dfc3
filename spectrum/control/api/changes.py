"""Changes by the API: groups of objects, each applied as a whole or not at all, all in one rollout if possible."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from spectrum.control.configuration.joined import JoinedSource, StoredChange
from spectrum.control.configuration.reload import ServingAttempt
from spectrum.control.configuration.rollout import Step
from spectrum.control.configuration.source import NothingNew, Revision
from spectrum.core.configuration.events import Occasion
from spectrum.core.configuration.faults import Fault
from spectrum.tasks import in_background

log = logging.getLogger(__name__)

# Objects that the log lists of a group that changes thousands; the API's own audit log has all.
MAX_LOGGED = 20

# Serves the configuration that the function returns, on all workers or on none.
Serve = Callable[[Callable[[], Revision]], Awaitable[ServingAttempt]]


# Records the source of a change, the generation that is served, who made it, and a line for each object.
RecordChange = Callable[[Occasion, int, str, Sequence[str]], None]


class ChangedObject(msgspec.Struct, frozen=True):
    """An object as it is to become; without a value it is removed."""

    section: str
    name: str
    value: dict[str, Any] | None


class ChangeGroup(msgspec.Struct, frozen=True):
    """Changes that belong together, and who makes them."""

    objects: list[ChangedObject]
    by: str = ""


class _Changes(msgspec.Struct, frozen=True):
    groups: list[ChangeGroup]
    # Whether the answer has the time that each step took.
    trace: bool = False
    # Whether the groups are only checked, each by itself.
    check: bool = False


class ObjectChanges:
    """Carries out changes.

    Args:
        source: Holds the objects.
        serve: Serves a configuration.
        busy_with: Returns why nothing can be changed now.
        generation: Returns the generation that is served.
        record: Records a change: its generation, who made it, and a line for each object.
    """

    def __init__(
        self,
        source: JoinedSource,
        serve: Serve,
        busy_with: Callable[[], str],
        generation: Callable[[], int],
        record: RecordChange,
    ) -> None:
        self._source = source
        self._serve = serve
        self._busy_with = busy_with
        self._generation = generation
        self._record = record

    async def answer(self, body: bytes) -> dict[str, Any]:
        """Carry out or check a request; return the faults of each group, none for a group that can be served.

        Raises:
            ValueError: If the request is malformed.
        """
        asked, steps = _DECODER.decode(body), list[Step]()
        if asked.check:
            checked = await in_background(self._source.check, [_stored(group) for group in asked.groups])
            return {"generation": self._generation(), "busy": "", "faults": _shown(checked)}
        faults = self._busy_with() or await self._carry_out(asked.groups, steps)
        more = {"steps": steps} if asked.trace else {}
        if isinstance(faults, str):
            return {"generation": self._generation(), "busy": faults, "faults": [[] for _ in asked.groups], **more}
        for group, found in zip(asked.groups, faults, strict=True):
            _tell(group, found)
            if not found:
                lines = [
                    f"{'set' if one.value is not None else 'removed'} {one.section}.{one.name}" for one in group.objects
                ]
                self._record("configurationChanged", self._generation(), group.by, lines)
        return {"generation": self._generation(), "busy": "", "faults": _shown(faults), **more}

    async def _carry_out(self, groups: Sequence[ChangeGroup], steps: list[Step]) -> list[list[Fault]] | str:
        """Return the faults of each group, or why nothing can be changed now. Slow steps are added to `steps`."""
        attempt, faults = await self._attempt(groups)
        steps += attempt.steps
        if attempt.busy:
            return attempt.busy
        good = [number for number, found in enumerate(faults) if not found]
        if attempt.errors and len(good) > 1:
            for number in good:
                alone = await self._carry_out([groups[number]], steps)
                faults[number] = [Fault((), alone)] if isinstance(alone, str) else alone[0]
        elif attempt.errors:
            for number in good:
                faults[number] = [*attempt.faults] or [Fault((), error) for error in attempt.errors]
        return faults

    async def _attempt(self, groups: Sequence[ChangeGroup]) -> tuple[ServingAttempt, list[list[Fault]]]:
        """Serve those groups that fit in one rollout; return its outcome, and the faults of each group."""
        faults: list[list[Fault]] = []

        def propose() -> Revision:
            faults.clear()
            revision, found = self._source.propose([_stored(group) for group in groups])
            faults.extend(found)
            return revision

        try:
            attempt = await self._serve(propose)
        except NothingNew as exc:
            return ServingAttempt(), exc.args[0]
        return attempt, faults or [[] for _ in groups]


_DECODER = msgspec.json.Decoder(_Changes)


def _shown(faults: Sequence[Sequence[Fault]]) -> list[list[dict[str, Any]]]:
    return [list(map(_shown_fault, some)) for some in faults]


def _shown_fault(fault: Fault) -> dict[str, Any]:
    shown: dict[str, Any] = {"place": list(fault.path), "message": fault.message}
    return shown | {"taken_by": fault.taken_by} if fault.taken_by else shown


def _stored(group: ChangeGroup) -> list[StoredChange]:
    return [StoredChange(one.section, one.name, one.value) for one in group.objects]


def _tell(group: ChangeGroup, faults: Sequence[Fault]) -> None:
    """Log who made a change, or why it was refused."""
    objects = [f"{'removed ' if one.value is None else ''}{one.section}.{one.name}" for one in group.objects]
    more = f" and {len(objects) - MAX_LOGGED} more" if len(objects) > MAX_LOGGED else ""
    what, who = ", ".join(objects[:MAX_LOGGED]) + more, group.by or "the API"
    if faults:
        first = faults[0]
        place = ".".join(map(str, first.path))
        log.info("refused to %s: %s: %s", who, what, f"{place}: {first.message}" if place else first.message)
    else:
        log.info("changed by %s: %s", who, what)
