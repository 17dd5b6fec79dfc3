"""Apps paused by an operator, until that is undone; a file keeps pauses over reloads, upgrades and restarts."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Replan, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.state_file import read_state, since_text, write_state
from spectrum.core.pauses import Pause, PausedApps
from spectrum.core.snapshot import Snapshot

log = logging.getLogger(__name__)


class PausesActor(Actor):
    """Pauses apps, and resumes them.

    A name that leaves the file keeps its pause: an app that comes back by the same name is paused.

    Args:
        path: The file that keeps the pauses.
        served: What is served.
        replan: Sends pauses to workers.
    """

    def __init__(self, path: Path, served: Served, replan: Replan) -> None:
        self._path = path
        self._served = served
        self._replan = replan
        # None until the file has been read.
        self._pauses: dict[str, Pause] | None = None
        self._paused = PausedApps()

    def compile(self, snapshot: Snapshot) -> Snapshot:
        """Mark paused apps.

        Raises:
            RolloutError: If the file cannot be read: paused apps must not be served silently.
        """
        if self._pauses is None:
            self._pauses = read_state(self._path, _DECODER, "apps are paused")
            for name, pause in self._pauses.items():
                log.warning("app %s is paused %s", name, _told(pause))
        return self._paused.mark(snapshot, self._pauses)

    def _known(self) -> dict[str, Pause]:
        return self._pauses or {}

    async def status(self) -> Mapping[str, Any]:
        """Return the paused apps, since when, and by whom."""
        names = {app.name for app in self._served.snapshot.apps} if self._pauses else set()
        return {
            "paused": [
                {"app": name, "since": since_text(pause.since), "uid": pause.uid, "in_file": name in names}
                for name, pause in sorted(self._known().items())
            ]
        }

    async def metrics(self) -> Iterable[Metric]:
        """Return a series for each app that is paused."""
        paused = GaugeMetricFamily("spectrum_app_paused", "1 while an app is paused", labels=["app"])
        for name in sorted(self._known()):
            paused.add_metric([name], 1)
        return (paused,)

    def resources(self) -> Iterable[Resource]:
        """POST /apps/pause and /apps/resume, with the name of an app."""
        return Resource("POST", "/apps/pause", self._pause), Resource("POST", "/apps/resume", self._resume)

    async def _pause(self, asked: ResourceRequest) -> dict[str, Any]:
        name = asked.query.get("app", "")
        if pause := self._known().get(name):
            return {"changed": False, "message": f"app {name} is paused already, {_told(pause)}"}
        await self._check(name)
        pause = Pause(time.time(), asked.uid)
        await self._change(self._known() | {name: pause})
        log.warning("app %s is paused by uid %d: new sessions are refused until it is resumed", name, asked.uid)
        return {
            "changed": True,
            "message": f"app {name} is paused: new sessions are refused, open ones continue",
        }

    async def _resume(self, asked: ResourceRequest) -> dict[str, Any]:
        name = asked.query.get("app", "")
        if name not in self._known():
            await self._check(name)
            return {"changed": False, "message": f"app {name} is not paused"}
        await self._change({other: pause for other, pause in self._known().items() if other != name})
        log.warning("app %s is resumed by uid %d", name, asked.uid)
        return {"changed": True, "message": f"app {name} is resumed"}

    async def _check(self, name: str) -> None:
        """Raise ValueError for a name that is not an app's."""
        names = [app.name for app in self._served.snapshot.apps]
        if name not in names:
            near = await asyncio.to_thread(get_close_matches, name, names)
            hint = f"did you mean {' or '.join(near)}?" if near else "`spectrum status` shows all apps"
            raise ValueError(f'there is no app "{name}"; {hint}')

    async def _change(self, pauses: dict[str, Pause]) -> None:
        """Replace the pauses, in workers and in the file, or raise ValueError."""
        before = self._known()
        if faults := await self._replan(partial(self._keep, pauses), partial(self._put_back, before)):
            raise ValueError("\n".join(faults))

    def _keep(self, pauses: dict[str, Pause]) -> None:
        """Use other pauses from now on.

        Raises:
            RolloutError: If they cannot be written.
        """
        try:
            write_state(self._path, pauses)
        except OSError as exc:
            why = (exc.strerror or str(exc)).lower()
            raise RolloutError(f"it cannot be kept: {self._path}: {why}; nothing has changed") from exc
        self._pauses = pauses

    def _put_back(self, pauses: dict[str, Pause]) -> None:
        self._pauses = pauses
        try:
            write_state(self._path, pauses)
        except OSError as exc:
            log.error("%s has pauses that were refused: %s", self._path, exc)


_DECODER = msgspec.json.Decoder(dict[str, Pause])


def _told(pause: Pause) -> str:
    return f"since {since_text(pause.since)}, by uid {pause.uid}"
