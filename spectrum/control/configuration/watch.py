"""Detects changes of files, whether written in place or replaced by rename. It polls once a second. inotify would be
faster, but does not work over NFS or for the target of a symbolic link, and a second look is needed anyway: a file is
read only after it was the same for two looks, so that a half-written file is not read.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from spectrum.tasks import in_background, shortage

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# A file that never stops changing delays the others for this number of looks.
MAX_UNSETTLED_LOOKS = 10
# After failures the pause between two looks grows up to this.
MAX_PAUSE_S = 60.0

# Device, inode, times of modification and of change, size. The time of change
# tells what `touch -r` and `rsync -t` hide.
_State = tuple[int, int, int, int, int] | None
States = dict[Path, _State]


class FilesRead:
    """The state of files when they were last read, whether or not their content was accepted.

    Readers of files call `reading` first, so that a change during the read counts as a change.

    Attributes:
        readings: The number of calls of `reading`.
    """

    def __init__(self) -> None:
        self.readings = 0
        self._states: States = {}

    def reading(self, paths: Iterable[Path]) -> None:
        """Note the state of files that are about to be read; any thread may call it."""
        self._states.update(_look(paths))
        self.readings += 1

    def keep(self, paths: Iterable[Path]) -> None:
        """Forget all other files."""
        for path in self._states.keys() - set(paths):
            self._states.pop(path, None)

    def since(self, now: States) -> States:
        """Return those of `now` whose state differs from when they were read. A file that was not read before, or is
        missing, is not a change.

        A file that was not read before is no change, nor is one that is missing.
        """
        return {path: state for path, state in now.items() if state not in (None, self._states.setdefault(path, state))}

    def missing(self, now: States) -> set[Path]:
        """Return the files that were read and are missing now."""
        return {path for path, state in now.items() if state is None and self._states.get(path) is not None}

    def settle(self, before: States, now: States) -> None:
        """Mark changes as read, unless files were read after `before`."""
        for path, state in now.items():
            if self._states.get(path) == before.get(path):
                self._states[path] = state

    def known(self, paths: Iterable[Path]) -> States:
        """Return the state of files when they were read."""
        return {path: self._states.get(path) for path in paths}


class FileWatch:
    """Watches files. A failure is logged, and the change is reported again later.

    Args:
        paths: Returns the files to be looked at, at each look; links are followed.
        changed: Called, and awaited, with changed files, after they stayed the same for a look.
        every_s: Between two looks.
        files: The state of the files when they were read; by default at the first look.
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
        # Changes that were passed to a `changed` that failed.
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
        # In a thread: a file system that does not answer blocks nothing else.
        readings = self._files.readings
        now = await in_background(lambda: _look(self._paths()))
        if self._files.readings != readings:
            return  # What was seen may be older than what was read since.
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
        """Log missing files once, after they have been missing for two looks."""
        missing = self._files.missing(now)
        for path in sorted(missing - self._missing):
            if path in self._seen and self._seen[path] is None:
                log.warning("%s is missing or cannot be looked at; its last content stays in use", path)
                self._missing.add(path)
        self._missing &= missing


def _look(paths: Iterable[Path]) -> States:
    return {path: _state_of(path) for path in paths}


def _state_of(path: Path) -> _State:
    """Return what distinguishes states of a file; None while it is missing or cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # A ValueError is a zero byte in the name.
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
