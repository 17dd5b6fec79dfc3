"""Sees that a file was changed, however it was: written in place, or renamed over by an editor or a deployment.

It looks once a second. inotify would tell sooner, but not over NFS or of a symbolic link's target, and a second look is
needed anyway: a file is read only when it was the same for two looks, so that half of it is not taken for all.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

LOOK_EVERY_S = 1.0

_Print = tuple[int, int, int, int] | None


class FileWatch:
    """Watches a file.

    Args:
        path: The file; links are followed.
        changed: Called, and awaited, when it is another one and stays the same for a look.
        every_s: Between two looks.
    """

    def __init__(self, path: Path, changed: Callable[[], Awaitable[object]], every_s: float = LOOK_EVERY_S) -> None:
        self._path = path
        self._changed = changed
        self._every_s = every_s

    async def run(self) -> None:
        """Watch until cancelled."""
        known = seen = self._look()
        while True:
            await asyncio.sleep(self._every_s)
            now = self._look()
            if now is not None and now == seen != known:
                known = now
                await self._changed()
            seen = now

    def _look(self) -> _Print:
        """What tells one state of the file from another; None while there is none."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
