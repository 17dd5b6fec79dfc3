"""The detector: start, privileges, settings, and end.

It ends with its supervisor, or on a signal; it then saves its profiles. Rules expire by themselves, in the kernel.
"""

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from spectrum.child import begin_child, forbid_rings
from spectrum.core.access.place_records import country_in, network_in
from spectrum.core.ddos.maxima import Dimension
from spectrum.detector.columns import AppGroups, columns
from spectrum.detector.places import PlaceFileError, PlaceTable
from spectrum.detector.profiles import AppKey, ProfileStore
from spectrum.detector.watch import AttackWatch
from spectrum.kernel import installation, signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.hardening import harden
from spectrum.kernel.looks import Looks, LooksError
from spectrum.kernel.worker_looks import AllLooks
from spectrum.link.detector import (
    LOOKS,
    DetectorClient,
    DetectorCounts,
    DetectorHeld,
    DetectorRules,
    DetectorSettings,
    FromDetector,
    ToDetector,
)
from spectrum.log import log_spare_signals
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

LOOK_S = 0.25
# After a longer delay, such as a suspend, a look covers more time than a quarter of a second, and is not counted.
LONGEST_LOOK_S = 5.0
LOCK = "lock"
# Time for the previous detector to release the folder: after an upgrade, that of the former daemon.
LOCK_TIMEOUT_S = 100.0
LOCK_STEP_S = 0.1
# Beside Python the password database, and the number of CPUs.
READABLE = (*installation.readable(), "/etc", "/sys/devices/system/cpu")
_PLACE_OF: Mapping[Dimension, Callable[[Any], str]] = {"country": country_in, "asn": network_in}


