"""How access rules must fit the rest of the file."""

from collections.abc import Collection, Iterator

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault, nearest


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
