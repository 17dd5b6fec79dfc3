"""Checks of detection and rulesets, and the overrides for the detector."""

from collections.abc import Iterator

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature, Section
from spectrum.core.ddos.overrides import ManagedOverride
from spectrum.core.ddos.ruleset_objects import Ruleset
from spectrum.core.ddos.served import ServedError, served_places


def check_ddos(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield the faults of detection and its rulesets."""
    if config.ddos is not None and config.filter is not None and config.ddos.guard:
        yield Fault(("ddos", "guard"), "with filter the guarded prefixes are those of filter.guard; write them there")
    if config.ddos is None and config.filter is not None:
        for name, rule in config.filter.rules.items():
            if rule.needs_flows:
                yield Fault(
                    ("filter", "rules", name),
                    "idle, known and served need attack detection; write ddos: {}",
                )
    if config.ddos is not None:
        try:
            served_places(surroundings.whole.apps)
        except ServedError as exc:
            yield Fault(("ddos",), str(exc))
    yield from check_rulesets(config, surroundings)


def check_rulesets(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield a fault for each further ruleset: a phase has one entry point."""
    first = next(iter(surroundings.whole.rulesets), None)
    for name, ruleset in config.rulesets.items():
        if name != first:
            yield Fault(("rulesets", name), f"ruleset {first} is already the entry point of {ruleset.phase}")


def idle_rulesets(config: Config) -> Iterator[str]:
    """Yield a warning if rulesets have no effect without detection."""
    if config.ddos is None and config.rulesets:
        yield f"rulesets: {', '.join(config.rulesets)} does nothing while no attacks are looked for; write ddos: {{}}"


def overrides_of(config: Config) -> tuple[ManagedOverride, ...]:
    """Return the overrides of a configuration, in order of evaluation."""
    return tuple(one for ruleset in config.rulesets.values() for one in ruleset.overrides())


DDOS = Feature("ddos", sections=(Section("rulesets", "ruleset", Ruleset),), check=check_ddos, idle=idle_rulesets)
