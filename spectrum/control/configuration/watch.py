"""Sees that files were changed, however it was: written in place, or renamed over by an editor or a deployment.

It looks once a second. inotify would tell sooner, but not over NFS or of a symbolic link's target, and a second look is
needed anyway: a file is read only when it was the same for two looks, so that half of it is not taken for all.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from spectrum.tasks import in_background, shortage

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# A file that never stops changing holds up the others for so many looks.
MAX_UNSETTLED_LOOKS = 10
# After failures the pause between two looks grows up to this.
MAX_PAUSE_S = 60.0

# Device, inode, times of modification and of change, size. The time of change
# tells what `touch -r` and `rsync -t` hide.
_State = tuple[int, int, int, int, int] | None
States = dict[Path, _State]


class FilesRead:
    """What files were when they were last read, whether or not what stood in them was of use.

    Whoever reads files calls `reading` before, so that what changes while it reads counts as a change.

    Attributes:
        readings: How often that was.
    """

    def __init__(self) -> None:
        self.readings = 0
        self._states: States = {}

    def reading(self, paths: Iterable[Path]) -> None:
        """Note what files are, as they are about to be read; may be called from any thread."""
        self._states.update(_look(paths))
        self.readings += 1

    def keep(self, paths: Iterable[Path]) -> None:
        """Forget all files but these."""
        for path in self._states.keys() - set(paths):
            self._states.pop(path, None)

    def since(self, now: States) -> States:
        """Return those of `now` that are other files than were read.

        A file that was not read before is no change, nor is one that is missing.
        """
        return {path: state for path, state in now.items() if state not in (None, self._states.setdefault(path, state))}

    def missing(self, now: States) -> set[Path]:
        """Return the files that could be read and cannot be found now."""
        return {path for path, state in now.items() if state is None and self._states.get(path) is not None}

    def settle(self, before: States, now: States) -> None:
        """Take changes as read, unless a reader came after `before`."""
        for path, state in now.items():
            if self._states.get(path) == before.get(path):
                self._states[path] = state

    def known(self, paths: Iterable[Path]) -> States:
        """Return what files were when they were read."""
        return {path: self._states.get(path) for path in paths}


class FileWatch:
    """Watches files. No failure ends it: it is logged, and the change is told again later.

    Args:
        paths: Returns the files to be looked at, at each look; links are followed.
        changed: Called, and awaited, with the files that are others than were read, when they stay the same for a
            look.
        every_s: Between two looks.
        files: What the files were when they were read; without it, what they are at the first look.
    """

    def __init__(
        self,
        paths: Callable[[], Iterable[Path]],
        changed: Callable[[list[Path]], Awaitable[object]],
        every_s: float = LOOK_EVERY_S,
        files: FilesRead | None = None,
    ) -> None:
        self._paths = paths
        self._changed = changed
        self._every_s = every_s
        self._files = files or FilesRead()
        self._seen: States = {}
        self._unsettled = 0
        self._missing: set[Path] = set()
        # Changes that were told to a `changed` that failed.
        self._owed: States = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._once()
            except Exception as exc:
                pause_s = min(MAX_PAUSE_S, max(pause_s, self._every_s) * 2)
                lacking = shortage(exc)
                why = f": {lacking}" if lacking else ""
                message = "files that changed could not be taken%s; trying again in %g s"
                log.error(message, why, pause_s, exc_info=not lacking)
            else:
                pause_s = self._every_s

    async def _once(self) -> None:
        # In a thread: a file system that does not answer holds up nothing else.
        readings = self._files.readings
        now = await in_background(lambda: _look(self._paths()))
        if self._files.readings != readings:
            return  # what was seen may be older than what was read since
        self._say_missing(now)
        changes = self._owed | self._files.since(now)
        settled = all(self._seen.get(path) == state for path, state in changes.items())
        self._seen = now
        self._unsettled = 0 if settled else self._unsettled + 1
        if not changes or 0 < self._unsettled < MAX_UNSETTLED_LOOKS:
            return
        self._unsettled = 0
        before = self._files.known(changes)
        self._owed = changes
        await self._changed(sorted(changes))
        self._owed = {}
        self._files.settle(before, changes)

    def _say_missing(self, now: States) -> None:
        """Log files that are gone, once, when they have been for two looks."""
        missing = self._files.missing(now)
        for path in sorted(missing - self._missing):
            if path in self._seen and self._seen[path] is None:
                log.warning("%s is missing or cannot be looked at; what was read of it stays in use", path)
                self._missing.add(path)
        self._missing &= missing


def _look(paths: Iterable[Path]) -> States:
    return {path: _state_of(path) for path in paths}


def _state_of(path: Path) -> _State:
    """What tells one state of a file from another; None while it is missing or cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
