"""Messages between a supervisor and its own workers, which run the same files: they may change with every version.

The tag of a message (by default its class's name) is part of the protocol.
"""

import msgspec

from spectrum.core.balancing.outliers import OriginOutcomes
from spectrum.core.balancing.pools import Standing
from spectrum.link.takeover import CrossingMessage
from spectrum.link.versions import Hello


class Started(msgspec.Struct, array_like=True, tag=True):
    """From a worker, the first message: it runs, and waits for its configuration."""


class Memory(msgspec.Struct, array_like=True, tag=True):
    """To a worker, the first message, with the descriptors of five memory files.

    They are for its own UDP flows, and for the state that all workers share: loads, affinities, census and rates.
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

    A new version means new tables. Without descriptors and places, the kernel forwards no flows any more.
    """

    version: int = 0
    places: int = 0


class Watching(msgspec.Struct, array_like=True, tag=True):
    """To a worker, before a `Configure` and after changes: its sampling intervals for detection.

    With three memory files: for samples, for known sources, and `WorkerRules` of this number of bytes. If it does not
    sample, the numbers are 0, and there are no files.
    """

    idle_one_in: int = 0
    used_one_in: int = 0
    size: int = 0


class WorkerRule(msgspec.Struct, array_like=True):
    """A rule of detection, in the filter's form, with the number of its counter, and the values of its sets."""

    slot: bytes
    sets: list[bytes]


class WorkerRules(msgspec.Struct, array_like=True):
    """The rules in force, complete; `guard` are addresses and masks that no rule matches."""

    rules: list[WorkerRule]
    guard: list[tuple[bytes, bytes]]


class Inherit(msgspec.Struct, array_like=True, tag=True):
    """To a worker that replaces another one, with the descriptor from which it reads the sockets of flows."""


class Configure(msgspec.Struct, array_like=True, tag=True):
    """To a worker, with two descriptors: memory files with a `Snapshot`, and with the table of its access rules.

    If it serves `before`, it may get only the changes: one memory file, with a `Difference`. It answers with `Applied`
    or `Refused`, in the order of these messages.
    """

    generation: int = 0
    before: int = 0


class TicketKeysUpdate(msgspec.Struct, array_like=True, tag="Tickets"):
    """To a worker: the keys of TLS session tickets, the first of which encrypts."""

    keys: list[bytes]


class Challenge(msgspec.Struct, frozen=True, array_like=True):
    """The answer to tls-alpn-01 for a name (RFC 8737): a certificate and its key in PEM form."""

    name: str
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        """Keep the key out of logs."""
        return f"Challenge({self.name!r})"


class Challenges(msgspec.Struct, array_like=True, tag=True):
    """To a worker: all answers to tls-alpn-01 from now on."""

    challenges: list[Challenge]


class HealthUpdate(msgspec.Struct, array_like=True, tag="Health"):
    """To a worker: the health of origins by number, and the latency of pools by name; only what changed."""

    standings: dict[int, Standing]
    latencies: dict[str, float]


class Ask(msgspec.Struct, array_like=True, tag=True):
    """To a worker: send measures now."""

    number: int


class Applied(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it serves this generation."""

    generation: int


class Refused(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it cannot serve this generation, and continues with the one that it `serves`, 0 for none."""

    generation: int
    why: str
    serves: int


class OutcomesReport(msgspec.Struct, array_like=True, tag=True):
    """From a worker: outcomes of sessions at origins since the last such message, by number."""

    outcomes: dict[int, OriginOutcomes]


class ShortQueues(msgspec.Struct, array_like=True, tag=True):
    """From a worker, with UDP sockets whose receive buffers it may not enlarge itself."""


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
    | OutcomesReport
    | ShortQueues
)

DECODER = msgspec.msgpack.Decoder(Message)
