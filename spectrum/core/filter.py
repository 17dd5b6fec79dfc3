"""`filter`: packets that are dropped before the network stack, regardless of app."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import (
    AsTuple,
    FilePath,
    KeyFault,
    Network,
    Shown,
    Strict,
    check_name,
    describe,
    text,
)
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
Length = Annotated[Range, PlainValidator(lambda value: _span(value, 65535)), Shown("number or range, up to 65535")]
Octet = Annotated[Range, PlainValidator(lambda value: _span(value, 255)), Shown("number or range, up to 255")]
Word = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF), Shown("number, up to 4294967295")]


class BlockList(Strict):
    """One of `filter.lists`: prefixes whose packets are dropped, in the file or in one of their own."""

    prefixes: Annotated[tuple[Network, ...], AsTuple, Shown(default="one of the two")] = Field(
        (),
        description="sources whose packets are dropped",
    )
    file: Annotated[FilePath | None, Shown("path", default="one of the two")] = Field(
        None,
        description="a file with one address or prefix per line, and comments after `#` or `;`; it is watched "
        "and read again when it changes",
    )

    @model_validator(mode="after")
    def _names_any(self) -> "BlockList":
        if (self.file is None) == (not self.prefixes):
            raise ValueError("a list needs either prefixes or a file")
        return self


class PacketRule(Strict):
    """One of `filter.rules`: which packets are dropped, or another action on them. Omitted conditions match any."""

    version: Literal[4, 6] | None = Field(
        None,
        description="IP version",
    )
    source: Network | None = Field(
        None,
        description="source address; of one family with `destination`",
    )
    destination: Network | None = Field(
        None,
        description="destination address",
    )
    protocol: Annotated[
        Range | None,
        PlainValidator(_protocol),
        Shown("`icmp`, `tcp`, `udp`, `gre`, `esp`, `icmpv6`, `sctp`, a number, a range"),
    ] = Field(
        None,
        description="IP protocol",
    )
    source_port: Length | None = Field(
        None,
        description="source port of TCP or UDP",
    )
    destination_port: Length | None = Field(
        None,
        description="destination port of TCP or UDP",
    )
    length: Length | None = Field(
        None,
        description="length of the IP packet in bytes",
    )
    ttl: Octet | None = Field(
        None,
        description="time to live, or hop limit",
    )
    ident: Length | None = Field(
        None,
        description="identification of the IPv4 header; 0 for IPv6",
    )
    tcp_flags: Annotated[tuple[int, int] | None, PlainValidator(_tcp_flags), Shown("such as `syn !ack`")] = Field(
        None,
        description="flags that are set, and (`!`) flags that are not: `fin`, `syn`, `rst`, `psh`, `ack`, "
        "`urg`, `ece`, `cwr`",
    )
    window: Length | None = Field(
        None,
        description="window of the TCP header, unscaled; belongs to `protocol: tcp`",
    )
    sequence: Word | None = Field(
        None,
        description="sequence number of the TCP header; belongs to `protocol: tcp`. Some tools for floods use one "
        "number for all packets",
    )
    acknowledgement: Word | None = Field(
        None,
        description="acknowledgement number of the TCP header; belongs to `protocol: tcp`",
    )
    payload: Annotated[tuple[int, int] | None, PlainValidator(_payload), Shown('such as `"4756??01"`')] = Field(
        None,
        description="first bytes after the TCP or UDP header, at most 8: two hex digits each, `?` for any "
        "digit. Shorter payloads are padded with zeros",
    )
    fragment: Annotated[Literal[True, False, "first", "later"] | None, BeforeValidator(_fragment)] = Field(
        None,
        description="only fragments, only unfragmented packets, only first or only later fragments; ports and "
        "flags of later ones are unknown",
    )
    idle: Annotated[Literal[True] | None, BeforeValidator(_idle)] = Field(
        None,
        description="only packets that belong to no session in use: the first packets of new sessions, and "
        "packets without a session",
    )
    known: bool | None = Field(
        None,
        description="whether its source had a session in use within 24 hours",
    )
    served: bool | None = Field(
        None,
        description="whether an app listens at its destination address, protocol and port",
    )
    action: Annotated[Action | None, Shown(default="`limit` with `packets_per_second`, else `block`")] = Field(
        None,
        description="what happens to matching packets: see below",
    )
    packets_per_second: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="rate of `limit` and `source-limit`",
    )

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
            raise KeyFault("tcp_flags exist in TCP: with another protocol a rule matches nothing", "tcp_flags")
        if self.window is not None and self.protocol != _ONLY_TCP:
            raise KeyFault("window exists in TCP: add `protocol: tcp`", "window")
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

    interfaces: Annotated[tuple[str, ...], AsTuple] = Field(
        min_length=1,
        description="interfaces to filter on; XDP runs in the driver if it supports that, else in the kernel "
        "(generic XDP)",
    )
    guard: Annotated[tuple[Network, ...], AsTuple] = Field(
        min_length=1,
        description="sources and destinations whose packets always pass, so that a rule cannot lock out the "
        "administrator",
    )
    lists: Annotated[dict[str, BlockList], Shown(opens=True)] = Field(
        default_factory=dict,
        description="denylists of sources, at most a million prefixes in total, with counters per list",
    )
    rules: Annotated[dict[str, PacketRule], Shown("mapping of names, at most 64")] = Field(
        default_factory=dict,
        max_length=MAX_RULES,
        description="[rules](filter.md#rules) that drop, limit, challenge or count packets by their headers, "
        "with counters per rule",
    )
    packets_per_second: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="rate of each source (IPv4 address or IPv6 /64); packets above it are dropped",
    )
    burst: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="packets of a source above that rate that may come at once",
    )
    syns_per_second: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="rate of SYNs for one address and port of this machine; `syn_action` applies above it",
    )
    syn_burst: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="SYNs above that rate that may come at once",
    )
    syn_action: Literal["drop", "cookie"] = Field(
        "cookie",
        description="answer excess SYNs with [SYN cookies](filter.md#syn-cookies), or drop them",
    )
    sample_one_in: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="one packet in this number is [sampled](filter.md#samples)",
    )
    dry_run: bool = Field(
        False,
        description="count everything and drop nothing",
    )

    @model_validator(mode="after")
    def _names(self) -> "Filter":
        for name in self.rules:
            if wrong := check_name(name, "a rule"):
                raise ValueError(wrong)
        return self


class FilterKeys(Strict):
    """At the top of the file."""

    filter: Annotated[Filter | None, Shown("mapping")] = Field(
        None,
        description="packets to drop before the network stack: [Filter](filter.md)",
    )


FILTER = Feature("filter")
