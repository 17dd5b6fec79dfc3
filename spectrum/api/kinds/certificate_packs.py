"""Certificates ordered from a CA: `/zones/{zone}/ssl/certificate_packs`. Each pack has one certificate."""

import secrets
from collections.abc import Mapping
from typing import Any

from spectrum.api.kinds.balancing import INVALID, code, fields_of
from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, refuse
from spectrum.api.kinds.times import timestamp
from spectrum.api.ordering import OrderingAuthority
from spectrum.core.configuration.faults import Path
from spectrum.core.tls.acme import is_wildcard
from spectrum.core.tls.objects import Certificate
from spectrum.store.objects import StoredObject

_REQUIRED = ("type", "hosts", "validation_method", "validity_days", "certificate_authority")
_KEYS = frozenset({*_REQUIRED, "cloudflare_branding"})
# What can be changed once it is ordered; it is then ordered again if that makes it another certificate.
_CHANGEABLE = ("hosts", "validation_method", "certificate_authority", "validity_days")
_READ_ONLY = STAMPS | {"status", "certificates", "validation_errors", "validation_records", "dcv_delegation_records"}
# Length of the host name in a name, so that the name is short enough for the file.
_MAX_STEM = 54
# Cloudflare's names of the challenges other than DNS: Spectrum answers both.
_BY_EDGE, _BY_DNS = "http", "txt"


def check_order(body: Body, authorities: Mapping[str, OrderingAuthority]) -> None:
    """Check an order against the authorities of the file.

    Raises:
        BodyFault: If there is no such authority, or it does not issue such certificates.
    """
    name = body.get("certificate_authority")
    authority = authorities.get(name) if isinstance(name, str) else None
    if authority is None:
        known = f"expected {' or '.join(sorted(authorities))}" if authorities else "the file has no acme.authorities"
        raise refuse(INVALID, f"{known}: validation failed", "certificate_authority")
    method = body.get("validation_method")
    methods = _methods(authority)
    if method not in methods:
        expected = f"{name} can be shown by {' or '.join(methods)}"
        raise refuse(INVALID, f"{expected}: validation failed", "validation_method")
    if body.get("validity_days") != authority.validity_days:
        days = f"{name} issues for {authority.validity_days} days"
        raise refuse(INVALID, f"{days}: validation failed", "validity_days")
    hosts = body.get("hosts")
    for host in hosts if isinstance(hosts, list) and method != _BY_DNS else ():
        if isinstance(host, str) and is_wildcard(host):
            says = f"{host} can be validated by {_BY_DNS} only (RFC 8555 section 7.1.3)"
            raise refuse(INVALID, f"{says}: validation failed", "validation_method")


def changed(body: Body, before: Value, authorities: Mapping[str, OrderingAuthority], refs: References) -> Body:
    """Return the body that orders a certificate with some of its fields changed.

    Args:
        body: The fields to change.
        before: What stands below the name of the certificate.
        authorities: Those of the file.
        refs: Other objects.

    Raises:
        BodyFault: If a field cannot be changed, or an authority of the file is not for that.
    """
    for field in body:
        if field not in (*_CHANGEABLE, "cloudflare_branding"):
            can = f"{', '.join(_CHANGEABLE[:-1])} and {_CHANGEABLE[-1]} of an ordered certificate can be changed"
            raise refuse(INVALID, f"{field}: {can}, nothing else: validation failed", field)
    whole = {**to_body(before, refs), **body}
    authority = authorities.get(str(whole.get("certificate_authority")))
    if authority is not None:
        whole.setdefault("validity_days", authority.validity_days)
    check_order(whole, authorities)
    return whole


def _methods(authority: OrderingAuthority) -> list[str]:
    by_edge = [_BY_EDGE] if authority.challenge != "dns-01" else []
    return by_edge + ([_BY_DNS] if authority.by_dns else [])


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a certificate, from the body of an order."""
    given = fields_of(body, _KEYS, _REQUIRED, _READ_ONLY)
    if given["type"] != "advanced":
        raise refuse(INVALID, "expected advanced: validation failed", "type")
    if given.get("cloudflare_branding", False) is not False:
        raise refuse(INVALID, "expected false: validation failed", "cloudflare_branding")
    acme: Value = {"names": given["hosts"], "authority": given["certificate_authority"]}
    if given["validation_method"] == _BY_DNS:
        acme["challenge"] = "dns-01"
    return {"acme": acme}


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that orders a certificate, from the fields that its value sets."""
    acme = value["acme"]
    method = _BY_DNS if acme.get("challenge") == "dns-01" else _BY_EDGE
    body: Value = {"type": "advanced", "hosts": list(acme["names"]), "validation_method": method}
    return body | ({"certificate_authority": acme["authority"]} if "authority" in acme else {})


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a pack as the API answers it, without the state of its certificate."""
    return {
        "id": obj.id,
        **to_body(obj.value, refs),
        "cloudflare_branding": False,
        "status": "initializing",
        "certificates": [],
        "validation_errors": [],
        # The client that ordered it has nothing left to do.
        "validation_records": [],
        "dcv_delegation_records": [],
    }


def standing(
    obj: StoredObject,
    refs: References,
    authorities: Mapping[str, OrderingAuthority],
    served: Mapping[str, Any] | None,
    now: float,
) -> Value:
    """Return a pack as the API answers it, with the state of its certificate.

    Args:
        obj: The certificate in the file or the store.
        refs: Other objects.
        authorities: The authorities of the file.
        served: The daemon's state of it; None where it is not served (yet).
        now: In seconds since 1970.
    """
    shown = from_value(obj, refs)
    if (authority := authorities.get(shown.get("certificate_authority", ""))) is not None:
        shown["validity_days"] = authority.validity_days
    if served is None:
        return shown
    order = served.get("order") or {}
    if order.get("failures"):
        shown["validation_errors"] = [{"message": order["failure"]}]
    if served["temporary"]:
        began = order.get("ordering") or order.get("failures")
        return shown | {"status": "pending_validation" if began else "initializing"}
    status = "active" if served["ends_at"] > now else "expired"
    issued: Value = {
        "id": obj.id,
        "hosts": list(served["names"]),
        "status": status,
        "issuer": served["issuer"],
        "bundle_method": "ubiquitous",
        "expires_on": timestamp(served["ends_at"]),
        "uploaded_on": timestamp(obj.created_on),
        "modified_on": timestamp(obj.modified_on),
    }
    zone = refs.id_of("zones", str(obj.value.get("zone")))
    issued |= {"zone_id": zone} if zone else {}
    return shown | {"status": status, "certificates": [issued], "primary_certificate": obj.id}


def _place(place: Path, body: Body) -> Path:
    match place:
        case ("acme", "names", *rest):
            return ("hosts", *rest)
        case ("acme", "authority", *_):
            return ("certificate_authority",)
        case ("acme", "challenge", *_):
            return ("validation_method",)
    return place[1:] if place[:1] == ("acme",) else place


def api_name(obj: StoredObject) -> str:
    """Return the name of a pack in the file: it has no other one."""
    return obj.name


def wanted_name(value: Value) -> str:
    """Return a new name for a certificate in the file, never used before: the daemon keeps keys by name."""
    first = str(value["acme"]["names"][0]).lower().replace("*.", "wildcard.")
    return f"{first[:_MAX_STEM].rstrip('-.')}-{secrets.token_hex(4)}"


PACKS = Kind("certificates", "certificate", Certificate, to_value, to_body, from_value, _place, code, api_name)
