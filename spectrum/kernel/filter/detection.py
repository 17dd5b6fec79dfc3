"""State of flows, sources and apps in the filter's program, and samples for the detector: bpf/flows.h.

The maps are pinned beside those of lists and rules, and outlive the daemon: flows in use stay in use.
"""

import os
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spectrum.core.ddos.served import ANY_PORT, MAX_PLACES, ServedPlace
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.libbpf import Object
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PinError, Pinned, attach_to_interfaces, prefix_key

# The program at egress, in the same object. It is attached while detection is on.
EGRESS = "sent"
MAX_ONE_IN = 2**32 - 1

_NUMBER = struct.Struct("=I")
_FLOW_BYTES = 40
_DETECTION = struct.Struct("=IIII")
_KEY = struct.Struct("=IBBH16s")
_VALUE = struct.Struct("=II")
_PLACE_BYTES = _KEY.size + _VALUE.size
# In a key, protocol, version and port precede the address.
_FIXED_BITS = 32
DETECTION_MAPS = {
    "flows": (_FLOW_BYTES, 8),
    "answered": (_FLOW_BYTES, 4),
    "known_sources": (8, 8),
    "served": (_KEY.size, _VALUE.size),
    "detection": (_NUMBER.size, _DETECTION.size),
    "looks": (0, 0),
}
# Their sizes before detection is first switched on: at full size they take 62 MB.
SMALL_TABLES = {"flows": 64, "answered": 64, "known_sources": 64, "looks": 65536}


@dataclass(frozen=True, slots=True)
class Detection:
    """The settings of detection.

    Attributes:
        idle_one_in: The sampling interval of packets of flows that are not in use; 0 for no samples.
        used_one_in: That of other packets.
        served: The addresses and ports of apps, by `pack_served`.
    """

    idle_one_in: int = 0
    used_one_in: int = 0
    served: bytes = b""

    @property
    def is_on(self) -> bool:
        """Whether packets are sampled."""
        return bool(self.idle_one_in or self.used_one_in)

    def check(self) -> None:
        """Validate settings from another process.

        Raises:
            PinError: If they are invalid.
        """
        if not (0 <= self.idle_one_in <= MAX_ONE_IN and 0 <= self.used_one_in <= MAX_ONE_IN):
            raise PinError(f"one in 1 to {MAX_ONE_IN} packets, or 0 for none")
        if len(self.served) % _PLACE_BYTES or len(self.served) > MAX_PLACES * _PLACE_BYTES:
            raise PinError(f"{MAX_PLACES} places at most where apps are served, of {_PLACE_BYTES} bytes each")
        for key in _entries(self.served):
            bits, _, version, _, address = _KEY.unpack(key)
            if version not in (4, 6) or not _FIXED_BITS <= bits <= _FIXED_BITS + 128:
                raise PinError("an app is served at an IPv4 or IPv6 prefix")
            if int.from_bytes(address, "big") & ((1 << 128 + _FIXED_BITS - bits) - 1):
                raise PinError(f"{address.hex()}/{bits - _FIXED_BITS} is no prefix")


def pack_served(places: Iterable[ServedPlace]) -> bytes:
    """Return addresses and ports of apps in the form of the program's table."""
    return b"".join(map(_packed, places))


def _packed(place: ServedPlace) -> bytes:
    bits, address = prefix_key(place.prefix)
    bits += _FIXED_BITS
    key = _KEY.pack(bits, place.protocol, place.prefix.version, place.port, address)
    return key + _VALUE.pack(place.app + 1, bits)


def _entries(packed: bytes) -> dict[bytes, bytes]:
    """Return keys and values of the program's table."""
    parts = (packed[start : start + _PLACE_BYTES] for start in range(0, len(packed), _PLACE_BYTES))
    return {part[: _KEY.size]: part[_KEY.size :] for part in parts}


class PinnedDetection(Pinned):
    """Detection in the filter of this network namespace.

    Args:
        filesystem: A BPF file system.

    Raises:
        PinError: If the filter is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, DETECTION_MAPS, filesystem)

    def configure(self, settings: Detection) -> None:
        """Change the settings. New addresses of apps are added before old ones are removed.

        Raises:
            PinError: If the kernel refuses a change.
        """
        wanted = _entries(settings.served)
        any_port = any(_KEY.unpack(key)[3] == ANY_PORT for key in wanted)
        with self.locked():
            present = dict(self.maps["served"].items())
            self.set_many("served", {key: value for key, value in wanted.items() if present.get(key) != value})
            for key in present.keys() - wanted.keys():
                self.maps["served"].delete(key)
            packed = _DETECTION.pack(settings.is_on, settings.idle_one_in, settings.used_one_in, any_port)
            self.set("detection", _NUMBER.pack(0), packed)

    def settings(self) -> Detection:
        """Return the settings."""
        _, idle_one_in, used_one_in, _ = _DETECTION.unpack(self.maps["detection"].get(_NUMBER.pack(0)) or bytes(16))
        return Detection(idle_one_in, used_one_in, b"".join(key + value for key, value in self.maps["served"].items()))

    def looks(self) -> int:
        """Return a descriptor of the ring buffer of samples for the detector; owned by the caller."""
        return os.dup(self.maps["looks"].descriptor)


def attach_egress(program: Object, folder: Path, interfaces: Collection[str], by_links: bool = True) -> None:
    """Attach the program for outgoing packets to exactly these interfaces.

    Args:
        program: The loaded filter.
        folder: The folder of its pins.
        interfaces: Their names.
        by_links: Use tcx links (Linux 6.6), if the kernel has them; otherwise classic filters.

    Raises:
        PinError: If an interface does not support it.
    """
    attach_to_interfaces(
        folder,
        EGRESS,
        interfaces,
        program.program(EGRESS),
        partial(program.attach_to_egress, EGRESS) if by_links else None,
        partial(program.attach_as_filter, EGRESS, at_egress=True),
        at_egress=True,
    )
