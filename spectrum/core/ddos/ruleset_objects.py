"""`rulesets`: overrides of the managed rules against attacks; Cloudflare's entry point rulesets."""

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from spectrum.core.configuration.faults import nearest
from spectrum.core.configuration.fields import AsTuple, KeyFault, Shown, Strict, text
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

    sensitivity_level: Sensitivity | None = Field(
        None,
        description="how far traffic must exceed the normal level",
    )
    action: OverrideAction | None = Field(
        None,
        description="the action against an attack",
    )
    enabled: Annotated[StaysOn | None, Shown("`true`")] = Field(
        None,
        description="Cloudflare's; a managed rule cannot be disabled",
    )

    @property
    def setting(self) -> Setting:
        """What it says."""
        return Setting(self.sensitivity_level, self.action)


class CategoryOverride(SettingKeys):
    """One of an override's `categories`: what it says of rules with a tag."""

    category: Annotated[Category, Shown("`udp`, `dns`, ...")] = Field(
        description="a tag of managed rules",
    )


class RuleOverride(SettingKeys):
    """One of an override's `rules`: what it says of one managed rule."""

    id: Annotated[ManagedRuleId, Shown("id, or such as `UDP-0001`")] = Field(
        description="a managed rule, by id or by reference",
    )


class OverrideSettings(SettingKeys):
    """`overrides`: what is said of all managed rules, of those with a tag, and of single ones."""

    categories: Annotated[
        tuple[CategoryOverride, ...], AsTuple, Shown("list of `{category, sensitivity_level, action}`")
    ] = Field(
        (),
        description="the same for managed rules with a tag",
    )
    rules: Annotated[tuple[RuleOverride, ...], AsTuple, Shown("list of `{id, sensitivity_level, action}`")] = Field(
        (),
        description="the same for one managed rule, by id or by reference (`UDP-0001`)",
    )


class EntryRule(Strict):
    """One of a ruleset's `rules`: for which attacks it is, and what it says of managed rules then."""

    ref: Annotated[str | None, Shown(default="`rule-1`, `rule-2`, ...")] = Field(
        None,
        min_length=1,
        max_length=MAX_DESCRIPTION,
        description="a stable reference, from which the id is derived",
    )
    description: Annotated[str, Shown(default="its `ref`")] = Field(
        "",
        max_length=MAX_DESCRIPTION,
        description="the override's name in attacks, events and metrics",
    )
    expression: Annotated[str, Shown("[expression](ddos-rules.md#expressions)")] = Field(
        "true",
        description="the attacks that the override applies to",
    )
    enabled: bool = Field(
        True,
        description="whether the override is in use",
    )
    overrides: OverrideSettings = OverrideSettings()

    @field_validator("expression")
    @classmethod
    def _is_understood(cls, value: str) -> str:
        parse(value)
        return value


class Ruleset(Strict):
    """One of `rulesets`: the entry point of a phase."""

    name: Annotated[str | None, Shown(default="its key")] = Field(
        None,
        min_length=1,
        max_length=MAX_DESCRIPTION,
        description="the name in the API",
    )
    description: str = Field(
        "",
        max_length=MAX_DESCRIPTION,
        description="a note",
    )
    phase: Literal["ddos_l4"] = Field(
        "ddos_l4",
        description="the phase; it has one ruleset, its entry point",
    )
    rules: Annotated[tuple[EntryRule, ...], AsTuple, Shown("list, at most 100", opens=True)] = Field(
        (),
        max_length=MAX_RULES,
        description="overrides, in order of precedence: the first whose expression matches applies",
    )

    @model_validator(mode="after")
    def _refs_differ(self) -> "Ruleset":
        refs = [rule.ref or ref_at(index) for index, rule in enumerate(self.rules)]
        for index, ref in enumerate(refs):
            if ref in refs[:index]:
                raise KeyFault(f"two rules have the ref {ref}", "rules", index)
        return self

    def overrides(self) -> tuple[ManagedOverride, ...]:
        """Return what its rules say, of those that are enabled, in their order."""
        return tuple(_override(rule, rule.ref or ref_at(i)) for i, rule in enumerate(self.rules) if rule.enabled)


class RulesetKeys(Strict):
    """At the top of the file."""

    rulesets: dict[str, Ruleset] = Field(
        default_factory=dict,
        description="overrides of the managed rules against attacks: [DDoS: managed rules](ddos-rules.md#overrides)",
    )


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
