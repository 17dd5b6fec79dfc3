"""Advanced TCP protection in the file, with Cloudflare's field names."""

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator

from spectrum.core.configuration.fields import KeyFault, Network, Shown, Strict, text
from spectrum.core.ddos.expressions import FIELDS, ExpressionError, parse
from spectrum.core.tcp_protection.terms import TooManyTerms, terms_of

# The sections; one permission is for all of them.
TCP_SECTIONS = ("tcp_protection", "tcp_prefixes", "tcp_allowlist", "tcp_rules", "tcp_filters")
MAX_EXPRESSION = 8_192
# Cloudflare's limit is unknown.
MAX_COMMENT = 500
# The fields that a filter may use.
FILTER_FIELDS = {name: FIELDS[name] for name in ("ip.src", "ip.dst", "tcp.srcport", "tcp.dstport")}

# SYNs and SYN-ACKs; all other packets.
Component = Literal["syn_protection", "tcp_flow_protection"]
Mode = Literal["monitoring", "enabled", "disabled"]
Scope = Literal["global", "region", "datacenter"]
Sensitivity = Literal["low", "medium", "high"]
Mitigation = Literal["challenge", "retransmit"]
# Packets per second to one destination address above which the action applies.
RATES = {"low": 10_000, "medium": 2_000, "high": 500}
# Burst, as a multiple of the rate, in seconds.
BURSTS = {"low": 2.0, "medium": 0.5, "high": 0.1}


def _expression(value: object) -> str:
    given = text(value, "ip.dst in {192.0.2.0/24} and tcp.dstport eq 22")
    try:
        terms_of(parse(given, FILTER_FIELDS, MAX_EXPRESSION))
    except (ExpressionError, TooManyTerms) as exc:
        raise ValueError(str(exc)) from exc
    return given


FilterExpression = Annotated[str, PlainValidator(_expression)]


class TcpProtection(Strict):
    """One of `tcp_protection`: whether it is on. There is at most one."""

    enabled: bool = Field(
        True,
        description="`false` switches TCP protection off. At most one name is allowed",
    )


class TcpPrefix(Strict):
    """One of `tcp_prefixes`: destinations that are protected, or not. The longest matching prefix decides."""

    prefix: Network = Field(
        description="destinations to protect; without any prefix, all destinations",
    )
    comment: str = Field(
        "",
        max_length=MAX_COMMENT,
        description="a note",
    )
    excluded: bool = Field(
        False,
        description="destinations to leave unprotected. The longest prefix that holds the address decides",
    )


class TcpAllowed(Strict):
    """One of `tcp_allowlist`: sources whose packets are never challenged or dropped."""

    prefix: Network = Field(
        description="sources whose packets always pass",
    )
    comment: str = Field(
        "",
        max_length=MAX_COMMENT,
        description="a note",
    )
    enabled: bool = Field(
        True,
        description="whether the entry is in use",
    )


class TcpRule(Strict):
    """One of `tcp_rules`: the action on packets to protected destinations on all nodes, or on some of them."""

    component: Component = Field(
        description="SYNs and SYN-ACKs, or all other packets",
    )
    scope: Scope = Field(
        "global",
        description="which nodes it applies to: all, those of a region, or one. A node uses its most specific rule",
    )
    place: Annotated[str, Shown("region or name", default="`global`")] = Field(
        "global",
        min_length=1,
        description="the `node.region` or `node.name` of the nodes",
    )
    mode: Mode = Field(
        description="only count, act, or neither",
    )
    rate_sensitivity: Sensitivity = Field(
        "medium",
        description="packets per second of one destination address: 10,000, 2,000, 500",
    )
    burst_sensitivity: Sensitivity = Field(
        "medium",
        description="packets above the rate that may come at once: as many as 2 s, 0.5 s, 0.1 s at that rate have",
    )
    mitigation_type: Annotated[Mitigation | None, Shown(default="`challenge`")] = Field(
        None,
        description="how SYNs above the rate are challenged: see [SYN floods](tcp-protection.md#syn-floods)",
    )

    @model_validator(mode="after")
    def _fits(self) -> "TcpRule":
        if (self.scope == "global") != (self.place == "global"):
            raise KeyFault(
                "a rule of scope global must not name a place"
                if self.scope == "global"
                else f"name the {self.scope} as place",
                "place" if "place" in self.model_fields_set else "scope",
            )
        if self.mitigation_type is not None and self.component != "syn_protection":
            raise KeyFault("mitigation_type is for syn_protection: other packets are dropped", "mitigation_type")
        return self


class TcpFilter(Strict):
    """One of `tcp_filters`: packets that are treated differently from the rules."""

    component: Component = Field(
        description="SYNs and SYN-ACKs, or all other packets",
    )
    expression: Annotated[
        FilterExpression,
        Shown(
            "[expression](ddos-rules.md#expressions) of `ip.src`, `ip.dst`, `tcp.srcport`, `tcp.dstport`; "
            "at most 8,192 characters"
        ),
    ] = Field(
        description="packets for which this `mode` applies instead of the rule's",
    )
    mode: Mode = Field(
        description="only count, act, or neither",
    )


class TcpProtectionKeys(Strict):
    """At the top of the file."""

    tcp_protection: dict[str, TcpProtection] = Field(
        default_factory=dict,
        description="whether [TCP protection](tcp-protection.md) is on",
    )
    tcp_prefixes: dict[str, TcpPrefix] = Field(
        default_factory=dict,
        description="destinations that [TCP protection](tcp-protection.md) protects",
    )
    tcp_allowlist: dict[str, TcpAllowed] = Field(
        default_factory=dict,
        description="sources whose packets always pass [TCP protection](tcp-protection.md)",
    )
    tcp_rules: dict[str, TcpRule] = Field(
        default_factory=dict,
        description="protection against SYN floods and TCP packets without a connection: [TCP "
        "protection](tcp-protection.md)",
    )
    tcp_filters: dict[str, TcpFilter] = Field(
        default_factory=dict,
        description="packets for which [TCP protection](tcp-protection.md) has another mode",
    )
