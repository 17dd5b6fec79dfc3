"""Checks of accounts, zones and DNS names against their objects: no reference crosses accounts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault, Path, nearest
from spectrum.core.configuration.feature import CheckContext, Feature, Misfit, Named, Names, Section
from spectrum.core.tenants.objects import Account, Zone
from spectrum.core.tenants.scope import DEFAULT_ACCOUNT, Scope
from spectrum.core.tenants.tokens import Token

# Sections whose objects may name an account, apart from zones.
OF_ACCOUNTS = ("monitors", "monitor_groups", "pools", "load_balancers", "lists", "access_rules", "certificates")
# The references of an object: path, section, and name.
Reference = tuple[Path, str, str]


def scope_of(config: Config) -> Scope:
    """Return the accounts and zones of a configuration."""
    return Scope(config.accounts, {key: (zone.name or key, zone.account) for key, zone in config.zones.items()})


def zone_of(scope: Scope, app: App) -> str:
    """Return the zone of an app; empty without zones."""
    return scope.zone_of_app(app.zone, app.dns.name if app.dns else None)


def owner_of(scope: Scope, section: str, one: Any) -> str:
    """Return the account of an object of a configuration."""
    if section == "apps":
        return scope.account_of(zone_of(scope, one), None)
    return scope.account_of(getattr(one, "zone", None), one.account)


def check_tenants(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    """Yield every fault between accounts, zones, DNS names and what belongs to them.

    Args:
        config: The objects that are checked.
        surroundings: The objects that they belong and refer to.
    """
    whole = surroundings.whole
    names = {**surroundings.names, "accounts": surroundings.names["accounts"] or (DEFAULT_ACCOUNT,)}
    scope = scope_of(whole)
    yield from _zone_faults(config, whole, names["accounts"])
    for section in OF_ACCOUNTS:
        for name, one in getattr(config, section).items():
            yield from _place_faults((section, name), one, names)
    for name, token in config.tokens.items():
        yield from _token_faults(name, token, names)
    yield from _app_faults(config, whole, scope, names["zones"])
    yield from _rule_faults(config, whole, scope)
    if len(names["accounts"]) > 1:
        yield from _crossings(config, whole, scope)


def app_misfits(app: App) -> Iterator[Misfit]:
    """Yield conflicts of an app's DNS name with its addresses (Cloudflare's 11004)."""
    if app.dns is None or app.tproxy is not None or app.bindings:
        return
    is_static = app.edge_ips is not None and not any(address.is_unspecified for address in app.edge_ips)
    if app.dns.type == "ADDRESS" and not is_static:
        yield ("dns", "type"), "ADDRESS needs addresses in edge_ips; write them there, or use CNAME"
    if app.dns.type == "CNAME" and is_static and "type" in app.dns.model_fields_set:
        yield ("dns", "type"), "CNAME needs edge_ips of every address; with addresses of its own use ADDRESS"


def _zone_faults(config: Config, whole: Config, accounts: Collection[str]) -> Iterator[Fault]:
    if not config.zones:
        return
    domains: dict[str, list[str]] = {}
    for key, zone in whole.zones.items():
        domains.setdefault((zone.name or key).lower(), []).append(key)
    for key, zone in config.zones.items():
        domain = (zone.name or key).lower()
        sharing = domains[domain]
        earlier = [other for other in sharing if other not in config.zones] or sharing[: sharing.index(key)]
        if earlier:
            yield Fault(("zones", key), f"{domain} is the domain of zone {earlier[0]} already")
        if "." not in domain:
            yield Fault(("zones", key), f"{key!r} is not a domain; write example.com", at_key=True)
        if zone.account is not None and zone.account not in accounts:
            yield Fault(("zones", key, "account"), _unknown("account", zone.account, accounts))


def _place_faults(path: Path, one: Any, names: Mapping[str, Collection[str]]) -> Iterator[Fault]:
    """Yield the faults of an object's `account` and `zone`."""
    zone = getattr(one, "zone", None)
    if one.account is not None and one.account not in names["accounts"]:
        yield Fault((*path, "account"), _unknown("account", one.account, names["accounts"]))
    if zone is not None and zone not in names["zones"]:
        yield Fault((*path, "zone"), _unknown("zone", zone, names["zones"]))
    if zone is not None and one.account is not None:
        yield Fault((*path, "account"), "it belongs to the account of its zone; omit account")


