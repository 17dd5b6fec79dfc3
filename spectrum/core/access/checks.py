"""How access rules must fit the rest of the file."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from spectrum.core.access.objects import AccessRule
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault, nearest
from spectrum.core.configuration.feature import Feature, Section, Surroundings


def check_access(config: Config, apps: Collection[str]) -> Iterator[Fault]:
    """Yield every fault between access rules and the rest of a file.

    A rule that nobody would ask is one, because whoever wrote it counts on it.

    Args:
        config: Holds the objects that are well-formed by themselves.
        apps: The names of all apps of the file, well-formed or not.
    """
    asking = {name for name, app in config.apps.items() if app.ip_firewall}
    for name, rule in config.access_rules.items():
        path = ("access_rules", name)
        if rule.apps is None and not asking and len(apps) == len(config.apps):
            yield Fault(path, "no app asks for rules; write ip_firewall: true in those that shall")
        for i, app in enumerate(rule.apps or ()):
            if app not in apps:
                yield Fault((*path, "apps", i), f'there is no app "{app}"{nearest(app, list(apps))}')
            elif app in config.apps and app not in asking:
                yield Fault((*path, "apps", i), f"app {app} does not ask for rules; write ip_firewall: true there")
        if rule.target == "country" and (config.geoip is None or config.geoip.database is None):
            yield Fault((*path, "target"), "countries come from an MMDB file; write geoip: {database: ...}")
        if rule.target == "asn" and (config.geoip is None or config.geoip.asn_database is None):
            yield Fault(
                (*path, "target"), "autonomous systems come from an MMDB file; write geoip: {asn_database: ...}"
            )


def _check(config: Config, surroundings: Surroundings) -> Iterator[Fault]:
    return check_access(config, surroundings.names["apps"])


def _compile(config: Config, numbers: Mapping[str, int]) -> Mapping[str, Any]:
    places = config.geoip
    return {"geoip": places.database or "", "geoip_asn": places.asn_database or ""} if places else {}


def _compile_app(app: App) -> Mapping[str, Any]:
    return {"ip_firewall": app.ip_firewall}


ACCESS = Feature(
    "access",
    sections=(Section("access_rules", "access rule", AccessRule),),
    check=_check,
    compile=_compile,
    compile_app=_compile_app,
)
