"""Checks of the objects of Advanced TCP protection against each other, and against the filter that applies them."""

from collections.abc import Iterator

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault, Path
from spectrum.core.configuration.feature import CheckContext, Feature, Section
from spectrum.core.tcp_protection.objects import TcpAllowed, TcpFilter, TcpPrefix, TcpProtection, TcpRule
from spectrum.core.tcp_protection.policies import compile_policies
from spectrum.core.tcp_protection.terms import TooManyTerms

SECTIONS = (
    Section("tcp_protection", "TCP protection", TcpProtection),
    Section("tcp_prefixes", "TCP prefix", TcpPrefix),
    Section("tcp_allowlist", "TCP allowlist entry", TcpAllowed),
    Section("tcp_rules", "TCP rule", TcpRule),
    Section("tcp_filters", "TCP filter", TcpFilter),
)


def check_tcp_protection(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield conflicts.

    Args:
        config: The objects that are checked.
        surroundings: The others.
    """
    whole = surroundings.whole
    first = next(iter(whole.tcp_protection), None)
    for name in config.tcp_protection:
        if name != first:
            yield Fault(("tcp_protection", name), f"{first} already defines whether TCP protection is on")
    yield from _twice(config, whole)
    if whole.filter is None:
        for section in ("tcp_rules", "tcp_filters"):
            for name, one in getattr(config, section).items():
                if one.mode != "disabled":
                    yield Fault(
                        (section, name, "mode"),
                        "it needs the filter: `filter` in the file names the interfaces",
                    )
    changed: Iterator[Path] = (
        (section.key, name) for section in reversed(SECTIONS) for name in getattr(config, section.key)
    )
    if (place := next(changed, None)) is not None:
        try:
            compile_policies(whole)
        except TooManyTerms as exc:
            yield Fault(place, str(exc))


def _twice(config: Config, whole: Config) -> Iterator[Fault]:
    """Yield objects that duplicate or contradict another one."""
    for section in ("tcp_prefixes", "tcp_allowlist", "tcp_rules"):
        names: dict[str, list[str]] = {}
        for name, one in getattr(whole, section).items():
            names.setdefault(_about(one), []).append(name)
        for name, one in getattr(config, section).items():
            others, own = names[_about(one)], getattr(config, section)
            earlier = [other for other in others if other not in own] or others[: others.index(name)]
            if earlier:
                yield Fault((section, name), f"{_about(one)} is already the subject of {earlier[0]}")


def _about(one: TcpPrefix | TcpAllowed | TcpRule) -> str:
    return f"{one.component} of {one.scope} {one.place}" if isinstance(one, TcpRule) else str(one.prefix)


TCP_PROTECTION = Feature("tcp_protection", sections=SECTIONS, check=check_tcp_protection)
