"""`filter`: packets that are dropped before the network stack, regardless of app."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import AsTuple, Network, Strict, check_name, describe, text
from spectrum.core.filter_rules import LIMITS, Action
from spectrum.core.packets import MAX_RULES, PROTOCOLS, TCP_FLAGS

Range = tuple[int, int]
_ONLY_TCP = (PROTOCOLS["tcp"], PROTOCOLS["tcp"])
_WITH_PORTS = ("tcp", "udp")


def _span(value: Any, highest: int) -> Range:
    """Return the lowest and the highest of a number, or of a range such as 100-200."""
    low, dash, high = str(value).partition("-")
    if isinstance(value, bool) or not isinstance(value, str | int) or not low.isdecimal():
        raise ValueError(f"expected a number up to {highest}, or a range such as 10-{highest}, found {describe(value)}")
    if dash and not high.isdecimal():
        raise ValueError(f"{value!r}: a range has two ends, such as 10-{highest}")
    ends = int(low), int(high if dash else low)
    if not ends[0] <= ends[1] <= highest:
        raise ValueError(f"{value!r}: not from a lower to a higher number, {highest} at most")
    return ends


def _protocol(value: Any) -> Range:
    if isinstance(value, str) and value in PROTOCOLS:
        return PROTOCOLS[value], PROTOCOLS[value]
    try:
        return _span(value, 255)
    except ValueError as exc:
        raise ValueError(f"{describe(value)} is not a protocol: {', '.join(PROTOCOLS)}, or a number up to 255") from exc


def _tcp_flags(value: Any) -> tuple[int, int]:
    """Return the mask and the value of TCP flags, from a text such as `syn !ack`."""
    mask = flags = 0
    for word in text(value).split():
        flag = TCP_FLAGS.get(word.removeprefix("!"))
        if flag is None or mask & flag:
            raise ValueError(f"{value!r}: each of {', '.join(TCP_FLAGS)} once at most, and ! before what is not set")
        mask |= flag
        flags |= 0 if word.startswith("!") else flag
    return mask, flags


def _payload(value: Any) -> tuple[int, int]:
    """Return 8 bytes and their mask, from hex digits such as `4756??01`."""
    digits = value.lower() if isinstance(value, str) else ""
    if not _PAYLOAD.fullmatch(digits) or not digits.strip("?"):
        raise ValueError(
            f"{describe(value)}: the first bytes of a payload are 1 to 8, in quotes, of two hex digits each or ?, "
            'such as "4756??01"'
        )
    padded = digits.ljust(16, "?")
    return int(padded.replace("?", "0"), 16), int("".join("0" if digit == "?" else "f" for digit in padded), 16)


def _fragment(value: Any) -> Any:
    if value not in (None, True, False, "first", "later") or type(value) is int:  # 1 equals True.
        raise ValueError(f"expected true, false, first or later, found {describe(value)}")
    return value


def _idle(value: Any) -> Any:
    if value is not None and value is not True:
        raise ValueError(f"write idle: true, or omit it for packets of all flows; found {describe(value)}")
    return value


_PAYLOAD = re.compile(r"([0-9a-f?]{2}){1,8}")
Length = Annotated[Range, PlainValidator(lambda value: _span(value, 65535))]
Octet = Annotated[Range, PlainValidator(lambda value: _span(value, 255))]
Word = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)]


class BlockList(Strict):
    """One of `filter.lists`: prefixes whose packets are dropped, in the file or in one of their own."""

    prefixes: Annotated[tuple[Network, ...], AsTuple] = ()
    file: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _names_any(self) -> "BlockList":
        if (self.file is None) == (not self.prefixes):
            raise ValueError("a list needs either prefixes or a file")
        return self


class PacketRule(Strict):
    """One of `filter.rules`: which packets are dropped, or another action on them. Omitted conditions match any."""

    version: Literal[4, 6] | None = None
    source: Network | None = None
    destination: Network | None = None
    protocol: Annotated[Range | None, PlainValidator(_protocol)] = None
    source_port: Length | None = None
    destination_port: Length | None = None
    length: Length | None = None
    ttl: Octet | None = None
    ident: Length | None = None
    tcp_flags: Annotated[tuple[int, int] | None, PlainValidator(_tcp_flags)] = None
    window: Length | None = None
    sequence: Word | None = None
    acknowledgement: Word | None = None
    payload: Annotated[tuple[int, int] | None, PlainValidator(_payload)] = None
    fragment: Annotated[Literal[True, False, "first", "later"] | None, BeforeValidator(_fragment)] = None
    # Conditions on flows, sources and apps, which are known while attack detection runs.
    idle: Annotated[Literal[True] | None, BeforeValidator(_idle)] = None
    known: bool | None = None
    served: bool | None = None
    # None: all are dropped, or those beyond `packets_per_second`.
    action: Action | None = None
    # For all matching packets together, or for each source.
    packets_per_second: int | None = Field(None, ge=1, le=100_000_000)

    @property
    def does(self) -> Action:
        """The action on packets that match."""
        return self.action or ("limit" if self.packets_per_second else "block")

    @property
    def needs_flows(self) -> bool:
        """Whether it has conditions on flows, which are known only while attack detection runs."""
        return self.idle is not None or self.known is not None or self.served is not None

    @property
    def has_sequence(self) -> bool:
        """Whether it has a condition on a sequence or acknowledgement number."""
        return self.sequence is not None or self.acknowledgement is not None

    @model_validator(mode="after")
    def _is_about_something(self) -> "PacketRule":
        if not self.model_dump(exclude={"packets_per_second", "action"}, exclude_none=True):
            raise ValueError("a rule without a condition would match every packet")
        if (self.does in LIMITS) != (self.packets_per_second is not None):
            raise ValueError(f"packets_per_second is for {' and '.join(LIMITS)}, which need it; found {self.does}")
        return self

    @model_validator(mode="after")
    def _can_match(self) -> "PacketRule":
        versions = {self.version, *(one.version for one in (self.source, self.destination) if one)} - {None}
        if len(versions) > 1:
            raise ValueError("source and destination must be of one family, and of the given version")
        if self.fragment in (True, "later") and (self.source_port or self.destination_port or self.tcp_flags):
            raise ValueError("later fragments have neither ports nor flags; `fragment: first` matches those that do")
        if (self.source_port or self.destination_port) and not self._may_be(*_WITH_PORTS):
            raise ValueError(
                f"ports exist in {' and '.join(_WITH_PORTS)}: with another protocol a rule matches nothing"
            )
        if self.tcp_flags and not self._may_be("tcp"):
            raise ValueError("tcp_flags exist in TCP: with another protocol a rule matches nothing")
        if self.window is not None and self.protocol != _ONLY_TCP:
            raise ValueError("window exists in TCP: add `protocol: tcp`")
        if self.has_sequence and self.protocol != _ONLY_TCP:
            raise ValueError("sequence and acknowledgement exist in TCP: add `protocol: tcp`")
        if self.has_sequence and self.fragment in (True, "later"):
            raise ValueError("later fragments have no sequence numbers; `fragment: first` matches those that do")
        if self.does == "cookie":
            mask, flags = self.tcp_flags or (0, 0)
            if self.protocol != _ONLY_TCP or (flags ^ TCP_FLAGS["syn"]) & mask & (TCP_FLAGS["syn"] | TCP_FLAGS["ack"]):
                raise ValueError("cookies are for SYNs: add `protocol: tcp`, with no other flags than syn !ack")
        return self

    def _may_be(self, *protocols: str) -> bool:
        low, high = self.protocol or (0, 255)
        return any(low <= PROTOCOLS[name] <= high for name in protocols)


class Filter(Strict):
    """`filter`: packets that are dropped before the network stack, regardless of app."""

    interfaces: Annotated[tuple[str, ...], AsTuple] = Field(min_length=1)
    # Packets from or to these are never dropped: the addresses from which the machine is managed.
    guard: Annotated[tuple[Network, ...], AsTuple] = Field(min_length=1)
    lists: dict[str, BlockList] = Field(default_factory=dict)
    rules: dict[str, PacketRule] = Field(default_factory=dict, max_length=MAX_RULES)
    # Limit for one IPv4 address, or IPv6 /64.
    packets_per_second: int | None = Field(None, ge=1, le=100_000_000)
    burst: int = Field(1000, ge=1, le=1_000_000)
    # Limit for SYNs to one address and port.
    syns_per_second: int | None = Field(None, ge=1, le=100_000_000)
    syn_burst: int = Field(1000, ge=1, le=1_000_000)
    # The action on SYNs beyond that.
    syn_action: Literal["drop", "cookie"] = "cookie"
    # One packet of this number is sampled for `spectrum samples`.
    sample_one_in: int | None = Field(None, ge=1, le=1_000_000_000)
    dry_run: bool = False

    @model_validator(mode="after")
    def _names(self) -> "Filter":
        for name in self.rules:
            if wrong := check_name(name, "a rule"):
                raise ValueError(wrong)
        return self


class FilterKeys(Strict):
    """At the top of the file."""

    filter: Filter | None = None


FILTER = Feature("filter")
