"""What a machine's network needs for addresses that are not its own: clients', those that TPROXY takes, bound prefixes.

With `source: client` origins see clients' own addresses.

An origin answers to the client's address. That answer must come to this machine's sockets, not leave for the client:

- An origin on this machine answers from its own address and port: a rule sends what comes from there to a table in
  which every address is local. It must listen on a loopback address, because the same rule would catch its answers to
  those who reach it without us.
- An origin elsewhere must have this machine as its gateway. What arrives for a socket of ours is marked by nftables,
  and marked packets are looked up in the same table.

With `tproxy` what is sent to any address of a prefix, and arrives here, is given to one socket by nftables, and marked.

Linux's Documentation/networking/tproxy.rst describes all three.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spectrum.core.address import PortRange, parse_address
from spectrum.core.balancing.objects import origin_ports
from spectrum.core.configuration.config import App, Config
from spectrum.wire.address import IPAddress

# "SP" in ASCII: the mark, the routing table, and the priority of its rules.
MARK = 0x5350
TABLE = 5350
NFT_TABLE = "spectrum"
_MARKED = f"meta mark set 0x{MARK:08x} accept"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement on the machine.

    Attributes:
        title: Its purpose.
        question: A command that prints the current state.
        expected: A line of that, or a part of one, that shows that the requirement is met.
        make: The command that makes it.
        undo: The command that removes it.
        text: Standard input of `make`.
    """

    title: str
    question: tuple[str, ...]
    expected: str
    make: tuple[str, ...]
    undo: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class OriginEndpoint:
    """The address of an app's origin; `address` None stands for any other machine."""

    version: int
    address: IPAddress | None
    transport: str
    ports: PortRange


def requirements(config: Config, local: Iterable[IPAddress]) -> list[Requirement]:
    """Return what the apps with `source: client`, `tproxy` or `bindings` need, each once.

    Args:
        config: A checked configuration.
        local: This machine's addresses.
    """
    known = frozenset(local)
    found: dict[Requirement, None] = {}
    for app in config.apps.values():
        found.update(dict.fromkeys(_interceptions(app)))
        found.update(dict.fromkeys(_local_routes(app, known)))
    for app in config.apps.values():
        for place in _places(config, app, known) if app.source == "client" else ():
            found.update(dict.fromkeys(_needs(place)))
    return list(found)


def exposed_origins(config: Config, local: Iterable[IPAddress]) -> list[str]:
    """Return the origins on this machine that listen on addresses that others reach, so that no rule can be made."""
    known = frozenset(local)
    found = {
        str(place.address)
        for app in config.apps.values()
        if app.source == "client"
        for place in _places(config, app, known)
        if place.address is not None and not place.address.is_loopback
    }
    return sorted(found)


def _places(config: Config, app: App, local: frozenset[IPAddress]) -> Iterator[OriginEndpoint]:
    transport = app.protocol.transport
    for origin in app.origin_direct or ():
        yield _place(origin.address, transport, origin.ports, local)
    if app.looked_up is not None:  # An SRV record may have any port.
        any_port = PortRange(1, 65535)
        yield from (OriginEndpoint(version, None, transport, app.origin_port or any_port) for version in (4, 6))
    balancer = config.load_balancers.get(app.load_balancer or "")
    for pool in balancer.all_pools() if balancer else ():
        for member in config.pools[pool].origins:
            ports = origin_ports(member.port, app.protocol.ports)
            try:
                yield _place(parse_address(member.address), transport, ports, local)
            except ValueError:  # A name.
                yield from (OriginEndpoint(version, None, transport, ports) for version in (4, 6))


def _place(address: IPAddress, transport: str, ports: PortRange, local: frozenset[IPAddress]) -> OriginEndpoint:
    is_local = address.is_loopback or address in local
    return OriginEndpoint(address.version, address if is_local else None, transport, ports)


