"""Messages between the supervisor and the detector, and the detector's end of the link.

Both run the same files, so that messages may change with every version. All but heartbeats are parcels, which may be
long: sets of a rule, overrides of a file.
"""

import socket
from collections.abc import Callable, Sequence

import msgspec

from spectrum.core.ddos.attack_events import Attack, AttackEvent
from spectrum.core.ddos.overrides import ManagedOverride, Setting
from spectrum.kernel.descriptors import close_all
from spectrum.link.bodies import body_of, send
from spectrum.link.channel import Channel
from spectrum.link.encoding import encode
from spectrum.link.versions import Hello


class DetectorReady(msgspec.Struct, array_like=True, tag=True):
    """From the detector, the first message: it has started, and waits for its settings before it opens anything."""


class DetectorServing(msgspec.Struct, array_like=True, tag=True):
    """From the detector: it owns its folder, and waits for the rules in force."""


class DetectorBeat(msgspec.Struct, array_like=True, tag=True):
    """To the detector, which sends it back from its loop: a heartbeat."""

    number: int


class DetectorParcel(msgspec.Struct, array_like=True, tag=True):
    """To either end: a message of `ToDetector` or `FromDetector`. `size` is that of a body in a memory file."""

    body: bytes = b""
    size: int = 0


DetectorMessage = Hello | DetectorReady | DetectorServing | DetectorBeat | DetectorParcel
DECODER: msgspec.msgpack.Decoder[DetectorMessage] = msgspec.msgpack.Decoder(DetectorMessage)


class DetectorSettings(msgspec.Struct, array_like=True, tag=True):
    """To the detector: its settings.

    Attributes:
        apps: The apps by the numbers in samples: the name, and the address and ports, which identify the service.
        everywhere: The settings without overrides.
        overrides: The overrides, in order.
        samples_per_second: The limit of packets that are sampled.
        learning_s: The time for which an app is learned before rules for it act.
        expiry_s: The time after which a rule ends that little matches.
        one_in: The present sampling intervals: of packets of flows that are not in use, and of others.
        brings: The kinds of the message's descriptors, in order: `LOOKS` for another ring buffer, or for the memory of
            each worker, and the databases of the places of sources, by `country` and `asn`.
        by_workers: Whether workers sample packets, of which they know less than the kernel does.
    """

    apps: dict[int, tuple[str, str]]
    everywhere: Setting = Setting()
    overrides: tuple[ManagedOverride, ...] = ()
    samples_per_second: int = 8_000
    learning_s: float = 86_400.0
    expiry_s: float = 60.0
    one_in: tuple[int, int] = (1, 1)
    brings: tuple[str, ...] = ()
    by_workers: bool = False


class DetectorRule(msgspec.Struct, array_like=True):
    """A rule in force.

    Attributes:
        name: Its name in the filter, without the owner.
        slot: Its form in the filter, with its expiry.
        sets: The values of its sets, likewise.
        text: What it matches and does, as text.
        expires_ns: When it ends by itself, on the monotonic clock.
        memory: The detector's state of it, for the next detector.
    """

    name: str
    slot: bytes
    sets: list[bytes]
    text: str
    expires_ns: int
    memory: bytes


class DetectorHeld(msgspec.Struct, array_like=True, tag=True):
    """To the detector, when it serves: the state of the previous one.

    Attributes:
        rules: The rules in force.
        last: The highest number of a rule so far.
        attacks: Open attacks, and ended ones that may recur.
    """

    rules: list[DetectorRule] = []
    last: int = 0
    attacks: tuple[Attack, ...] = ()


class DetectorCounts(msgspec.Struct, array_like=True, tag=True):
    """To the detector, each second: packets and bytes by rule, and lost samples, since the filter was loaded."""

    rules: dict[str, tuple[int, int]]
    lost: int = 0


class DetectorRules(msgspec.Struct, array_like=True, tag=True):
    """From the detector: the rules in force, complete; `last` as in `DetectorHeld`."""

    rules: list[DetectorRule]
    last: int = 0


class DetectorSampling(msgspec.Struct, array_like=True, tag=True):
    """From the detector: the sampling intervals to use."""

    idle_one_in: int
    used_one_in: int


class DetectorEvents(msgspec.Struct, array_like=True, tag=True):
    """From the detector: events of attacks."""

    events: list[AttackEvent]


class DetectorState(msgspec.Struct, array_like=True, tag=True):
    """From the detector, each second.

    Attributes:
        samples_per_second: The rate of sampled packets.
        packets_per_second: The estimated rate of packets.
        lost: Samples that were not read in time, since its start.
        cpu: Its share of a core.
        ready_s: The seconds until it has learned normal traffic; 0 when it has.
        learned: For how many seconds each app has been learned, by name, and whether rules for it act.
        without_slot: Why there is no rule in the filter for some attack; empty if all have one.
    """

    samples_per_second: float
    packets_per_second: float
    lost: int
    cpu: float
    ready_s: float
    learned: dict[str, tuple[float, bool]] = {}
    without_slot: str = ""


# A ring buffer of samples among `DetectorSettings.brings`.
LOOKS = "looks"
ToDetector = DetectorSettings | DetectorHeld | DetectorCounts
FromDetector = DetectorRules | DetectorSampling | DetectorEvents | DetectorState
_encoder = msgspec.msgpack.Encoder()
_told: msgspec.msgpack.Decoder[ToDetector] = msgspec.msgpack.Decoder(ToDetector)
_found: msgspec.msgpack.Decoder[FromDetector] = msgspec.msgpack.Decoder(FromDetector)


def send_told(channel: Channel[DetectorMessage], told: ToDetector, descriptors: Sequence[int] = ()) -> None:
    """Send a message to the detector; its descriptors stay open here.

    Raises:
        OSError: If there is no room for it.
    """
    send(channel, DetectorParcel(encode(_encoder, told)), descriptors)


def found_in(parcel: DetectorParcel, descriptors: Sequence[int]) -> FromDetector:
    """Return the detector's message in a parcel, and close its descriptors.

    Raises:
        ValueError: If it is invalid; `msgspec.ValidationError` is one.
        OSError: If it cannot be read.
    """
    return _found.decode(body_of(parcel, descriptors))


class DetectorClient:
    """The detector's end of the link.

    Args:
        sock: The socket to the supervisor; owned by this object.
        told: Called with the supervisor's messages and their descriptors, which it owns.
        lost: Called once when the supervisor has ended.
    """

    def __init__(
        self, sock: socket.socket, told: Callable[[ToDetector, list[int]], None], lost: Callable[[], None]
    ) -> None:
        self._take = told
        self._channel: Channel[DetectorMessage] = Channel(sock, DECODER, self._received, lost)

    def ready(self) -> None:
        """Report that this process has started."""
        self._channel.send(DetectorReady())

    def serving(self) -> None:
        """Report that it serves."""
        self._channel.send(DetectorServing())

    def tell(self, found: FromDetector) -> None:
        """Send a message to the supervisor.

        Raises:
            OSError: If there is no room for it.
        """
        send(self._channel, DetectorParcel(encode(_encoder, found)))

    def close(self) -> None:
        """Close the link."""
        self._channel.close()

    def _received(self, message: DetectorMessage, descriptors: list[int]) -> None:
        match message:
            case DetectorBeat():
                close_all(descriptors)
                self._channel.send(message, droppable=True)
            case DetectorParcel():
                own = descriptors[: bool(message.size)]
                given = descriptors[len(own) :]
                self._take(_told.decode(body_of(message, own)), given)
            case _:
                close_all(descriptors)
