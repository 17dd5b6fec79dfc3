"""What the supervisor and the detector say to each other, and the detector's end of it.

Both run the same files, so that messages may change with every version. All but heartbeats is a parcel, which may be
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
    """From the detector, first of all: it has started, and waits for its settings before it opens anything."""


class DetectorServing(msgspec.Struct, array_like=True, tag=True):
    """From the detector: what it keeps is its own, and it waits for the rules in force."""


class DetectorBeat(msgspec.Struct, array_like=True, tag=True):
    """To the detector, which sends it back from its loop: a heartbeat."""

    number: int


class DetectorParcel(msgspec.Struct, array_like=True, tag=True):
    """To either end: something of `Told` or `Found`. `size` is that of a body in a memory file."""

    body: bytes = b""
    size: int = 0


DetectorMessage = Hello | DetectorReady | DetectorServing | DetectorBeat | DetectorParcel
DECODER: msgspec.msgpack.Decoder[DetectorMessage] = msgspec.msgpack.Decoder(DetectorMessage)


class DetectorSettings(msgspec.Struct, array_like=True, tag=True):
    """To the detector: how it looks for attacks.

    Attributes:
        apps: The apps by the numbers that looks have: the name, and what it serves; that changes with another service.
        everywhere: What holds where no override says anything.
        overrides: In their order.
        samples_per_second: So many packets are looked at, at most.
        learning_s: How long an app is learned before rules about it act.
        expiry_s: A rule ends so long after little matches it.
        one_in: The sampling that there is: of packets of flows that are not in use, and of others.
        brings: The descriptors that come with it, in their order: `LOOKS` where it gets another ring buffer, or for
            the memory of each worker, and the
            databases of the places of sources, by `country` and `asn`.
        by_workers: Workers show packets, of which they know less than the kernel does.
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
        name: In the filter, without its owner.
        slot: In the filter's form, with its expiry.
        sets: The values of its sets, likewise.
        text: What it matches and does, for people.
        expires_ns: When it ends by itself, on the monotonic clock.
        memory: What a detector knows of it, for the next one.
    """

    name: str
    slot: bytes
    sets: list[bytes]
    text: str
    expires_ns: int
    memory: bytes


class DetectorHeld(msgspec.Struct, array_like=True, tag=True):
    """To the detector, when it serves: what the one before knew.

    Attributes:
        rules: Those in force.
        last: The highest number that a rule had.
        attacks: Those that go on, and those that may come back.
    """

    rules: list[DetectorRule] = []
    last: int = 0
    attacks: tuple[Attack, ...] = ()


class DetectorCounts(msgspec.Struct, array_like=True, tag=True):
    """To the detector, each second: packets and bytes by rule, and how many looks were lost, since the filter began."""

    rules: dict[str, tuple[int, int]]
    lost: int = 0


class DetectorRules(msgspec.Struct, array_like=True, tag=True):
    """From the detector: exactly these rules are in force; `last` as in `DetectorHeld`."""

    rules: list[DetectorRule]
    last: int = 0


class DetectorSampling(msgspec.Struct, array_like=True, tag=True):
    """From the detector: one of so many packets is to be looked at."""

    idle_one_in: int
    used_one_in: int


class DetectorEvents(msgspec.Struct, array_like=True, tag=True):
    """From the detector: what happened to attacks."""

    events: list[AttackEvent]


class DetectorState(msgspec.Struct, array_like=True, tag=True):
    """From the detector, each second.

    Attributes:
        samples_per_second: So many packets were looked at.
        packets_per_second: So many there were, as estimated.
        lost: Looks that were not read in time, since it started.
        cpu: Its share of a core.
        ready_s: In so many seconds it knows what is normal; 0 when it does.
        learned: For how many seconds each app has been learned, by name, and whether rules about it act.
        without_slot: Why the filter has no rule for something that was found; empty where all have one.
    """

    samples_per_second: float
    packets_per_second: float
    lost: int
    cpu: float
    ready_s: float
    learned: dict[str, tuple[float, bool]] = {}
    without_slot: str = ""


# What of `DetectorSettings.brings` is a ring buffer of looks.
LOOKS = "looks"
Told = DetectorSettings | DetectorHeld | DetectorCounts
Found = DetectorRules | DetectorSampling | DetectorEvents | DetectorState
_encoder = msgspec.msgpack.Encoder()
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
_found: msgspec.msgpack.Decoder[Found] = msgspec.msgpack.Decoder(Found)


def send_told(channel: Channel[DetectorMessage], told: Told, descriptors: Sequence[int] = ()) -> None:
    """Tell the detector something; descriptors that go with it stay open here.

    Raises:
        OSError: If there is no room for it.
    """
    send(channel, DetectorParcel(encode(_encoder, told)), descriptors)


def found_in(parcel: DetectorParcel, descriptors: Sequence[int]) -> Found:
    """Return what the detector says, and close what came with it.

    Raises:
        ValueError: If it is none of that; `msgspec.ValidationError` is one.
        OSError: If it cannot be read.
    """
    return _found.decode(body_of(parcel, descriptors))


class DetectorClient:
    """The detector's end of the link.

    Args:
        sock: Towards the supervisor, owned from here on.
        told: Called with what the supervisor tells, and descriptors that came with it, which are the called one's.
        lost: Called once when the supervisor is gone.
    """

    def __init__(self, sock: socket.socket, told: Callable[[Told, list[int]], None], lost: Callable[[], None]) -> None:
        self._take = told
        self._channel: Channel[DetectorMessage] = Channel(sock, DECODER, self._received, lost)

    def ready(self) -> None:
        """Say that this process has started."""
        self._channel.send(DetectorReady())

    def serving(self) -> None:
        """Say that it serves."""
        self._channel.send(DetectorServing())

    def tell(self, found: Found) -> None:
        """Tell the supervisor what was found.

        Raises:
            OSError: If there is no room for it.
        """
        send(self._channel, DetectorParcel(encode(_encoder, found)))

    def close(self) -> None:
        """Leave."""
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
