"""Checks of access rules against the rest of the file."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from spectrum.core.access.lists import AddressList
from spectrum.core.access.objects import AccessRule
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault, Path, nearest
from spectrum.core.configuration.feature import CheckContext, Feature, Named, Names, Section


def check_access(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield every fault between access rules and the rest of a file.

    A rule without effect is a fault, because its author relies on it; except for rules of a zone or an account, which
    are for future apps, too.

    Args:
        config: Holds the rules, as far as they are well-formed by themselves.
        surroundings: The apps.
    """
    names, apps = surroundings.names["apps"], surroundings.whole.apps
    are_for_all = any(_is_for_all(rule) for rule in config.access_rules.values())
    nobody_asks = are_for_all and len(names) == len(apps) and not any(app.ip_firewall for app in apps.values())
    for name, rule in config.access_rules.items():
        path = ("access_rules", name)
        if _is_for_all(rule) and nobody_asks:
            yield Fault(path, "no app uses access rules; write ip_firewall: true in those that should")
        for i, app in enumerate(rule.apps or ()):
            if app not in names:
                yield Fault((*path, "apps", i), f'there is no app "{app}"{nearest(app, list(names))}')
            elif app in apps and not apps[app].ip_firewall:
                yield Fault((*path, "apps", i), f"app {app} does not use access rules; write ip_firewall: true there")
        if rule.list_name is not None:
            yield from _list_faults((*path, "list"), rule, surroundings.whole.lists, surroundings.names["lists"])
        if rule.target == "country" and (config.geoip is None or config.geoip.database is None):
            yield Fault((*path, "target"), "countries come from an MMDB file; write geoip: {database: ...}")
        if rule.target == "asn" and (config.geoip is None or config.geoip.asn_database is None):
            yield Fault(
                (*path, "target"), "autonomous systems come from an MMDB file; write geoip: {asn_database: ...}"
            )


def _rules_for_all(before: Config, after: Config, changed: Names) -> Iterable[Named]:
    """Return the rules that are not for named apps, if no app uses access rules any more."""
    asked = (name for name in changed.get("apps", ()) if name in before.apps and before.apps[name].ip_firewall)
    if all(name in after.apps and after.apps[name].ip_firewall for name in asked):
        return ()
    return (("access_rules", name) for name, rule in after.access_rules.items() if _is_for_all(rule))


def _refers_to(rule: AccessRule) -> Iterable[Named]:
    yield from (("apps", name) for name in rule.apps or ())
    if rule.list_name is not None:
        yield "lists", rule.list_name


def _is_for_all(rule: AccessRule) -> bool:
    """Return whether a rule is for every app that uses access rules; others are for future apps."""
    return rule.apps is None and rule.zone is None and rule.account is None


def _list_faults(
    path: Path, rule: AccessRule, lists: Mapping[str, AddressList], named: Collection[str]
) -> Iterator[Fault]:
    name = str(rule.list_name)
    if name not in named:
        hint = nearest(name, list(named)) if named else "; write lists: {NAME: {kind: ip, items: [...]}}"
        yield Fault(path, f'there is no list "{name}"{hint}')
    elif name in lists and lists[name].kind != rule.list_kind:
        yield Fault(path, f"list {name} is of kind {lists[name].kind}, which cannot be used with target: {rule.target}")


def _compile(config: Config, numbers: Mapping[str, int]) -> Mapping[str, Any]:
    places = config.geoip
    return {"geoip": places.database or "", "geoip_asn": places.asn_database or ""} if places else {}


def _compile_app(app: App) -> Mapping[str, Any]:
    return {"ip_firewall": app.ip_firewall}


ACCESS = Feature(
    "access",
    sections=(
        Section("lists", "list", AddressList, shows=attrgetter("kind")),
        Section("access_rules", "access rule", AccessRule, _refers_to),
    ),
    check=check_access,
    draws_in=_rules_for_all,
    compile=_compile,
    compile_app=_compile_app,
)
