"""Sees that files were changed, however it was: written in place, or renamed over by an editor or a deployment.

It looks once a second. inotify would tell sooner, but not over NFS or of a symbolic link's target, and a second look is
needed anyway: a file is read only when it was the same for two looks, so that half of it is not taken for all.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

LOOK_EVERY_S = 1.0

_Print = tuple[int, int, int, int] | None


class FileWatch:
    """Watches files.

    Args:
        paths: Returns the files to be looked at, at each look; links are followed.
        changed: Called, and awaited, when any is another one and all stay the same for a look. A file that was not
            looked at before is no change, nor is one that is missing.
        every_s: Between two looks.
    """

    def __init__(
        self,
        paths: Callable[[], Iterable[Path]],
        changed: Callable[[], Awaitable[object]],
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._paths = paths
        self._changed = changed
        self._every_s = every_s

    async def run(self) -> None:
        """Watch until cancelled."""
        known = seen = self._look()
        while True:
            await asyncio.sleep(self._every_s)
            now = self._look()
            known = {path: known.get(path, state) for path, state in now.items()}
            if now == seen and any(state not in (None, known[path]) for path, state in now.items()):
                known = {path: state or known[path] for path, state in now.items()}
                await self._changed()
            seen = now

    def _look(self) -> dict[Path, _Print]:
        return {path: _print_of(path) for path in self._paths()}


def _print_of(path: Path) -> _Print:
    """What tells one state of a file from another; None while there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
