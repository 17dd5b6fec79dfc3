"""The DNS records of apps, and conflicts between them."""

from collections.abc import Iterable, Iterator

from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature
from spectrum.core.dns import DnsPublishing
from spectrum.wire.address import IPAddress

# A type and the text of a record, such as ("A", "192.0.2.1") or ("CNAME", "edge.example.com.").
Record = tuple[str, str]
Records = frozenset[Record]


def wanted(config: Config) -> dict[str, Records]:
    """Return the records of each name to be published. The records of apps with the same name are merged. If one of
    them has addresses, the name is not an alias: an alias must be the only record (RFC 1034 section 3.6.2).
    """
    found: dict[str, set[Record]] = {}
    for name, app in _published(config):
        assert config.dns is not None, "there is where they are published"
        found.setdefault(name, set()).update(_records(config.dns, app))
    return {name: _without_alias(records) for name, records in sorted(found.items()) if records}


def _published(config: Config) -> Iterator[tuple[str, App]]:
    """Yield the apps whose names are in a published zone, by name."""
    if config.dns is not None:
        for app in config.apps.values():
            if app.dns is not None and config.dns.zone_of(app.dns.name) is not None:
                yield app.dns.name, app


def _records(publishing: DnsPublishing, app: App) -> Iterator[Record]:
    own = [address for address in app.edge_ips or () if not address.is_unspecified]
    if own:
        yield from map(_record, own)
    elif publishing.target is not None:
        yield "CNAME", f"{publishing.target}."
    else:
        yield from map(_record, _reached(publishing.addresses, app))


def _reached(addresses: Iterable[IPAddress], app: App) -> list[IPAddress]:
    """Return the addresses for the families that an app listens on."""
    versions = {address.version for address in app.edge_ips or ()} or {4, 6}
    return [address for address in addresses if address.version in versions]


def _record(address: IPAddress) -> Record:
    return ("A" if address.version == 4 else "AAAA"), str(address)


def _without_alias(records: set[Record]) -> Records:
    own = {record for record in records if record[0] != "CNAME"}
    return frozenset(own or records)


def _check(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    if config.dns is None:
        return
    for key, app in config.apps.items():
        if app.dns is None or config.dns.zone_of(app.dns.name) is None:
            continue
        records = list(_records(config.dns, app))
        place = ("apps", key, "dns")
        if not records:
            what = "addresses of its family" if config.dns.addresses else "addresses or target"
            yield Fault(place, f"nothing to publish: the app listens on every address, and dns has no {what}")
        elif records[0][0] == "CNAME" and app.dns.name in config.dns.zones:
            yield Fault(place, f"{app.dns.name} is the zone itself, which cannot be an alias; give dns its addresses")
        elif records[0] == ("CNAME", f"{app.dns.name}."):
            yield Fault(place, f"{app.dns.name} would be an alias of itself: it is the target of dns")


DNS = Feature("dns", check=_check)