def _interceptions(app: App) -> Iterator[Requirement]:
    """Yield the requirements of TPROXY. Its rules come first: another one accepts packets for our sockets unchanged."""
    if app.tproxy is None:
        return
    transport, ports = app.protocol.transport, app.protocol.ports
    for prefix in app.tproxy.prefixes:
        yield _table(prefix.version)
        yield _marked_rule(prefix.version)
        family = "ip6" if prefix.version == 6 else "ip"
        where = str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)
        to = f"tproxy {family} to :{app.tproxy.port} {_MARKED}"
        yield marking(
            f"{transport} to {prefix} ports {ports} is redirected to port {app.tproxy.port}",
            f"{family} daddr {where} {transport} dport {ports} {to}",
        )


def _local_routes(app: App, local: frozenset[IPAddress]) -> Iterator[Requirement]:
    """Yield a route for each bound prefix: sk_lookup sees only packets to local addresses."""
    for prefix in dict.fromkeys(binding.prefix for binding in app.bindings):
        own = prefix.is_loopback or (prefix.num_addresses == 1 and prefix.network_address in local)
        if own or not prefix.prefixlen:
            continue
        family = ("-6",) if prefix.version == 6 else ()
        route = ("local", str(prefix), "dev", "lo")
        shown = str(prefix.network_address) if prefix.num_addresses == 1 else str(prefix)
        yield Requirement(
            f"packets to {prefix} are treated as local",
            ("ip", *family, "route", "show", "table", "local", "exact", str(prefix)),
            f"local {shown} dev lo",
            ("ip", *family, "route", "replace", *route),
            ("ip", *family, "route", "delete", *route),
        )


def _table(version: int) -> Requirement:
    family = ("-6",) if version == 6 else ()
    route = ("local", "default", "dev", "lo", "table", str(TABLE))
    return Requirement(
        f"IPv{version}: a table in which every address is local",
        ("ip", *family, "route", "show", "table", str(TABLE)),
        "local default dev lo",
        ("ip", *family, "route", "replace", *route),
        ("ip", *family, "route", "delete", *route),
    )


def _marked_rule(version: int) -> Requirement:
    return _rule(version, f"IPv{version}: marked packets are looked up there", f"fwmark 0x{MARK:x}")


def _needs(place: OriginEndpoint) -> Iterator[Requirement]:
    yield _table(place.version)
    if place.address is None:
        yield _marked_rule(place.version)
        yield marking(
            "packets for sockets of ours are marked", f"meta l4proto {{ tcp, udp }} socket transparent 1 {_MARKED}"
        )
    elif place.address.is_loopback:
        ports = str(place.ports)
        where = f"from {place.address} iif lo ipproto {place.transport} sport {ports}"
        yield _rule(place.version, f"answers from {place.address} port {ports} stay on this machine", where)


def _rule(version: int, title: str, selector: str) -> Requirement:
    family = ("-6",) if version == 6 else ()
    body = (*selector.split(), "lookup", str(TABLE), "priority", str(TABLE))
    shown = selector if selector.startswith("from") else f"from all {selector}"
    return Requirement(
        title,
        ("ip", *family, "rule", "show"),
        f"{shown} lookup {TABLE}",
        ("ip", *family, "rule", "add", *body),
        ("ip", *family, "rule", "delete", *body),
    )


def marking(title: str, rule: str) -> Requirement:
    """Return the requirement of a rule before routing; all are in one table, which is removed as a whole."""
    return Requirement(
        title,
        ("nft", "list", "table", "inet", NFT_TABLE),
        rule,
        ("nft", "-f", "-"),
        ("nft", "delete", "table", "inet", NFT_TABLE),
        f"table inet {NFT_TABLE} {{ chain prerouting {{ type filter hook prerouting priority mangle; {rule}; }}; }}\n",
    )


def is_shown(requirement: Requirement, printed: str) -> bool:
    """Return whether the output of a requirement's `question` shows that it is met."""
    wanted = " ".join(requirement.expected.split())
    return any(wanted in " ".join(line.split()) for line in printed.splitlines())