class DetectorService:
    """Detects attacks.

    Args:
        link: The link to the supervisor.
        folder: The folder of its state.
        user: The user to run as; `-` to keep the current one.
        forbids_calls: Whether system calls are restricted.
        profiles: The name of the folder of profiles in that.
    """

    def __init__(
        self, link: socket.socket, folder: Path, user: str, forbids_calls: bool, profiles: str = "profiles"
    ) -> None:
        self._folder = folder
        self._profiles = profiles
        self._user = user
        self._forbids_calls = forbids_calls
        loop = asyncio.get_running_loop()
        self._settings: asyncio.Future[DetectorSettings] = loop.create_future()
        self._held: asyncio.Future[DetectorHeld] = loop.create_future()
        self._ended = asyncio.Event()
        self._tasks = Tasks()
        self._looks: Looks | AllLooks | None = None
        # The apps of workers' samples.
        self._groups: AppGroups | None = None
        self._places: dict[Dimension, PlaceTable] = {}
        self._watch: AttackWatch | None = None
        self._client = DetectorClient(link, self._told, self._ended.set)

    async def run(self) -> None:
        """Run until the supervisor ends, or a signal arrives.

        Raises:
            OSError: If it cannot lock its folder.
        """
        loop = asyncio.get_running_loop()
        log_spare_signals(loop)
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)
        signals.release({signal.SIGTERM})
        harden(self._user, READABLE, [self._folder], self._forbids_calls)
        self._client.ready()
        try:
            if await self._reached(self._settings) and await self._has_folder():
                await self._serve()
        finally:
            await self._tasks.stop()
            self._client.close()
            if self._looks is not None:
                self._looks.close()

    async def _serve(self) -> None:
        self._client.serving()
        if not await self._reached(self._held):
            return
        settings = self._settings.result()
        store = self._folder / self._profiles
        store.mkdir(mode=0o700, exist_ok=True)
        profiles = ProfileStore(store)
        self._watch = watch = AttackWatch(settings, int.from_bytes(os.urandom(8), "big"))
        watch.detector.profile.adaptive.places = self._places
        profiles.load(watch.detector.profile, _keys(watch), time.time())
        watch.detector.recall(profiles.load_attackers())
        watch.resume(self._held.result())
        self._tasks.keep(lambda: self._keep_looking(watch, profiles), "look for attacks")
        await self._ended.wait()
        profiles.save(watch.detector.profile, _keys(watch), time.time())

    async def _reached(self, state: "asyncio.Future[Any]") -> bool:
        """Wait for a message of the supervisor; return False if this process has to end first."""
        ended = asyncio.ensure_future(self._ended.wait())  # noqa: TID251 - it ends in the next line but one
        await asyncio.wait((state, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        return state.done()

    async def _has_folder(self) -> bool:
        """Lock the folder for this process; return False if it has to end first.

        Raises:
            OSError: If another detector has the lock.
        """
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not self._ended.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(f"{self._folder}: another detector keeps it") from None
                await asyncio.sleep(LOCK_STEP_S)
            else:
                return True  # locked until this process ends
        return False

    # --- messages -------------------------------------------------------------------------------------------------

    def _told(self, told: ToDetector, descriptors: list[int]) -> None:
        now, at = time.monotonic(), time.time()
        match told:
            case DetectorSettings():
                self._groups = AppGroups(told.apps) if told.by_workers else None
                self._see(list(zip(told.brings, descriptors, strict=False)), told.by_workers)
                close_all(descriptors)
                if not self._settings.done():
                    self._settings.set_result(told)
                elif self._watch is not None:
                    self._watch.detector.profile.adaptive.places = self._places
                    self._tell(self._watch.configure(told, at), self._watch)
            case DetectorHeld() if not self._held.done():
                self._held.set_result(told)
            case DetectorCounts() if self._watch is not None:
                self._tell(self._watch.count(told, now, at), self._watch)
            case _:
                close_all(descriptors)

    def _see(self, brought: Sequence[tuple[str, int]], by_workers: bool) -> None:
        """Read another ring buffer, the memory of workers, or databases of places, if the message has them."""
        self._places = dict(_place_tables(dict(brought)))
        shown = [descriptor for name, descriptor in brought if name == LOOKS]
        if not shown:
            return
        try:
            looks = AllLooks(shown) if by_workers else Looks(shown[0])
        except LooksError as exc:
            log.error("no attack is seen: %s", exc)
            return
        if self._looks is not None:
            self._looks.close()
        looks.discard()  # they may be old
        self._looks = looks

    def _tell(self, found: "list[FromDetector]", watch: AttackWatch) -> None:
        for one in found:
            try:
                self._client.tell(one)
            except OSError as exc:
                log.error("the supervisor is not told of %s: %s", type(one).__name__, exc)
                if isinstance(one, DetectorRules):
                    watch.rules_untold()

    # --- samples --------------------------------------------------------------------------------------------------

    async def _keep_looking(self, watch: AttackWatch, profiles: ProfileStore) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, last + LOOK_S - time.monotonic()))
            now, at = time.monotonic(), time.time()
            records = self._looks.read() if self._looks is not None else b""
            seconds, last = now - last, now
            if seconds <= LONGEST_LOOK_S:
                found = list(watch.look(columns(records, self._groups), seconds, now, at))
                self._tell(found, watch)
                profiles.save_due(watch.detector.profile, _keys(watch), at)
                if any(isinstance(one, DetectorRules) for one in found):
                    profiles.save_attackers(watch.detector.attackers())
                for deviated in watch.detector.deviations():
                    log.warning("app %s: %s", watch.apps.get(deviated.app, ("none",))[0], deviated)


def _keys(watch: AttackWatch) -> dict[int, AppKey]:
    return {number: AppKey(name, serves) for number, (name, serves) in watch.apps.items()}


def _place_tables(brought: Mapping[str, int]) -> Iterator[tuple[Dimension, PlaceTable]]:
    for name, place_of in _PLACE_OF.items():
        if name in brought:
            try:
                yield name, PlaceTable(brought[name], place_of)
            except PlaceFileError as exc:
                log.error("nothing is counted by %s: the file of geoip: %s", name, exc)


def main() -> None:
    """Run the detector.

    The arguments are the descriptor of the link, the folder, the user to run as (`-` for none), and whether system
    calls are restricted (0 or 1).
    """
    begin_child("the detector", "spectrum-ddos")
    forbid_rings()
    link, folder, user, forbids_calls, profiles = sys.argv[1:]
    os.chdir("/")

    async def serve() -> None:
        service = DetectorService(socket.socket(fileno=int(link)), Path(folder), user, forbids_calls == "1", profiles)
        await service.run()
        signals.hold_all()

    try:
        uvloop.run(serve())
    except (OSError, KeyError) as exc:
        sys.exit(f"the detector ends: {exc}")
