"""Attacks as objects, and their events between the daemon's processes. No numpy, as all processes import it."""

from typing import Literal

import msgspec

from spectrum.core.life.attack import AttackState

AttackEventKind = Literal["began", "changed", "ended", "left_alone"]
# Samples of one attack; with headers of 128 bytes they have some 13 KB.
MOST_SAMPLES = 100
# Packets that match are passed, and counted.
LOG = "log"


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
        name: Of the rule in the filter; empty where none could be written.
        managed_id: The id of the managed rule that it is an instance of.
        vector: That one's name: the kind of attack.
        fingerprint: What it matches, in words; the same words are the same fingerprint.
        action: What becomes of packets that match.
        limit: Packets per second that it lets pass, of each source or of all; 0 without a limit.
        override: The name of the override that decided; empty where none did.
        override_id: Its id.
        why: Why it is this action, or why there is none.
        began: When it was written, in seconds since 1970.
        ended: When it ended; None while it is in force.
        excess: Packets per second beyond normal when it was written; `low` and `high` bound the rate of what matched,
            95 % sure.
        hits: Which part of an app's normal openings it matches, of the app that it hits most: an upper bound.
        packets: What it has matched, by the kernel's counter.
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
        app: The name of the app that it is about; empty for none.
        target: Where it goes.
        began: When its first packet was seen, in seconds since 1970.
        mitigated_after: Seconds from then to the first rule that acts; None where there was none.
        ended: When it ended; None while it is open.
        rules: All that were written for it, oldest first.
        packets_per_second: The highest rate that was seen.
        bits_per_second: Likewise.
        sources: The estimated number of sources; None for too many to count.
        recurs: The id of an attack within a day before that had a fingerprint of this one; empty for none.
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
        at: When, in seconds since 1970.
        kind: What; "left_alone" is the begin of one that no rule is written for.
        attack: The attack as it is then.
        samples: Packets of it that were not told before.
    """

    at: float
    kind: AttackEventKind
    attack: Attack
    samples: tuple[AttackSample, ...] = ()
