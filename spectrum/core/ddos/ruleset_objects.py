"""`rulesets`: overrides of the managed rules against attacks; Cloudflare's entry point rulesets."""

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from spectrum.core.configuration.faults import nearest
from spectrum.core.configuration.fields import AsTuple, Strict, text
from spectrum.core.ddos.expressions import parse
from spectrum.core.ddos.managed import BY_ID, BY_REF, CATEGORIES, PHASE, Sensitivity
from spectrum.core.ddos.overrides import ManagedOverride, OverrideAction, Setting

# Cloudflare's limits.
MAX_DESCRIPTION = 500
MAX_RULES = 100
_ID = re.compile("[0-9a-f]{32}")
_NO_SWITCH = "a managed rule cannot be disabled; sensitivity_level: eoff mitigates only exceptional attacks"


def _category(value: Any) -> str:
    name = text(value, "dns")
    if name not in CATEGORIES:
        raise ValueError(f'there is no category "{name}"{nearest(name, list(CATEGORIES))}')
    return name


def _managed_rule(value: Any) -> str:
    """Return the id of a managed rule, by its id or its reference."""
    name = text(value, "UDP-0001")
    if name in BY_ID:
        return name
    if name in BY_REF:
        return BY_REF[name].id
    hint = "; `spectrum ddos rules` lists them" if _ID.fullmatch(name) else nearest(name, list(BY_REF))
    raise ValueError(f'there is no managed rule "{name}"{hint}')


def _stays_on(value: Any) -> bool:
    if value is not True:
        raise ValueError(_NO_SWITCH)
    return value


Category = Annotated[str, PlainValidator(_category)]
ManagedRuleId = Annotated[str, PlainValidator(_managed_rule)]
StaysOn = Annotated[bool, PlainValidator(_stays_on)]


class SettingKeys(Strict):
    """What is said of managed rules."""

    sensitivity_level: Sensitivity | None = None
    action: OverrideAction | None = None
    # Cloudflare's, where it may be true alone.
    enabled: StaysOn | None = None

    @property
    def setting(self) -> Setting:
        """What it says."""
        return Setting(self.sensitivity_level, self.action)


class CategoryOverride(SettingKeys):
    """One of an override's `categories`: what it says of rules with a tag."""

    category: Category


class RuleOverride(SettingKeys):
    """One of an override's `rules`: what it says of one managed rule."""

    id: ManagedRuleId


class OverrideSettings(SettingKeys):
    """`overrides`: what is said of all managed rules, of those with a tag, and of single ones."""

    categories: Annotated[tuple[CategoryOverride, ...], AsTuple] = ()
    rules: Annotated[tuple[RuleOverride, ...], AsTuple] = ()


class EntryRule(Strict):
    """One of a ruleset's `rules`: for which attacks it is, and what it says of managed rules then."""

    # Its name towards programs. Where it stands when left out.
    ref: str | None = Field(None, min_length=1, max_length=MAX_DESCRIPTION)
    description: str = Field("", max_length=MAX_DESCRIPTION)
    expression: str = "true"
    enabled: bool = True
    overrides: OverrideSettings = OverrideSettings()

    @field_validator("expression")
    @classmethod
    def _is_understood(cls, value: str) -> str:
        parse(value)
        return value


class Ruleset(Strict):
    """One of `rulesets`: the entry point of a phase."""

    # What the API calls it, where it is not its key.
    name: str | None = Field(None, min_length=1, max_length=MAX_DESCRIPTION)
    description: str = Field("", max_length=MAX_DESCRIPTION)
    phase: Literal["ddos_l4"] = "ddos_l4"
    # The first one that fits an attack is the one.
    rules: Annotated[tuple[EntryRule, ...], AsTuple] = Field((), max_length=MAX_RULES)

    @model_validator(mode="after")
    def _refs_differ(self) -> "Ruleset":
        refs = [rule.ref or ref_at(index) for index, rule in enumerate(self.rules)]
        for ref in refs:
            if refs.count(ref) > 1:
                raise ValueError(f"two rules have the ref {ref}")
        return self

    def overrides(self) -> tuple[ManagedOverride, ...]:
        """Return what its rules say, of those that are enabled, in their order."""
        return tuple(_override(rule, rule.ref or ref_at(i)) for i, rule in enumerate(self.rules) if rule.enabled)


class RulesetKeys(Strict):
    """At the top of the file."""

    rulesets: dict[str, Ruleset] = Field(default_factory=dict)


def ref_at(index: int) -> str:
    """Return the reference of a rule that says none, by where it stands, from 0 on."""
    return f"rule-{index + 1}"


def rule_id(ref: str) -> str:
    """Return the id of a rule, by its reference, which is its id where it has that form."""
    return ref if _ID.fullmatch(ref) else hashlib.sha256(f"{PHASE}/entry/{ref}".encode()).hexdigest()[:32]


def _override(rule: EntryRule, ref: str) -> ManagedOverride:
    return ManagedOverride(
        rule_id(ref),
        rule.description or ref,
        rule.expression,
        rule.overrides.setting,
        tuple((one.category, one.setting) for one in rule.overrides.categories),
        tuple((one.id, one.setting) for one in rule.overrides.rules),
    )
