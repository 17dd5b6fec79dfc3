"""The filter's treatment of a client's packets, as far as its address and the app determine it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from spectrum.core.filter import Filter, PacketRule
from spectrum.core.packets import PROTOCOLS, TCP_FLAGS
from spectrum.wire.address import IPAddress

Span = tuple[int, int]


class ListMatch(NamedTuple):
    """A prefix of a list that contains a client: the list's name, the prefix, and file and line, or ""."""

    name: str
    prefix: str
    place: str


class FilterVerdict(NamedTuple):
    """The treatment of a client's packets: whether all are dropped, and the reasons, as sentences."""

    drops: bool
    steps: list[str]


def judge_packets(
    settings: Filter, listed: Sequence[ListMatch], client: IPAddress, transport: str, ports: Span
) -> FilterVerdict:
    """Return what the filter does with the packets of a client, in order: guard, lists, rules, rates.

    Args:
        settings: `filter` of the file.
        listed: The prefixes of its lists that contain the client.
        client: Its address.
        transport: "tcp" or "udp".
        ports: The first and the last port of the app.
    """
    head = f"filter on {', '.join(settings.interfaces)}{' (dry run, nothing is dropped)' * settings.dry_run}"
    for guard in settings.guard:
        if client in guard:
            return FilterVerdict(False, [f"{head}: guard {guard} contains it: none of its packets is dropped"])
    dropped = "would be dropped" if settings.dry_run else "are dropped"
    steps: list[str] = []
    for one in listed:
        where = f"{one.prefix} in {one.place}" if one.place else one.prefix
        steps.append(f"{head}: list {one.name} contains it ({where}): all its packets {dropped}")
        return FilterVerdict(not settings.dry_run, steps)
    for name, rule in settings.rules.items():
        conditions = _conditions(rule, client, transport, ports)
        if conditions is None:
            continue
        those = f"its packets with {', '.join(conditions)}" if conditions else "its packets"
        steps.append(f"{head}: rule {name}: {those} {_fate(rule, dropped)}")
        if not conditions and rule.does == "block":
            return FilterVerdict(not settings.dry_run, steps)
    steps += [f"{head}: {rate}" for rate in _rates(settings, transport, dropped)]
    return FilterVerdict(False, steps or [f"{head}: no rule matches its packets"])


def _fate(rule: PacketRule, dropped: str) -> str:
    match rule.does:
        case "log":
            return "are counted"
        case "limit":
            return f"{dropped} beyond {rule.packets_per_second} a second, those of other sources included"
        case "source-limit":
            return f"{dropped} beyond {rule.packets_per_second} a second, those of its /64 included for IPv6"
        case "cookie":
            return "get cookies if they are SYNs"
        case "retry":
            return f"{dropped} when first sent, and pass when retransmitted"
        case _:
            return dropped


def _rates(settings: Filter, transport: str, dropped: str) -> Iterator[str]:
    if settings.syns_per_second and transport == "tcp":
        fate = dropped if settings.syn_action == "drop" else "get cookies"
        yield f"SYNs beyond {settings.syns_per_second} a second for one address and port {fate}"
    if settings.packets_per_second:
        yield f"its packets beyond {settings.packets_per_second} a second {dropped}, those of its /64 included for IPv6"


def _conditions(rule: PacketRule, client: IPAddress, transport: str, ports: Span) -> list[str] | None:
    """Return the other conditions on packets of the client for a rule to match; None if it never matches."""
    if rule.source is not None and client not in rule.source:
        return None
    if rule.version not in (None, client.version) or rule.served is False:
        return None
    if rule.destination is not None and rule.destination.version != client.version:
        return None
    if rule.protocol is not None and not _holds(rule.protocol, PROTOCOLS[transport]):
        return None
    if rule.tcp_flags is not None and transport != "tcp":
        return None
    conditions = [f"destination {rule.destination}"] if rule.destination is not None else []
    if rule.destination_port is not None:
        first, last = max(rule.destination_port[0], ports[0]), min(rule.destination_port[1], ports[1])
        if first > last:
            return None
        if (first, last) != ports:
            conditions.append(f"destination port {_text((first, last))}")
    for what, span in (
        ("source port", rule.source_port),
        ("length", rule.length),
        ("ttl", rule.ttl),
        ("ident", rule.ident),
        ("window", rule.window),
    ):
        if span is not None:
            conditions.append(f"{what} {_text(span)}")
    for what, number in (("sequence", rule.sequence), ("acknowledgement", rule.acknowledgement)):
        if number is not None:
            conditions.append(f"{what} {number}")
    # Without its first packet there is no connection.
    if rule.tcp_flags is not None and TCP_FLAGS["syn"] & rule.tcp_flags[0] != rule.tcp_flags[1]:
        conditions.append(f"TCP flags {_flags(rule.tcp_flags)}")
    if rule.payload is not None:
        conditions.append(f"a payload that begins {_payload(rule.payload)}")
    if rule.fragment:
        conditions.append("fragments" if rule.fragment is True else f"{rule.fragment} fragments")
    if rule.idle:
        conditions.append("no session in use")
    if rule.known is not None:
        conditions.append("a known source" if rule.known else "an unknown source")
    return conditions


def _holds(span: Span, number: int) -> bool:
    return span[0] <= number <= span[1]


def _text(span: Span) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"


def _flags(rule: tuple[int, int]) -> str:
    mask, flags = rule
    return " ".join(f"{'' if flags & bit else '!'}{name}" for name, bit in TCP_FLAGS.items() if mask & bit)


def _payload(rule: tuple[int, int]) -> str:
    payload, mask = (f"{number:016x}" for number in rule)
    return "".join(digit if seen == "f" else "?" for digit, seen in zip(payload, mask, strict=True)).rstrip("?")
