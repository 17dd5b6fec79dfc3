"""Spectrum apps: `/zones/{zone}/spectrum/apps`.

Codes and messages are those of Cloudflare's documentation of Spectrum's error codes.
"""

import re
from typing import Any
from uuid import UUID

from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, given, keys_of, refuse, seconds, stamped
from spectrum.core.configuration.config import App, read_edge_ips
from spectrum.core.configuration.faults import Path
from spectrum.core.configuration.presets import PRESETS
from spectrum.store.objects import StoredObject

UNKNOWN_FIELD, ORIGINS, ORIGIN_DNS, ORIGIN_ADDRESS, DNS_TYPE = 10012, 11000, 11001, 11002, 11004
FTP, NOT_OURS, ARGO, IN_USE, PROTOCOL, HOST_NAME = 11014, 11019, 11026, 11033, 13002, 16001
# Of virtual networks, in the order of the checks.
NO_UUID, NEEDS_DIRECT, ONE_ORIGIN, NO_RANGE, NO_ROUTE = 11045, 11041, 11042, 11043, 11044
# The API has these in the path, or derives them from other keys.
_OWN = frozenset({"zone", "account", "name"})
_KEYS = keys_of(App) - _OWN
# Files of the machine: only the configuration file may name them.
_PATHS = (("edge_tls", "client_ca"), ("origin_tls", "ca"))
_EDGE_IPS = {"type": "dynamic", "connectivity": "all"}
# The end of an origin with a range of ports, or the range alone.
_RANGE = re.compile(r"\d-\d+\D*$")
_DEFAULTS: Value = {
    "ip_firewall": False,
    "tls": "off",
    "argo_smart_routing": False,
    "proxy_protocol": "off",
    "traffic_type": "direct",
}


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of an app, from a body."""
    value = given(body, STAMPS)
    _refuse_foreign(value)
    for key in value.keys() - _KEYS:
        raise refuse(UNKNOWN_FIELD, f'json: unknown field "{key}"', key)
    for outer, inner in _PATHS:
        if isinstance(value.get(outer), dict) and inner in value[outer]:
            raise refuse(
                UNKNOWN_FIELD, "names a file of the machine, which only the configuration file may do", outer, inner
            )
    if "protocol" not in value:
        preset = PRESETS.get(str(value.get("preset")))
        if preset is None:
            raise refuse(PROTOCOL, '"protocol" is missing, such as tcp/22', "protocol")
        value["protocol"] = preset.protocol
    _take_references(value, refs)
    _check_origins(value)
    _check_dns(value)
    return value


def _refuse_foreign(value: Value) -> None:
    """Refuse features that only Cloudflare has, with Cloudflare's messages; drop the same keys if they disable one."""
    for key in ("virtual_network_id", "origin_worker_id"):
        if not value.get(key, True):
            del value[key]
    if "virtual_network_id" in value:
        _refuse_virtual_network(value)
    if "origin_worker_id" in value:
        raise refuse(UNKNOWN_FIELD, "there are no Workers here", "origin_worker_id")
    if value.get("traffic_type") == "ftp":
        raise refuse(FTP, "FTP is not enabled; expected traffic_type direct", "traffic_type", status=403)
    if value.get("traffic_type") in ("http", "https", "worker"):
        raise refuse(
            PROTOCOL, f"traffic_type {value['traffic_type']} is not available; expected direct", "traffic_type"
        )
    if value.get("argo_smart_routing") is True:
        raise refuse(ARGO, "Argo Smart Routing is not enabled", "argo_smart_routing", status=403)


def _refuse_virtual_network(value: Value) -> None:
    """Refuse an origin in a virtual network, for the same reason as Cloudflare: there are no networks here."""
    place, direct = "virtual_network_id", value.get("origin_direct")
    try:
        UUID(str(value[place]))
    except ValueError:
        raise refuse(NO_UUID, f"{value[place]!r} is not a UUID", place) from None
    if "origin_dns" in value:
        raise refuse(NEEDS_DIRECT, "an origin in a virtual network needs origin_direct", "origin_dns")
    if isinstance(direct, list) and len(direct) > 1:
        raise refuse(ONE_ORIGIN, "a virtual network needs exactly one origin", "origin_direct")
    for key, ports in (("origin_port", value.get("origin_port")), ("origin_direct", direct)):
        if _RANGE.search(str(ports)):
            raise refuse(NO_RANGE, "origins in a virtual network have one port", key)
    raise refuse(NO_ROUTE, "No matching routes in the specified virtual network.", place)


def _take_references(value: Value, refs: References) -> None:
    """Replace ids in a body by names. The name of a load balancer in `origin_dns` refers to that load balancer."""
    if "load_balancer" in value:
        key = refs.key_of("load_balancers", str(value["load_balancer"]))
        if key is None:
            raise refuse(ORIGINS, f"there is no load balancer {value['load_balancer']!r}", "load_balancer")
        value["load_balancer"] = key
    elif isinstance(value.get("origin_dns"), dict) and "origin_direct" not in value:
        key = refs.key_named("load_balancers", str(value["origin_dns"].get("name")))
        if key is not None:
            value["load_balancer"] = key
    for outer, inner in (("edge_tls", "certificates"), ("origin_tls", "certificate")):
        tls = value.get(outer)
        if isinstance(tls, dict) and inner in tls:
            value[outer] = tls | {inner: _certificates(tls[inner], refs, outer, inner)}


def _certificates(named: Any, refs: References, *place: str) -> Any:
    if isinstance(named, list):
        return [_certificates(one, refs, *place) for one in named]
    key = refs.key_of("certificates", str(named))
    if key is None:
        raise refuse(UNKNOWN_FIELD, f"there is no certificate {named!r}", *place)
    return key


