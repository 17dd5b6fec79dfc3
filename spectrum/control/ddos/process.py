"""One process of the detector: its settings, and its findings. It runs as an unprivileged user, and its messages are
checked: its rules by the helper, which drops no packets of guarded addresses. If it floods its link, messages are
ignored.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from spectrum.control.processes.linked import LinkedProcess
from spectrum.kernel.descriptors import close_all
from spectrum.link.detector import (
    DECODER,
    LOOKS,
    DetectorBeat,
    DetectorCounts,
    DetectorHeld,
    DetectorMessage,
    DetectorParcel,
    DetectorReady,
    DetectorServing,
    DetectorSettings,
    FromDetector,
    ToDetector,
    found_in,
    send_told,
)

log = logging.getLogger(__name__)

MODULE = "spectrum.detector"
NAME = "the detector"


class DetectorPlace(NamedTuple):
    """Parameters of a process; when they change, the process is replaced.

    Attributes:
        folder: The folder of its files.
        user: The user that it runs as; empty for the current one.
        forbids_calls: Whether it runs under seccomp.
        profiles: The name of the folder of profiles in `folder`.
    """

    folder: Path
    user: str
    forbids_calls: bool
    profiles: str = "profiles"


class Orders(NamedTuple):
    """The settings of a detector.

    Attributes:
        settings: The settings; descriptors are filled in when they are sent.
        looks: The descriptors of samples, which stay open here: of a ring buffer, or of each worker's memory.
        places: The databases of places of sources, by `country` and `asn`.
    """

    settings: DetectorSettings
    looks: Sequence[int]
    places: Sequence[tuple[str, str]] = ()


class DetectorProcess(LinkedProcess[DetectorMessage]):
    """A process of the detector.

    Args:
        place: Its parameters.
        found: Called with its findings.
        held: Returns the state that the former process left, after that has ended.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self, place: DetectorPlace, found: Callable[[FromDetector], None], held: Callable[[], DetectorHeld]
    ) -> None:
        self._found = found
        self._held = held
        arguments = [str(place.folder), place.user or "-", str(int(place.forbids_calls)), place.profiles]
        super().__init__(NAME, MODULE, arguments, (), DECODER, DetectorBeat)

    def tell(self, subject: str, content: object) -> None:
        """Send it `Orders`, or counters; a process that does not read its messages is skipped, and will be ended."""
        match content:
            case Orders():
                self._order(subject, content)
            case DetectorCounts():
                self._tell(subject, content)

    def _order(self, subject: str, orders: Orders) -> None:
        """Send it its settings, with open descriptors of files that it could not open itself: it is confined, and runs
        as another user.
        """
        files: list[tuple[str, int]] = []
        for name, path in orders.places:
            try:
                files.append((name, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)))
            except OSError as exc:
                log.error("detection runs without %s, which cannot be read: %s", path, exc.strerror)
        brought = [*((LOOKS, descriptor) for descriptor in orders.looks), *files]
        try:
            settings = msgspec.structs.replace(orders.settings, brings=tuple(name for name, _ in brought))
            self._tell(subject, settings, [descriptor for _, descriptor in brought])
        finally:
            close_all(descriptor for _, descriptor in files)

    def _tell(self, subject: str, told: ToDetector, descriptors: "list[int] | tuple[()]" = ()) -> None:
        try:
            send_told(self._channel, told, descriptors)
        except (OSError, MemoryError) as exc:
            log.error("the detector is not sent its %s: %s", subject, exc)

    def _received(self, message: DetectorMessage, descriptors: list[int]) -> None:
        match message:
            case DetectorParcel():
                self._take(message, descriptors)
                return
            case DetectorBeat():
                self._returned = message.number
            case DetectorReady():
                self._started()
            case DetectorServing():
                self._tell("rules", self._held())
                self._serves()
        close_all(descriptors)

    def _take(self, parcel: DetectorParcel, descriptors: list[int]) -> None:
        try:
            found = found_in(parcel, descriptors)
        except (OSError, ValueError, MemoryError) as exc:
            log.error("a message of the detector is ignored: %s", exc)
            return
        if self.is_serving:
            self._found(found)