def _token_faults(name: str, token: Token, names: Mapping[str, Collection[str]]) -> Iterator[Fault]:
    if token.account is not None and token.account not in names["accounts"]:
        yield Fault(("tokens", name, "account"), _unknown("account", token.account, names["accounts"]))
    for index, policy in enumerate(token.policies):
        for key, kind in (("accounts", "account"), ("zones", "zone")):
            for i, given in enumerate(getattr(policy, key)):
                if given not in names[key]:
                    path: Path = ("tokens", name, "policies", index, key, i)
                    yield Fault(path, _unknown(kind, given, names[key]))


def _app_faults(config: Config, whole: Config, scope: Scope, zones: Collection[str]) -> Iterator[Fault]:
    """Yield the faults of zones and names of apps. Fast at 10,000 apps."""
    taken: dict[str, list[str]] = {}
    for name, app in config.apps.items():
        if app.zone is not None and app.zone not in zones:
            yield Fault(("apps", name, "zone"), _unknown("zone", app.zone, zones))
        if app.dns is None:
            continue
        place: Path = ("apps", name, "dns", "name")
        zone = whole.zones.get(app.zone or "")
        domain = zone and (zone.name or app.zone)
        if domain and not f".{app.dns.name}".endswith(f".{domain.lower()}"):
            yield Fault(place, f"{app.dns.name} is not in zone {app.zone}")
        others = taken.setdefault(app.dns.name, [])
        if others and zone_of(scope, app) != zone_of(scope, config.apps[others[0]]):
            yield Fault(place, f"{app.dns.name} is the name of app {others[0]}, which is in another zone")
        for other in others:
            if _overlap(app, config.apps[other]):
                yield Fault(place, f"{app.dns.name} with {app.protocol} is already app {other}")
                break
        others.append(name)


def _rule_faults(config: Config, whole: Config, scope: Scope) -> Iterator[Fault]:
    """Yield apps of a zone's rules that are not in the zone."""
    for name, rule in config.access_rules.items():
        for i, referred in enumerate(rule.apps or () if rule.zone is not None else ()):
            app = whole.apps.get(referred)
            if app is not None and zone_of(scope, app) != rule.zone:
                yield Fault(("access_rules", name, "apps", i), f"app {referred} is not in zone {rule.zone}")


def _overlap(one: App, other: App) -> bool:
    first, second = one.protocol.ports, other.protocol.ports
    is_one_transport = one.protocol.transport == other.protocol.transport
    return is_one_transport and first.first <= second.last and second.first <= first.last


def _crossings(config: Config, whole: Config, scope: Scope) -> Iterator[Fault]:
    """Yield references from an object of one account to one of another."""
    owners: dict[tuple[str, str], str] = {}

    def owner(section: str, name: str) -> str | None:
        """Return the account of a named object; None if it does not exist, which is another fault."""
        if (section, name) not in owners:
            one = getattr(whole, section).get(name)
            if one is None:
                return None
            owners[section, name] = owner_of(scope, section, one)
        return owners[section, name]

    for section, name, (path, to, referred) in _all_references(config):
        mine, other = owner(section, name), owner(to, referred)
        if other is not None and mine != other:
            kind = _KINDS[to]
            yield Fault(
                (section, name, *path),
                f"{kind} {referred} belongs to account {other}, this {_KINDS[section]} to {mine}; "
                "an object can refer only to objects of its own account",
            )
    for name in (name for name, app in config.apps.items() if _has_all_certificates(app)):
        mine = owner("apps", name)
        other = next((one for one in map(partial(owner, "certificates"), whole.certificates) if one != mine), None)
        if other is not None:
            yield Fault(
                ("apps", name, "edge_tls", "certificates"),
                f"omitted it means all, and one belongs to account {other}; name those of account {mine}",
            )


