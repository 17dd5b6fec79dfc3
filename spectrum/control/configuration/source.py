"""Sources of configurations: a file, or a program. The rest of the daemon depends on `Source` only."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from spectrum.control.configuration.actor import ConfigDifference, RolloutError
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
    """The result would be what is served already, or no part of it can be served."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A configuration as a source has it.

    Attributes:
        config: The configuration; None if it has faults.
        faults: A line for each reason why it cannot be served.
        files: The files that it was read from, and those that it names.
        rereads: The files that it names are to be read again, even if it is served already.
        since: The configuration that it was derived from, and the objects that may differ, if known.
    """

    config: Config | None
    faults: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    rereads: bool = True
    since: ConfigDifference | None = None


# Reads the source again, or with False only the files that its last revision names; returns whether that is served.
Reload = Callable[[bool], Awaitable[bool]]


class Source(Protocol):
    """A source of revisions.

    Attributes:
        name: Its name in messages.
        path: The file that is read, as the daemon's user; None if there is none.
    """

    name: str
    path: Path | None

    def read(self) -> Revision:
        """Return the latest revision. It may block: call it in a thread."""
        ...

    def reading(self, paths: Iterable[Path]) -> None:
        """Note the state of the files that a revision names, which are about to be read; any thread may call it.

        Raises:
            RolloutError: If one cannot be read.
        """
        ...

    def search(self, config: Config) -> None:
        """Search for the files that a configuration names, before `took`. The search goes over all apps: call it in a
        thread.
        """
        ...

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """Note what is served; return a line for each changed file that the configuration names.

        Args:
            config: What is served.
            was_read: It came from `read`, otherwise it was served before.
            names_same: It names the files that were served before, and they were not read again.
        """
        ...

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Serve each new revision, until cancelled."""
        ...


class FileSource:
    """A file, and the files that it names.

    Args:
        path: The file; `-` for standard input, which is read once.
        watches: Whether a change of the file is a new revision, not only a request. Files that it names are watched in
            either case.
        files: The state of the files when `config` was read.
        every_s: How often files are looked at.
        known: The objects that were read with `config`.
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
        # Files named by a configuration that is not served: it is being read, or was refused.
        self._tried: list[Path] = []
        # The state of the files that the served configuration was read from.
        self._served_files: States = {}
        # The files that the configuration names that is served, and that may be next: they are asked for at each look,
        # and the search goes over all apps.
        self._named: tuple[Config, list[Path]] | None = None
        self._next: tuple[Config, list[Path]] | None = None

    def read(self) -> Revision:
        """Read the file. Files that it names are watched until it is served, so that a refused file is tried again."""
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
        """Note the state of files that are about to be read.

        Raises:
            RolloutError: If one is a pipe: it may have been read already, or never be written to.
        """
        paths = list(paths)
        self._files.reading(paths)
        for path in paths:
            with suppress(OSError):  # The reader of the file reports it.
                if path.is_fifo():
                    raise RolloutError(f"{path}: it is a pipe, which cannot be read again; write a file")

    def search(self, config: Config) -> None:
        """Search for the files that a configuration names."""
        self._next = config, named_files(config)

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """Note what is served; return a line for each file that it names and that changed."""
        if names_same and self._named is not None:
            self._named = config, self._named[1]
        elif self._next is not None and self._next[0] is config:
            self._named = self._next
        self._next = None
        if names_same and not was_read:
            return []
        if was_read:
            self._tried = []
        named = self._named_by(config)
        self._files.keep([*self.own_files(), *named, *self._tried])
        served, self._served_files = self._served_files, self._files.known(named)
        return [
            f"changed file {path}"
            for path, state in self._served_files.items()
            if path in served and served[path] != state
        ]

    def _named_by(self, config: Config) -> list[Path]:
        named = self._named
        if named is None or named[0] is not config:
            self._named = named = config, named_files(config)
        return named[1]

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Read changed files again; a file with faults changes nothing."""

        def watched() -> list[Path]:
            own = self.own_files() if self._watches else []
            return [*own, *self._named_by(served()), *self._tried]

        async def changed(paths: list[Path]) -> None:
            log.info("changed: %s", ", ".join(map(str, paths)))
            named = set(self._named_by(served()))
            if not named.issuperset(paths) and await reload(True):
                return
            # A renewed certificate is read even if the file is refused.
            if not named.isdisjoint(paths):
                await reload(False)

        await FileWatch(watched, changed, self._every_s, self._files).run()


class ObjectSource:
    """Values of a program, with the types of YAML. They do not change.

    Args:
        name: Its name in messages.
        values: The whole configuration.
        explain: Translates a fault into the terms of the program.
    """

    path: Path | None = None

    def __init__(self, name: str, values: Mapping[str, Any], explain: Callable[[Fault], str]) -> None:
        self.name = name
        self._values = dict(values)
        self._explain = explain
        self._known = KnownObjects()

    def read(self) -> Revision:
        """Return the same values, checked against this machine's current state."""
        config, faults = load_objects(self._values, local_addresses(), known=self._known)
        if faults:
            return Revision(None, tuple(dict.fromkeys(map(self._explain, faults))))
        return Revision(config)

    def reading(self, paths: Iterable[Path]) -> None:
        """Look at no files."""

    def search(self, config: Config) -> None:
        """It names no files that change."""

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """It names no files that change."""
        return []

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Wait: there is no new revision."""
        await asyncio.Event().wait()