def _check_origins(value: Value) -> None:
    origins = [key for key in ("origin_direct", "origin_dns", "load_balancer") if key in value]
    if origins not in (["origin_direct"], ["origin_dns"], ["load_balancer"], ["origin_dns", "load_balancer"]):
        found = " and ".join(origins) or "none of them"
        raise refuse(
            ORIGINS,
            "The origin configuration is invalid. An app needs exactly one of origin_direct, origin_dns and "
            f"load_balancer; found {found}",
            origins[-1] if origins else "origin_direct",
        )
    dns = value.get("origin_dns")
    if isinstance(dns, dict) and "load_balancer" not in value:
        if "name" not in dns:
            raise refuse(ORIGIN_DNS, 'origin_dns needs a "name"', "origin_dns", "name")
        if dns.get("type") != "SRV" and "origin_port" not in value:
            raise refuse(ORIGIN_DNS, "origin_dns needs origin_port, unless its type is SRV", "origin_port")


def _check_dns(value: Value) -> None:
    """Check that a CNAME has addresses of the edge's choice, and an ADDRESS static ones."""
    dns, edge_ips = value.get("dns"), value.get("edge_ips", _EDGE_IPS)
    if not isinstance(dns, dict) or not isinstance(dns.get("name"), str):
        raise refuse(UNKNOWN_FIELD, '"dns" is missing: {"type": "CNAME", "name": "ssh.example.com"}', "dns", "name")
    try:
        read_edge_ips(edge_ips)
    except ValueError as exc:
        raise refuse(DNS_TYPE, str(exc), "edge_ips") from exc
    is_static = _is_static(edge_ips)
    value["dns"] = dns = {"type": "ADDRESS" if is_static else "CNAME"} | dns
    if dns["type"] not in ("CNAME", "ADDRESS"):
        raise refuse(DNS_TYPE, f"expected CNAME or ADDRESS, found {dns['type']!r}", "dns", "type")
    if (dns["type"] == "ADDRESS") is not is_static:
        raise refuse(DNS_TYPE, "dns type CNAME needs edge_ips of type dynamic, ADDRESS needs static", "dns", "type")


def _is_static(edge_ips: Any) -> bool:
    return isinstance(edge_ips, list) or (isinstance(edge_ips, dict) and edge_ips.get("type") == "static")


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes an app."""
    body = {key: item for key, item in value.items() if key not in _OWN}
    if "load_balancer" in body:
        identity = refs.id_of("load_balancers", body["load_balancer"])
        if "origin_dns" in body or identity is None:
            del body["load_balancer"]
        else:
            body["load_balancer"] = identity
    for outer, inner in (("edge_tls", "certificates"), ("origin_tls", "certificate")):
        if inner in body.get(outer, {}):
            body[outer] = body[outer] | {inner: _certificate_ids(body[outer][inner], refs)}
    return body


def _certificate_ids(named: Any, refs: References) -> Any:
    if isinstance(named, list):
        return [_certificate_ids(one, refs) for one in named]
    return refs.id_of("certificates", named)


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return an app as the API answers it."""
    body = to_body(obj.value, refs)
    preset = PRESETS.get(str(body.get("preset")))
    if preset is not None:
        body.setdefault("protocol", preset.protocol)
    edge_ips = body.get("edge_ips", _EDGE_IPS)
    body["edge_ips"] = {"type": "static", "ips": edge_ips} if isinstance(edge_ips, list) else edge_ips
    body.setdefault(
        "dns", {"type": "ADDRESS" if body["edge_ips"].get("type") == "static" else "CNAME", "name": obj.name}
    )
    if isinstance(body.get("origin_dns"), dict) and "ttl" in body["origin_dns"]:
        body["origin_dns"] = body["origin_dns"] | {"ttl": seconds(body["origin_dns"]["ttl"])}
    if body.get("tls") is False:  # YAML reads off as false
        body["tls"] = "off"
    return stamped(obj, _DEFAULTS | body)


def _place(place: Path, body: Body) -> Path:
    """Return the place in a body of a place in its value."""
    match place:
        case ("load_balancer", *_) if "load_balancer" not in body:
            return ("origin_dns", "name")
        case ("edge_ips", int() as index, *_) if isinstance(body.get("edge_ips"), dict):
            return ("edge_ips", "ips", index)
    return place


def port_taken(body: Body, is_of_other_zone: bool) -> tuple[int, Path]:
    """Return code and place in a body of a fault about a listener that another app has, maybe one of another zone."""
    if is_of_other_zone and _is_static(body.get("edge_ips")):
        return IN_USE, ("edge_ips",)
    return PROTOCOL, ("protocol",)


_CODES = {
    "origin_direct": ORIGIN_ADDRESS,
    "origin_dns": ORIGIN_DNS,
    "origin_port": ORIGIN_DNS,
    "load_balancer": ORIGINS,
    "edge_ips": DNS_TYPE,
    "dns": DNS_TYPE,
    "protocol": PROTOCOL,
}


def _code(place: Path) -> int:
    """Return the code of a fault at a place of an app; faults of the whole app are about its origins."""
    if place[:2] == ("dns", "name"):
        return HOST_NAME
    if place[0:1] == ("edge_ips",) and len(place) > 1:
        return NOT_OURS  # one of the addresses, not the form
    return _CODES.get(str(place[0]), UNKNOWN_FIELD) if place else ORIGINS


def api_name(obj: StoredObject) -> str:
    """Return the DNS name of an app."""
    return str(obj.value.get("dns", {}).get("name", obj.name))


APPS = Kind("apps", "app", App, to_value, to_body, from_value, _place, _code, api_name)
