"""Messages between a supervisor and its own workers, which run the same files: these may change with every version.

The tag of a message, its class's name where none is given, is part of the protocol.
"""

import msgspec

from spectrum.core.balancing.outliers import Signs
from spectrum.core.balancing.pools import Standing
from spectrum.link.takeover import CrossingMessage
from spectrum.link.versions import Hello


class Started(msgspec.Struct, array_like=True, tag=True):
    """From a worker, first of all: it runs, and waits for what it is to serve."""


class Memory(msgspec.Struct, array_like=True, tag=True):
    """To a worker, first of all, with the descriptors of five memory files.

    They are for its own UDP flows, and for what all workers share: loads, affinities, census and rates.
    """

    worker: int
    workers: int
    max_affinities: int
    secret: int
    ipv4_bits: int
    ipv6_bits: int
    ipv4_wide_bits: int
    ipv6_wide_bits: int
    max_flows: int


class Offloading(msgspec.Struct, array_like=True, tag=True):
    """To a worker, before a `Configure`, with the kernel's tables of UDP flows: flows, tallies, leases.

    Another version are other tables. Without descriptors, and without places: the kernel moves none any more.
    """

    version: int = 0
    places: int = 0


class Watching(msgspec.Struct, array_like=True, tag=True):
    """To a worker, before a `Configure` and whenever it changes: it shows one of so many packets to detection.

    With three memory files: for what it shows, of known sources, and with `WorkerRules` of so many bytes. Where it
    shows nothing, the numbers are 0, and there are no files.
    """

    idle_one_in: int = 0
    used_one_in: int = 0
    size: int = 0


class WorkerRule(msgspec.Struct, array_like=True):
    """A rule against an attack, in the filter's form and with its number, and the values of its sets."""

    slot: bytes
    sets: list[bytes]


class WorkerRules(msgspec.Struct, array_like=True):
    """Exactly these are in force; `guard` are addresses and masks that none is about."""

    rules: list[WorkerRule]
    guard: list[tuple[bytes, bytes]]


class Inherit(msgspec.Struct, array_like=True, tag=True):
    """To a worker that follows another one, with the descriptor from which it reads the sockets of flows."""


class Configure(msgspec.Struct, array_like=True, tag=True):
    """To a worker, with two descriptors: memory files that hold a `Snapshot`, and the table of its access rules.

    Where it serves `before`, it may be told what differs: one memory file, with a `Difference`. It answers with
    `Applied` or `Refused`, in the order in which it was told.
    """

    generation: int = 0
    before: int = 0


class TicketKeysUpdate(msgspec.Struct, array_like=True, tag="Tickets"):
    """To a worker: the keys of TLS session tickets, the first of which encrypts."""

    keys: list[bytes]


class Challenge(msgspec.Struct, frozen=True, array_like=True):
    """What answers tls-alpn-01 for a name (RFC 8737): a certificate and its key in PEM form."""

    name: str
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        """Keep the key out of logs."""
        return f"Challenge({self.name!r})"


class Challenges(msgspec.Struct, array_like=True, tag=True):
    """To a worker: all that answers tls-alpn-01 from now on."""

    challenges: list[Challenge]


class HealthUpdate(msgspec.Struct, array_like=True, tag="Health"):
    """To a worker: the standing of origins by number, and the latency of pools by name, as far as either changed."""

    standings: dict[int, Standing]
    latencies: dict[str, float]


class Ask(msgspec.Struct, array_like=True, tag=True):
    """To a worker: send measures now."""

    number: int


class Applied(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it serves this generation."""

    generation: int


class Refused(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it cannot serve this generation, and goes on with the one that it `serves`, 0 for none."""

    generation: int
    why: str
    serves: int


class Met(msgspec.Struct, array_like=True, tag=True):
    """From a worker: what clients met at origins since the last such message, by number."""

    signs: dict[int, Signs]


class ShortQueues(msgspec.Struct, array_like=True, tag=True):
    """From a worker, with UDP sockets whose queues are to be longer than it may make them."""


Message = (
    Hello
    | CrossingMessage
    | Started
    | Memory
    | Offloading
    | Watching
    | Inherit
    | Configure
    | TicketKeysUpdate
    | Challenges
    | HealthUpdate
    | Ask
    | Applied
    | Refused
    | Met
    | ShortQueues
)

DECODER = msgspec.msgpack.Decoder(Message)
