"""Where configurations come from: a file, or a program. The rest of the daemon knows no more than `Source`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.loader import KnownObjects, load_file, load_objects
from spectrum.control.configuration.machine import named_files
from spectrum.control.configuration.texts import STANDARD_INPUT, name_of_file
from spectrum.control.configuration.watch import LOOK_EVERY_S, FilesRead, FileWatch, States
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.kernel.sockets import local_addresses

log = logging.getLogger(__name__)


class NothingNew(Exception):
    """What would be served is served already, or nothing of it can be."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a source wants to be served.

    Attributes:
        config: The configuration; None where there are faults.
        faults: A line for each reason why it cannot be served.
        files: Those that it came from, and those that it names.
        rereads: What it names is to be read again, where it is served already, too.
    """

    config: Config | None
    faults: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    rereads: bool = True


# Reads the source again, or with False only what its last revision names; tells whether that is served.
Reload = Callable[[bool], Awaitable[bool]]


class Source(Protocol):
    """Something that gives revisions.

    Attributes:
        name: What people call it.
        path: The file that is read, as the daemon's user; None where there is none.
    """

    name: str
    path: Path | None

    def read(self) -> Revision:
        """Return the latest revision. It may block: use a thread."""
        ...

    def reading(self, paths: Iterable[Path]) -> None:
        """Note the files that a revision names, as they are about to be read; may be called from any thread.

        Raises:
            RolloutError: If one cannot be read.
        """
        ...

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """Note what is served; return a line for each change to what the configuration names.

        Args:
            config: What is served.
            was_read: It came from `read`, otherwise it was served before.
            names_same: It names the files that were served before, and they were not read again.
        """
        ...

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Have each new revision served, until cancelled."""
        ...


class FileSource:
    """A file, and the files that it names.

    Args:
        path: The file; `-` for standard input, which is read once.
        watches: A new revision is there when the file changes, not only when it is asked for. What the file names is
            watched in either case.
        files: What the files were when `config` was read from them.
        every_s: How often files are looked at.
        known: What was read when `config` was.
    """

    def __init__(
        self,
        path: Path,
        watches: bool = False,
        files: FilesRead | None = None,
        every_s: float = LOOK_EVERY_S,
        known: KnownObjects | None = None,
    ) -> None:
        is_file = path != STANDARD_INPUT
        self.name = str(path.absolute()) if is_file else name_of_file(path)
        self.path: Path | None = path if is_file else None
        self._path = path
        self._own = (path,) if is_file else ()
        self._watches = watches and is_file
        self._files = files or FilesRead()
        self._every_s = every_s
        self._known = known or KnownObjects()
        # What a file names that is not served: it is being read, or was refused.
        self._tried: list[Path] = []
        # What the files were from which came what is served.
        self._served_files: States = {}

    def read(self) -> Revision:
        """Read the file. What it names is watched until it is served, so that a refused file is tried again."""
        if self.path is None:
            return Revision(None, (f"{self.name}: it cannot be read again; give the daemon a file to reload",))
        read: list[Path] = []

        def reading(paths: Iterable[Path]) -> None:
            read.extend(paths)
            self.reading(paths)

        try:
            return Revision(load_file(self._path, reading, self._known), files=tuple(read))
        except ConfigError as exc:
            return Revision(None, tuple(map(str, exc.diagnostics)), tuple(read))
        except RolloutError as exc:
            return Revision(None, (str(exc),), tuple(read))
        finally:
            self._tried = read[1:] if self._watches else []

    def own_files(self) -> list[Path]:
        """Return the file and those that it includes, with the folders of its patterns; nothing for standard input."""
        return [*self._own, *self._known.included]

    def reading(self, paths: Iterable[Path]) -> None:
        """Note what files are, as they are about to be read.

        Raises:
            RolloutError: If one is a pipe: it may have been read already, or never be written to.
        """
        paths = list(paths)
        self._files.reading(paths)
        for path in paths:
            with suppress(OSError):  # whoever reads it tells
                if path.is_fifo():
                    raise RolloutError(f"{path}: it is a pipe, which cannot be read again; write a file")

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """Note what is served; return a line for each file that it names and that is another one than before."""
        if names_same:
            return []
        if was_read:
            self._tried = []
        named = named_files(config)
        self._files.keep([*self.own_files(), *named, *self._tried])
        served, self._served_files = self._served_files, self._files.known(named)
        return [
            f"changed file {path}"
            for path, state in self._served_files.items()
            if path in served and served[path] != state
        ]

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Have files read again that have changed; those with faults change nothing."""

        def watched() -> list[Path]:
            own = self.own_files() if self._watches else []
            return [*own, *named_files(served()), *self._tried]

        async def changed(paths: list[Path]) -> None:
            log.info("changed: %s", ", ".join(map(str, paths)))
            named = set(named_files(served()))
            if not named.issuperset(paths) and await reload(True):
                return
            # A certificate is renewed beside a file that is refused, too.
            if not named.isdisjoint(paths):
                await reload(False)

        await FileWatch(watched, changed, self._every_s, self._files).run()


class ObjectSource:
    """Values that a program puts together, as YAML has them. Nothing of them changes by itself.

    Args:
        name: What people call it.
        values: The whole configuration.
        explain: Returns what a fault is called where the values come from.
    """

    path: Path | None = None

    def __init__(self, name: str, values: Mapping[str, Any], explain: Callable[[Fault], str]) -> None:
        self.name = name
        self._values = dict(values)
        self._explain = explain
        self._known = KnownObjects()

    def read(self) -> Revision:
        """Return the same again, checked against what this machine has now."""
        config, faults = load_objects(self._values, local_addresses(), known=self._known)
        if faults:
            return Revision(None, tuple(dict.fromkeys(map(self._explain, faults))))
        return Revision(config)

    def reading(self, paths: Iterable[Path]) -> None:
        """Look at no files."""

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """Nothing that is named changes."""
        return []

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Wait: there is no new revision."""
        await asyncio.Event().wait()
