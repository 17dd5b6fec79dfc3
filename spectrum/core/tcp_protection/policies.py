"""Compiles Advanced TCP protection for the kernel: which packets it applies to, and the actions. Each filter becomes
some terms, and the rules one term for all protected destinations. The first term that matches a packet decides:
allowlist, filters that mitigate, those that monitor, those that switch off, rules. Terms are looked up by bit vectors:
each of four fields has a table of prefixes with a bit for every term whose set contains the prefix.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from spectrum.core.ddos.expressions import Spans, parse
from spectrum.core.tcp_protection.objects import (
    BURSTS,
    FILTER_FIELDS,
    MAX_EXPRESSION,
    RATES,
    Component,
    TcpPrefix,
    TcpRule,
)
from spectrum.core.tcp_protection.policy import MAX_POLICIES, MAX_PREFIXES, Policies, Policy, Table
from spectrum.core.tcp_protection.terms import (
    ADDRESS_BITS,
    ALL_ADDRESSES,
    PORT_BITS,
    Term,
    TooManyTerms,
    met_by,
    prefixes_of,
    span_of,
    terms_of,
    union,
    without,
    without_mapped,
)

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config

COMPONENTS: tuple[Component, ...] = get_args(Component)
_SCOPES = ("datacenter", "region", "global")
_FILTER_MODES = ("enabled", "monitoring", "disabled")
_DEFAULTS = {component: TcpRule(component=component, mode="disabled") for component in COMPONENTS}


def rule_of(config: "Config", component: Component) -> tuple[str, TcpRule] | None:
    """Return the name of the rule for this node, the most specific one, and the rule."""
    places = {"datacenter": config.node.name, "region": config.node.region, "global": "global"}
    found = {
        rule.scope: (name, rule)
        for name, rule in config.tcp_rules.items()
        if rule.component == component and places[rule.scope] == rule.place
    }
    return next((found[scope] for scope in _SCOPES if scope in found), None)


def is_enabled(config: "Config") -> bool:
    """Return whether protection is not switched off as a whole."""
    return all(one.enabled for one in config.tcp_protection.values())


def compile_policies(config: "Config") -> Policies:
    """Return the policies for the kernel of this node.

    Raises:
        TooManyTerms: If they exceed its capacity.
    """
    if not is_enabled(config):
        return Policies()
    found = list(_policies(config))
    if all(policy.mode == "disabled" for _, policy, _ in found):
        return Policies()
    if len(found) > MAX_POLICIES:
        raise TooManyTerms(
            f"filters expand to {len(found)} alternatives of addresses and ports; the maximum is {MAX_POLICIES}"
        )
    masks = [sum(1 << at for at, (_, _, of) in enumerate(found) if one in of) for one in COMPONENTS]
    tables = tuple(
        _table([term[place] for term, _, _ in found], bits)
        for place, bits in enumerate((ADDRESS_BITS, ADDRESS_BITS, PORT_BITS, PORT_BITS))
    )
    if (count := sum(map(len, tables))) > MAX_PREFIXES:
        raise TooManyTerms(
            f"the addresses and ports of TCP protection expand to {count} prefixes; the maximum is {MAX_PREFIXES}"
        )
    return Policies(tuple(policy for _, policy, _ in found), tuple(masks), tables)


def _policies(config: "Config") -> Iterator[tuple[Term, Policy, Sequence[Component]]]:
    allowed = _spans(one.prefix for one in config.tcp_allowlist.values() if one.enabled)
    if allowed:
        yield Term(source=allowed), Policy(), COMPONENTS
    protected = Term(destination=protected_spans(config.tcp_prefixes.values()))
    if not protected.destination:
        return
    rules = {component: rule_of(config, component) for component in COMPONENTS}
    for mode in _FILTER_MODES:
        for one in config.tcp_filters.values():
            if one.mode != mode:
                continue
            rule = rules[one.component]
            policy = _policy(mode, rule[1] if rule else _DEFAULTS[one.component])
            for term in terms_of(parse(one.expression, FILTER_FIELDS, MAX_EXPRESSION)):
                if (met := met_by(term, protected)) is not None:
                    yield met, policy, (one.component,)
    for component, rule in rules.items():
        if rule is not None and rule[1].mode != "disabled":
            yield protected, _policy(rule[1].mode, rule[1]), (component,)


def _policy(mode: str, rule: TcpRule) -> Policy:
    rate = RATES[rule.rate_sensitivity]
    return Policy(mode, rate, round(rate * BURSTS[rule.burst_sensitivity]), rule.mitigation_type == "retransmit")


def protected_spans(prefixes: Iterable[TcpPrefix]) -> Spans:
    """Return the protected destinations: all, if there are no prefixes."""
    some = sorted(prefixes, key=lambda one: one.prefix.prefixlen + (96 if one.prefix.version == 4 else 0))
    found: Spans = () if any(not one.excluded for one in some) else ALL_ADDRESSES
    for one in some:  # Longer prefixes override shorter ones.
        spans = _spans([one.prefix])
        found = without(found, spans) if one.excluded else union((*found, *spans))
    return found


def _spans(prefixes: Iterable) -> Spans:  # type: ignore[type-arg]
    return union(part for prefix in prefixes for part in without_mapped(span_of(prefix)))


def _table(sets: Sequence[Spans], bits: int) -> Table:
    """Return which prefixes each set contains, as a table for the longest match; empty if each contains everything."""
    everything = ((0, 2**bits - 1),)
    if all(one == everything for one in sets):
        return {}
    own: dict[tuple[int, int], int] = {(0, 0): 0}
    for at, one in enumerate(sets):
        for prefix in prefixes_of(one, bits):
            own[prefix] = own.get(prefix, 0) | 1 << at
    table: dict[tuple[int, int], int] = {}
    above: list[tuple[int, int]] = []
    for prefix in sorted(own, key=lambda one: (one[1], one[0])):
        first = prefix[1]
        while above and not _holds(above[-1], first, bits):
            above.pop()
        table[prefix] = own[prefix] | (table[above[-1]] if above else 0)
        above.append(prefix)
    return table


def _holds(prefix: tuple[int, int], number: int, bits: int) -> bool:
    length, first = prefix
    return number >> (bits - length) == first >> (bits - length)
