"""`filter`: what is dropped before the network stack sees it, whatever it is for."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator

from spectrum.core.configuration.feature import Feature
from spectrum.core.configuration.fields import AsTuple, Network, Strict, check_name, describe, text
from spectrum.core.packets import MAX_RULES, PROTOCOLS, TCP_FLAGS

Range = tuple[int, int]


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
        raise ValueError(f"{describe(value)} is no protocol: {', '.join(PROTOCOLS)}, or a number up to 255") from exc


def _tcp_flags(value: Any) -> tuple[int, int]:
    """Return the flags that are looked at, and those of them that are set, of a text such as `syn !ack`."""
    mask = flags = 0
    for word in text(value).split():
        flag = TCP_FLAGS.get(word.removeprefix("!"))
        if flag is None or mask & flag:
            raise ValueError(f"{value!r}: each of {', '.join(TCP_FLAGS)} once at most, and ! before what is not set")
        mask |= flag
        flags |= 0 if word.startswith("!") else flag
    return mask, flags


Length = Annotated[Range, PlainValidator(lambda value: _span(value, 65535))]
Octet = Annotated[Range, PlainValidator(lambda value: _span(value, 255))]


class BlockList(Strict):
    """One of `filter.lists`: prefixes whose packets are dropped, in the file or in one of their own."""

    prefixes: Annotated[tuple[Network, ...], AsTuple] = ()
    file: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _names_any(self) -> "BlockList":
        if (self.file is None) == (not self.prefixes):
            raise ValueError("a list has either prefixes or a file")
        return self


class PacketRule(Strict):
    """One of `filter.rules`: packets that are dropped, or beyond so many a second. What is left out is any."""

    source: Network | None = None
    destination: Network | None = None
    protocol: Annotated[Range | None, PlainValidator(_protocol)] = None
    source_port: Length | None = None
    destination_port: Length | None = None
    length: Length | None = None
    ttl: Octet | None = None
    tcp_flags: Annotated[tuple[int, int] | None, PlainValidator(_tcp_flags)] = None
    fragment: bool | None = None
    # Of all that match together; none: all are dropped.
    packets_per_second: int | None = Field(None, ge=1, le=100_000_000)

    @model_validator(mode="after")
    def _is_about_something(self) -> "PacketRule":
        if not self.model_fields_set - {"packets_per_second"}:
            raise ValueError("a rule without anything to match would be about every packet")
        prefixes = self.source, self.destination
        if None not in prefixes and len({prefix.version for prefix in prefixes if prefix}) > 1:
            raise ValueError("source and destination are of one family")
        if self.fragment and (self.source_port or self.destination_port or self.tcp_flags):
            raise ValueError("fragments show neither ports nor flags")
        return self


class Filter(Strict):
    """`filter`: what is dropped before the network stack sees it, whatever it is for."""

    interfaces: Annotated[tuple[str, ...], AsTuple] = Field(min_length=1)
    # From or to these nothing is dropped: where one manages the machine from.
    guard: Annotated[tuple[Network, ...], AsTuple] = Field(min_length=1)
    lists: dict[str, BlockList] = Field(default_factory=dict)
    rules: dict[str, PacketRule] = Field(default_factory=dict, max_length=MAX_RULES)
    # Of one IPv4 address, or IPv6 /64.
    packets_per_second: int | None = Field(None, ge=1, le=100_000_000)
    burst: int = Field(1000, ge=1, le=1_000_000)
    # Of TCP, for one address and port.
    syns_per_second: int | None = Field(None, ge=1, le=100_000_000)
    syn_burst: int = Field(1000, ge=1, le=1_000_000)
    # What becomes of SYNs beyond that.
    syn_action: Literal["drop", "cookie"] = "cookie"
    # One packet of so many is shown by `spectrum samples`.
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
