"""One process of the detector: what it is told, and what it finds.

It is of another user than root, and what it says is checked: its rules by the helper, which drops nothing that is
guarded. What it floods its link with is passed over.
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
    Found,
    Told,
    found_in,
    send_told,
)

log = logging.getLogger(__name__)

MODULE = "spectrum.detector"
NAME = "the detector"


class DetectorPlace(NamedTuple):
    """With what a process is started; where that changes, another one is.

    Attributes:
        folder: What it keeps is here.
        user: What it becomes; empty where it is that already.
        forbids_calls: Whether system calls are forbidden to it.
        profiles: The name of the folder of profiles in that.
    """

    folder: Path
    user: str
    forbids_calls: bool
    profiles: str = "profiles"


class Orders(NamedTuple):
    """What a detector has to know.

    Attributes:
        settings: They; what they bring is filled in when they are told.
        looks: The descriptors of what is shown to it, which stay open here: of a ring buffer, or of each worker's
            memory.
        places: The files of the places of sources, by `country` and `asn`.
    """

    settings: DetectorSettings
    looks: Sequence[int]
    places: Sequence[tuple[str, str]] = ()


class DetectorProcess(LinkedProcess[DetectorMessage]):
    """A process.

    Args:
        place: With what it is started.
        found: Called with what it finds.
        held: Returns what the one before has left, once that has ended.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(self, place: DetectorPlace, found: Callable[[Found], None], held: Callable[[], DetectorHeld]) -> None:
        self._found = found
        self._held = held
        arguments = [str(place.folder), place.user or "-", str(int(place.forbids_calls)), place.profiles]
        super().__init__(NAME, MODULE, arguments, (), DECODER, DetectorBeat)

    def tell(self, subject: str, content: object) -> None:
        """Tell it its `Orders`, or counts; one that takes nothing more is not told, and will be ended."""
        match content:
            case Orders():
                self._order(subject, content)
            case DetectorCounts():
                self._tell(subject, content)

    def _order(self, subject: str, orders: Orders) -> None:
        """Tell it its settings, with files open that it could not open: it is confined, and of another user."""
        files: list[tuple[str, int]] = []
        for name, path in orders.places:
            try:
                files.append((name, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)))
            except OSError as exc:
                log.error("attacks are looked for without %s: it cannot be read: %s", path, exc.strerror)
        brought = [*((LOOKS, descriptor) for descriptor in orders.looks), *files]
        try:
            settings = msgspec.structs.replace(orders.settings, brings=tuple(name for name, _ in brought))
            self._tell(subject, settings, [descriptor for _, descriptor in brought])
        finally:
            close_all(descriptor for _, descriptor in files)

    def _tell(self, subject: str, told: Told, descriptors: "list[int] | tuple[()]" = ()) -> None:
        try:
            send_told(self._channel, told, descriptors)
        except (OSError, MemoryError) as exc:
            log.error("the detector is not told of its %s: %s", subject, exc)

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
            log.error("what the detector says is passed over: %s", exc)
            return
        if self.is_serving:
            self._found(found)