def _has_all_certificates(app: App) -> bool:
    return app.tls != "off" and app.edge_tls.certificates is None


_KINDS = {
    "apps": "app",
    "load_balancers": "load balancer",
    "pools": "pool",
    "monitors": "monitor",
    "monitor_groups": "monitor group",
    "access_rules": "access rule",
    "lists": "list",
    "certificates": "certificate",
}


def _all_references(config: Config) -> Iterator[tuple[str, str, Reference]]:
    for section, of_one in (
        ("apps", _of_app),
        ("load_balancers", _of_balancer),
        ("pools", _of_pool),
        ("monitor_groups", _of_group),
        ("access_rules", _of_rule),
    ):
        for name, one in getattr(config, section).items():
            for reference in of_one(one):
                yield section, name, reference


def _of_app(app: Any) -> Iterable[Reference]:
    if app.load_balancer is not None:
        yield ("load_balancer",), "load_balancers", app.load_balancer
    for i, certificate in enumerate(app.edge_tls.certificates or ()):
        yield ("edge_tls", "certificates", i), "certificates", certificate
    if app.origin_tls.certificate is not None:
        yield ("origin_tls", "certificate"), "certificates", app.origin_tls.certificate


def _of_balancer(balancer: Any) -> Iterable[Reference]:
    for i, pool in enumerate(balancer.default_pools):
        yield ("default_pools", i), "pools", pool
    if balancer.fallback_pool is not None:
        yield ("fallback_pool",), "pools", balancer.fallback_pool
    for key in ("region_pools", "country_pools", "pop_pools"):
        for place, pools in getattr(balancer, key).items():
            for i, pool in enumerate(pools):
                yield (key, place, i), "pools", pool


def _of_pool(pool: Any) -> Iterable[Reference]:
    if pool.monitor is not None:
        yield ("monitor",), "monitors", pool.monitor
    if pool.monitor_group is not None:
        yield ("monitor_group",), "monitor_groups", pool.monitor_group


def _of_group(group: Any) -> Iterable[Reference]:
    for i, member in enumerate(group.members):
        yield ("members", i, "monitor"), "monitors", member.monitor


def _of_rule(rule: Any) -> Iterable[Reference]:
    if rule.list_name is not None:
        yield ("list",), "lists", rule.list_name
    # A rule of the file without an account is for all accounts, and may name any app.
    if rule.zone is not None or rule.account is not None:
        for i, app in enumerate(rule.apps or ()):
            yield ("apps", i), "apps", app


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    return f'no {kind} "{name}"' + (nearest(name, list(known)) if known else f"; the file has no {kind}s")


def _draws_in(before: Config, after: Config, changed: Names) -> Iterator[Named]:
    """Yield objects whose account or zone changed without a change of their own: they name none."""
    if "certificates" in changed and len(after.accounts) > 1:
        yield from (("apps", name) for name, app in after.apps.items() if _has_all_certificates(app))
    if "accounts" not in changed and "zones" not in changed:
        return
    was, now = scope_of(before), scope_of(after)
    for name, app in after.apps.items():
        zone = zone_of(now, app)
        if zone != zone_of(was, app) or now.account_of(zone, None) != was.account_of(zone, None):
            yield "apps", name
    for name, rule in after.access_rules.items():
        if rule.zone is not None and rule.apps:
            yield "access_rules", name
    if was.default_account != now.default_account:
        yield from ((section, name) for section in OF_ACCOUNTS for name in getattr(after, section))
        yield from (("apps", name) for name in after.apps)


def _refers_to(token: Token) -> Iterator[Named]:
    for policy in token.policies:
        yield from (("accounts", name) for name in policy.accounts)
        yield from (("zones", name) for name in policy.zones)


TENANTS = Feature(
    "tenants",
    sections=(
        Section("accounts", "account", Account),
        Section("zones", "zone", Zone, shows=attrgetter("name"), passes_on=True),
        Section("tokens", "token", Token, _refers_to),
    ),
    check=check_tenants,
    draws_in=_draws_in,
    misfits=app_misfits,
)
