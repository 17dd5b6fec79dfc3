"""Snapshots in a worker: each is served, or refused with the reason."""

import logging
import os
from collections import ChainMap
from collections.abc import Iterable, Mapping

from spectrum.core.difference import ServedApps
from spectrum.core.life.service import ServiceEvent, ServiceLife
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot
from spectrum.garbage import freezing
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.sockets import descriptor_limit, open_descriptors
from spectrum.link.messages import Applied, Configure, Refused
from spectrum.link.snapshots import decode_difference, read_snapshot
from spectrum.plane.outbox import Outbox
from spectrum.plane.processes.link import Link
from spectrum.plane.processes.planes import Planes

log = logging.getLogger(__name__)


class SnapshotError(Exception):
    """A snapshot cannot be served; the message says why."""


class Generations:
    """Applies snapshots to the planes.

    Args:
        link: Sends the answers.
        life: The worker's state, which decides whether snapshots are served.
        planes: The planes.
        outbox: Keeps records for the journal, if a snapshot says that there is one.

    Attributes:
        descriptors: The descriptors of the listeners that are served.
    """

    def __init__(self, link: Link, life: ServiceLife, planes: Planes, outbox: Outbox) -> None:
        self._link = link
        self._life = life
        self._planes = planes
        self._outbox = outbox
        self.descriptors: dict[ListenerKey, int] = {}
        # Descriptors that come with the next snapshot, and how many of them were lost.
        self._fresh: dict[ListenerKey, int] = {}
        self._fresh_lost = 0
        # The snapshot that is served, and the memory file of its access rules.
        self._served: tuple[ServedApps, int] | None = None

    def take_sockets(self, keys: list[ListenerKey], descriptors: list[int]) -> None:
        """Keep listening sockets for the next snapshot."""
        if len(keys) != len(descriptors):
            close_all(descriptors)
            self._fresh_lost += len(keys)
            return
        close_all(self._fresh.pop(key) for key in keys if key in self._fresh)  # Those of a snapshot that never came.
        self._fresh.update(zip(keys, descriptors, strict=True))

    def configure(self, told: Configure, files: list[int]) -> None:
        """Serve a snapshot, or a difference; if that fails, report it and continue with the former one.

        Args:
            told: The snapshot's message.
            files: The memory files that came with it.
        """
        with freezing():
            self._planes.breath.begin()
            self._configure(told, files)

    def _configure(self, told: Configure, files: list[int]) -> None:
        fresh, lost, generation = self._fresh, self._fresh_lost, told.generation
        self._fresh, self._fresh_lost = {}, 0
        try:
            if not self._life.takes_snapshots:
                raise SnapshotError(f"it is {self._life.state.value}")
            if lost or len(files) != (1 if told.before else 2):
                raise SnapshotError(f"out of descriptors: {open_descriptors()} of {descriptor_limit()} are open")
            serve = self._serve_difference if told.before else self._serve_snapshot
            served, access, unused = serve(told, files, fresh)
        except Exception as exc:  # Any exception: the supervisor waits for an answer.
            close_all(files)  # Going back needs a descriptor, which may be the last one.
            serves = self._go_on(generation, exc)
            close_all(fresh.values())  # Before the answer: the supervisor may open the same ports again.
            self._link.send(Refused(generation, reason(exc), serves))
            return
        close_all(self.descriptors[key] for key in fresh if key in self.descriptors)  # Sent again.
        self.descriptors.update(fresh)
        close_all(self.descriptors.pop(key) for key in unused)
        former, self._served = self._served, (served, access)
        close_all([files[0]] if former is None or former[1] == access else [files[0], former[1]])
        self._planes.share_descriptors(served.transports())
        self._link.send(Applied(generation))
        if former is not None and former[0] is not served:
            former[0].let_go(self._planes.breath.take)

    def _serve_snapshot(
        self, told: Configure, files: list[int], fresh: Mapping[ListenerKey, int]
    ) -> tuple[ServedApps, int, set[ListenerKey]]:
        """Serve a snapshot; return it, the file of its access rules, and the listeners that it does not use."""
        snapshot = read_snapshot(files[0], self._planes.breath.take)
        unused = self._serve(snapshot, files[1], ChainMap(dict(fresh), self.descriptors))
        served = ServedApps(snapshot, self._planes.breath.take)
        return served, files[1], unused | (fresh.keys() - self._keys_of(snapshot.apps, fresh))

    def _serve_difference(
        self, told: Configure, files: list[int], fresh: Mapping[ListenerKey, int]
    ) -> tuple[ServedApps, int, set[ListenerKey]]:
        """Serve a difference; otherwise as `_serve_snapshot`."""
        serves = self._served[0].generation if self._served is not None else 0
        if self._served is None or serves != told.before:
            raise SnapshotError(f"it was told what differs from generation {told.before}, and serves {serves}")
        (served, access), difference = self._served, decode_difference(_content(files[0]))
        unused = self._planes.change(difference, served.rest, ChainMap(dict(fresh), self.descriptors))
        unused.update(fresh.keys() - self._keys_of(difference.apps, fresh))
        served.take(difference)
        return served, access, unused

    def _keys_of(self, apps: Iterable[AppSettings], fresh: Mapping[ListenerKey, int]) -> set[ListenerKey]:
        """Return the keys of new listeners that apps have."""
        found: set[ListenerKey] = set()
        for app in apps if fresh else ():
            self._planes.breath.take()
            found.update(key for key, _ in app.listeners() if key in fresh)
        return found

    def _serve(self, snapshot: Snapshot, access: int, descriptors: Mapping[ListenerKey, int]) -> set[ListenerKey]:
        self._outbox.has_journal = snapshot.has_journal
        unused = self._planes.serve(snapshot, access, descriptors)
        if not self._life.has_served:
            self._planes.recover()
        self._life.handle(ServiceEvent.CONFIGURED)
        return unused

    def _go_on(self, generation: int, exc: Exception) -> int:
        """Serve the former snapshot again; return its generation, 0 if that fails, too."""
        traceback = None if isinstance(exc, SnapshotError) else exc
        log.error("generation %d is not served: %s", generation, reason(exc), exc_info=traceback)
        if self._served is None:
            return 0
        if isinstance(exc, SnapshotError):  # Nothing was begun.
            return self._served[0].generation
        try:
            self._serve(self._served[0].whole(), self._served[1], self.descriptors)
        except Exception:
            log.exception("generation %d cannot be served again either", self._served[0].generation)
            return 0
        return self._served[0].generation

    def close(self, transports: tuple[str, ...] = ("tcp", "udp")) -> None:
        """Close the listeners of these transports; the supervisor keeps its own descriptors."""
        for key in [key for key in self.descriptors if key.transport in transports]:
            close_all([self.descriptors.pop(key)])


def _content(file: int) -> bytes:
    """Return the content of a memory file. All workers share it and its offset, hence pread."""
    return os.pread(file, os.fstat(file).st_size, 0)


def reason(exc: Exception) -> str:
    """Return why a snapshot is not served, for the supervisor."""
    return str(exc) if isinstance(exc, SnapshotError) else f"{type(exc).__name__}: {exc}"
