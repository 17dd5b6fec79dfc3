"""Overrides of managed rules by operators: sensitivity, and action. The first matching override applies: its expression
holds for the properties that the attack's packets share, and it has a setting for the managed rule. Within it, a
setting of a rule has precedence over one of a tag, and that over one of all; of several tags that the rule has, the
last one applies. (Cloudflare's rulesets, "ManagedOverride a managed ruleset".)

An override is not an exception for packets: it applies to a detection. An expression about a source that not all
packets of the attack have has no effect.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from spectrum.core.ddos.expressions import Expression, Spans, holds, parse
from spectrum.core.ddos.managed import SENSITIVITIES, ManagedAction, ManagedRule, Sensitivity

OverrideAction = Literal["block", "log", "ddos_dynamic"]
OVERRIDE_ACTIONS: tuple[OverrideAction, ...] = ("block", "ddos_dynamic", "log")


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings for some managed rules; None is no setting.

    Attributes:
        sensitivity_level: The sensitivity.
        action: The action.
    """

    sensitivity_level: Sensitivity | None = None
    action: OverrideAction | None = None


@dataclass(frozen=True, slots=True)
class ManagedOverride:
    """The settings of managed rules for attacks that match an expression.

    Attributes:
        id: 32 hex digits.
        name: The displayed name.
        expression: The condition on the common properties of an attack's packets.
        everything: The settings of all managed rules.
        categories: Tags, in order, each with the settings of rules that have it.
        rules: Ids of managed rules, each with its settings.
    """

    id: str
    name: str
    expression: str = "true"
    everything: Setting = Setting()
    categories: tuple[tuple[str, Setting], ...] = ()
    rules: tuple[tuple[str, Setting], ...] = ()

    def settings_of(self, rule: ManagedRule) -> Iterator[Setting]:
        """Yield its settings of a managed rule, in order of precedence."""
        yield from (setting for rule_id, setting in reversed(self.rules) if rule_id == rule.id)
        yield from (setting for tag, setting in reversed(self.categories) if tag in rule.categories)
        yield self.everything

    def sensitivities(self) -> Iterator[Sensitivity]:
        """Yield every sensitivity that it sets."""
        for setting in (self.everything, *(one for _, one in self.categories), *(one for _, one in self.rules)):
            if setting.sensitivity_level is not None:
                yield setting.sensitivity_level


@dataclass(frozen=True, slots=True)
class Ruling:
    """The settings that apply to an attack.

    Attributes:
        sensitivity_level: The sensitivity.
        action: The action.
        override: The name of the override; empty without one.
        override_id: Its id; empty without one.
    """

    sensitivity_level: Sensitivity
    action: ManagedAction
    override: str = ""
    override_id: str = ""


class Overrides:
    """All overrides.

    Args:
        overrides: In order; their expressions are valid.
        everywhere: The settings without an override.
    """

    def __init__(self, overrides: Iterable[ManagedOverride] = (), everywhere: Setting = Setting()) -> None:
        self._overrides: list[tuple[ManagedOverride, Expression]] = [(one, parse(one.expression)) for one in overrides]
        self._everywhere = everywhere

    @property
    def most_sensitive(self) -> Sensitivity:
        """The highest sensitivity of any rule: a smaller excess cannot activate one."""
        base = self._everywhere.sensitivity_level or "default"
        found = {base, *(level for one, _ in self._overrides for level in one.sensitivities())}
        return min(found, key=SENSITIVITIES.index)

    def judge(self, rule: ManagedRule, fields: Mapping[str, Spans]) -> Ruling:
        """Return the settings for an attack.

        Args:
            rule: The managed rule that it is an instance of.
            fields: The common values of its packets, by field. Other fields are not in its fingerprint.
        """
        chosen = self._chosen(rule, fields)
        said = (*(chosen.settings_of(rule) if chosen else ()), self._everywhere)
        levels = (one.sensitivity_level for one in said if one.sensitivity_level is not None)
        level: Sensitivity = next(levels, "default")
        action = next((one.action for one in said if one.action is not None), rule.action)
        return Ruling(level, action, chosen.name, chosen.id) if chosen else Ruling(level, action)

    def _chosen(self, rule: ManagedRule, fields: Mapping[str, Spans]) -> ManagedOverride | None:
        for one, expression in self._overrides:
            if any(setting != Setting() for setting in one.settings_of(rule)) and holds(expression, fields.get):
                return one
        return None
