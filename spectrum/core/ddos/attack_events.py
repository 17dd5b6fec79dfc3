"""Attacks as objects, and their events between the daemon's processes. No numpy, as all processes import it."""

from typing import Literal

import msgspec

from spectrum.core.life.attack import AttackState

AttackEventKind = Literal["began", "changed", "ended", "left_alone"]
# Samples of one attack; with headers of 128 bytes they have some 13 KB.
MOST_SAMPLES = 100
# Packets that match are passed, and counted.
LOG = "log"


def name_after(name: str) -> str:
    """Return the name of a rule whose action changed: it has a counter of its own. NAME.2 follows NAME."""
    first, _, number = name.partition(".")
    return f"{first}.{int(number or 1) + 1}"


def first_name(name: str) -> str:
    """Return the first name of a rule."""
    return name.partition(".")[0]


class AttackSample(msgspec.Struct, frozen=True):
    """A sampled packet of an attack.

    Attributes:
        at: Time of arrival, in seconds since 1970.
        frame_bytes: Length of the whole frame.
        header: The beginning of the frame.
    """

    at: float
    frame_bytes: int
    header: bytes


class AttackTarget(msgspec.Struct, frozen=True):
    """The target of an attack.

    Attributes:
        prefix: An address, or the prefix that has all of the addresses.
        port: The destination port; 0 for several, or none.
        protocol: tcp, udp, icmp, ... or a number; empty for several.
    """

    prefix: str
    port: int = 0
    protocol: str = ""

    def __str__(self) -> str:
        host = f"[{self.prefix}]" if ":" in self.prefix and self.port else self.prefix
        return " ".join(filter(None, (self.protocol.upper(), f"{host}:{self.port}" if self.port else host)))


class AttackRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that was written for an attack.

    Attributes:
        name: Its name in the filter; empty if none could be written. A rule that first only counts, and then acts, has
            another name from then on, and is another `AttackRule`.
        managed_id: The id of its managed rule.
        vector: The name of the managed rule: the kind of attack.
        fingerprint: Its conditions as text; equal texts are the same fingerprint.
        action: The action on packets that match.
        limit: The packets per second that pass, of each source or of all; 0 without a limit.
        override: The name of the override that decided; empty if none did.
        override_id: Its id.
        why: The reason of this action, or of none.
        began: When it was written, in seconds since 1970.
        ended: When it ended; None while it is in force.
        excess: Packets per second beyond normal when it was written; `low` and `high` are the bounds of the matching
            rate, with 95 % confidence.
        hits: The share of an app's normal openings that it matches, for the app that it hits most: an upper bound.
        packets: The packets that it has matched, by the kernel's counter.
        bytes: Likewise.
    """

    name: str
    managed_id: str = ""
    vector: str
    fingerprint: str
    action: str
    limit: float = 0.0
    override: str = ""
    override_id: str = ""
    why: str = ""
    began: float
    ended: float | None = None
    excess: float = 0.0
    low: float = 0.0
    high: float = 0.0
    hits: float = 0.0
    packets: int = 0
    bytes: int = 0

    @property
    def drops(self) -> bool:
        """Whether packets that match are dropped."""
        return bool(self.name) and self.action != LOG


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """An attack on one target, by one or several vectors.

    Attributes:
        id: 16 hex digits.
        state: Its state.
        app: The name of the target's app; empty for none.
        target: Its target.
        began: When its first packet was seen, in seconds since 1970.
        mitigated_after: Seconds from then to the first rule that acts; None without one.
        ended: When it ended; None while it is open.
        rules: All its rules, oldest first.
        packets_per_second: The highest rate.
        bits_per_second: Likewise.
        sources: The estimated number of sources; None for too many to count.
        recurs: The id of an attack within the day before with the same fingerprint; empty for none.
    """

    id: str
    state: AttackState
    app: str = ""
    target: AttackTarget
    began: float
    mitigated_after: float | None = None
    ended: float | None = None
    rules: tuple[AttackRule, ...]
    packets_per_second: float = 0.0
    bits_per_second: float = 0.0
    sources: int | None = None
    recurs: str = ""

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vectors of the attack."""
        return tuple(dict.fromkeys(rule.vector for rule in self.rules))

    @property
    def packets(self) -> int:
        """Packets that its rules have matched."""
        return sum(rule.packets for rule in self.rules)

    @property
    def bytes(self) -> int:
        """Likewise."""
        return sum(rule.bytes for rule in self.rules)

    @property
    def dropped(self) -> tuple[int, int]:
        """Packets and bytes that were dropped."""
        some = [rule for rule in self.rules if rule.drops]
        return sum(rule.packets for rule in some), sum(rule.bytes for rule in some)

    @property
    def hits(self) -> float:
        """The share of an app's normal openings that its rules match, at most."""
        return max((rule.hits for rule in self.rules if rule.name), default=0.0)


class AttackEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of an attack.

    Attributes:
        at: The time, in seconds since 1970.
        kind: The kind of event; "left_alone" is the begin of an attack without a rule.
        attack: The attack at that time.
        samples: Packets of it that were not reported before.
    """

    at: float
    kind: AttackEventKind
    attack: Attack
    samples: tuple[AttackSample, ...] = ()
