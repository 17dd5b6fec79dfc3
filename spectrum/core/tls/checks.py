"""Checks of the TLS of apps against the rest of the file."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from spectrum.core.address import SocketAddress
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault, nearest
from spectrum.core.configuration.feature import CheckContext, Feature, Named, Names, Section
from spectrum.core.snapshot import ListenerKey
from spectrum.core.tls.acme import whole_order
from spectrum.core.tls.objects import Certificate
from spectrum.core.tls.settings import compile_tls


def check_tls(config: Config, certificates: Collection[str]) -> Iterator[Fault]:
    """Yield every fault between the TLS of apps and the rest of a file.

    Args:
        config: The well-formed objects.
        certificates: The names of all certificates of the file, well-formed or not.
    """
    for name, app in config.apps.items():
        path = ("apps", name)
        given = app.model_fields_set
        if app.protocol.transport == "udp" and app.tls != "off":
            yield Fault((*path, "tls"), "it is for TCP; UDP is passed through")
            continue
        if app.tls == "off":
            for key in ("edge_tls", "origin_tls"):
                if key in given:
                    yield Fault((*path, key), "it is for tls: flexible, full or strict; this app passes TLS through")
            continue
        if not certificates:
            yield Fault((*path, "tls"), "it needs a certificate; write certificates: {NAME: {certificate:, key:}}")
            continue
        if app.tls == "flexible" and "origin_tls" in given:
            yield Fault((*path, "origin_tls"), "tls: flexible uses plain text towards origins; write full or strict")
        if app.tls == "full" and app.origin_tls.ca is not None:
            yield Fault((*path, "origin_tls", "ca"), "tls: full verifies nothing; write strict")
        yield from _unknown_certificates(path, app, certificates)


def _unknown_certificates(path: tuple[str, str], app: App, certificates: Collection[str]) -> Iterator[Fault]:
    named: list[tuple[tuple[str | int, ...], str]] = [
        (("edge_tls", "certificates", i), name) for i, name in enumerate(app.edge_tls.certificates or ())
    ]
    if app.origin_tls.certificate is not None:
        named.append((("origin_tls", "certificate"), app.origin_tls.certificate))
    for where, name in named:
        if name not in certificates:
            yield Fault((*path, *where), f'there is no certificate "{name}"{nearest(name, list(certificates))}')


def _check(config: Config, surroundings: CheckContext) -> Iterator[Fault]:
    yield from check_tls(config, surroundings.names["certificates"])
    yield from check_acme(config, surroundings.whole)


def check_acme(config: Config, whole: Config) -> Iterator[Fault]:
    """Yield every fault between the certificates by ACME in `config` and the rest of a file."""
    orders = {name: whole_order(one.acme, whole.acme) for name, one in config.certificates.items() if one.acme}
    challenges = {order.challenge for order in orders.values()}
    ends_tls = "tls-alpn-01" not in challenges or any(app.tls != "off" for app in whole.apps.values())
    taken = _taken_at(whole, whole.acme.http) if "http-01" in challenges else ""
    for name, order in orders.items():
        path = ("certificates", name, "acme")
        if order.authority is not None:
            if order.authority not in (known := list(whole.acme.authorities)):
                unknown = f'acme.authorities has no "{order.authority}"'
                yield Fault((*path, "authority"), unknown + (nearest(order.authority, known) if known else ""))
                continue
            if order.challenge == "dns-01" and order.dns is None:
                needed = f"dns-01 needs acme.authorities.{order.authority}.dns, which is not there"
                yield Fault((*path, "challenge"), needed)
        if order.challenge != "dns-01":
            for index in order.wildcards:
                says = f"{order.names[index]} needs challenge: dns-01, not {order.challenge}"
                yield Fault((*path, "names", index), f"{says} (RFC 8555 section 7.1.3)")
        if order.challenge == "tls-alpn-01" and not ends_tls:
            says = "tls-alpn-01 is answered by apps that end TLS, and none does; write tls: for one"
            yield Fault((*path, "challenge"), says)
        elif order.challenge == "http-01" and taken:
            says = f"http-01 is answered at acme.http, {whole.acme.http}, where {taken} listens"
            yield Fault((*path, "challenge"), says)


def _draws_in(before: Config, after: Config, changed: Names) -> Iterator[Named]:
    """Yield certificates whose challenges changed apps may no longer answer, and apps that are left without any."""
    apps = changed.get("apps", ())
    challenges: set[str] = set()
    if any(name in before.apps and before.apps[name].tls != "off" for name in apps):
        challenges.add("tls-alpn-01")
    if any(name in after.apps and after.acme.http.port in after.apps[name].bound_ports for name in apps):
        challenges.add("http-01")
    for name, one in after.certificates.items() if challenges else ():
        if one.acme is not None and whole_order(one.acme, after.acme).challenge in challenges:
            yield "certificates", name
    if before.certificates and not after.certificates:
        yield from (("apps", name) for name, app in after.apps.items() if app.tls != "off")


def _taken_at(config: Config, where: SocketAddress) -> str:
    """Return what listens on an address and port; empty for nothing. `::` is both families."""
    own = ListenerKey("" if str(where.address) == "::" else str(where.address), where.port)
    others = [("api", one) for one in (config.api.listen if config.api else ()) if isinstance(one, SocketAddress)]
    others += [("metrics", config.metrics.listen)] if config.metrics else []
    for what, other in others:
        if other.port == where.port and ListenerKey(str(other.address), other.port).overlaps(own):
            return what
    for name, app in config.apps.items():
        if app.protocol.transport == "tcp" and where.port in app.bound_ports:
            at = [str(address) for address in app.addresses] or [""]
            if any(ListenerKey(address, where.port).overlaps(own) for address in at):
                return f"app {name}"
    return ""


def _compile_app(app: App) -> Mapping[str, Any]:
    return {"tls": compile_tls(app.tls, app.edge_tls, app.origin_tls)}


TLS = Feature(
    "tls",
    sections=(Section("certificates", "certificate", Certificate),),
    check=_check,
    draws_in=_draws_in,
    compile_app=_compile_app,
)
