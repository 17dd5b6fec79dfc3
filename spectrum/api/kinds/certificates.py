"""Certificates uploaded with their keys: `/zones/{zone}/custom_certificates`. No answer contains a key.

Ordered certificates are packs (`certificate_packs`).
"""

from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from spectrum.api.kinds.balancing import INVALID, code, fields_of
from spectrum.api.kinds.kind import STAMPS, Body, Kind, References, Value, refuse
from spectrum.api.kinds.times import timestamp
from spectrum.core.configuration.faults import Path
from spectrum.core.tls.objects import MAX_PRIORITY, Certificate
from spectrum.core.tls.pem import belongs, issuer_of, names_of, public_key_of
from spectrum.store.objects import StoredObject
from spectrum.store.sealing import seal

_READ_ONLY = STAMPS | {
    *("zone_id", "hosts", "issuer", "signature", "status", "uploaded_on", "expires_on", "priority", "keyless_server")
}
_KEYS = frozenset({"certificate", "private_key", "bundle_method", "type"})
_ECHOED = {"bundle_method": "ubiquitous", "type": "legacy_custom"}
# Fields of Cloudflare that Spectrum refuses, and why.
_NOT_HERE = {
    "geo_restrictions": "keys are on this node alone",
    "policy": "keys are on this node alone",
    "custom_csr_id": "nothing is requested here; send the private_key",
}


def sealed(body: Body, public: bytes, before: StoredObject | None) -> Value:
    """Return a request's body with its private key sealed: no plain key is stored or passed on.

    Args:
        body: The body.
        public: The public half of the sealing key.
        before: The certificate to change; None for a new one.

    Raises:
        BodyFault: If certificate or key are invalid, or do not belong together.
    """
    for field, why in _NOT_HERE.items():
        if body.get(field) is not None:
            raise refuse(INVALID, f"{field}: {why}: validation failed", field)
    if body.get("deploy", "production") != "production":
        raise refuse(INVALID, "there is no staging: validation failed", "deploy")
    taken = {key: item for key, item in body.items() if key != "deploy"}
    value = fields_of(taken, _KEYS, () if before else ("certificate", "private_key"), _READ_ONLY)
    value |= {field: None for field in _ECHOED if field in body and body[field] is None}  # resets them to the default
    key, was = value.pop("private_key", None), before.value.get("chain") if before else None
    if key is None and "certificate" not in value:
        return value
    chain = _chain(value.get("certificate", was))
    value["certificate"] = "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)
    if key is not None:
        value["sealed_key"] = seal(_checked_key(key, chain[0]), public_key_of(chain[0]), public)
    elif public_key_of(_chain(was)[0]) != public_key_of(chain[0]):
        raise refuse(INVALID, "it has another key than the one before: private_key is missing", "private_key")
    return value


def _chain(pem: Any) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(str(pem).encode())
    except ValueError as exc:
        raise refuse(INVALID, "not a certificate in PEM form: validation failed", "certificate") from exc


def _checked_key(pem: Any, leaf: x509.Certificate) -> bytes:
    """Return the private key of a certificate, in PEM form."""
    try:
        key = load_pem_private_key(str(pem).encode(), None)
    except TypeError as exc:
        raise refuse(INVALID, "the key has a passphrase; store it without one", "private_key") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise refuse(INVALID, "not a private key in PEM form: validation failed", "private_key") from exc
    if not belongs(key, leaf):
        raise refuse(INVALID, "this key does not match the certificate: validation failed", "private_key")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def to_value(body: Body, refs: References) -> Value:
    """Return the value in the file of a certificate, from a body with a sealed key."""
    known = (_KEYS - {"private_key"}) | {"sealed_key", "priority"}
    value = fields_of(body, known, ("certificate", "sealed_key"), _READ_ONLY - {"priority"})
    return {("chain" if key == "certificate" else key): item for key, item in value.items()}


def to_body(value: Value, refs: References) -> Value:
    """Return the body of a request that makes a certificate; its key is sealed."""
    same = ("sealed_key", "priority", *_ECHOED)
    named = {"chain": "certificate", **{key: key for key in same}}
    return {named[key]: item for key, item in value.items() if key in named}


def from_value(obj: StoredObject, refs: References) -> Value:
    """Return a certificate as the API answers it: its properties, without the key."""
    value = obj.value
    shown: Value = {
        "id": obj.id,
        "zone_id": refs.id_of("zones", str(value.get("zone"))),
        "hosts": [],
        "status": "active",
        "priority": value.get("priority", 0),
        "uploaded_on": timestamp(obj.created_on),
        "modified_on": timestamp(obj.modified_on),
        **{key: value.get(key, default) for key, default in _ECHOED.items()},
    }
    if "chain" in value:
        leaf = _chain(value["chain"])[0]
        is_over = leaf.not_valid_after_utc < datetime.now(UTC)
        shown |= {
            "hosts": list(names_of(leaf)),
            "issuer": issuer_of(leaf),
            "signature": _signature_of(leaf),
            "status": "expired" if is_over else "active",
            "expires_on": timestamp(leaf.not_valid_after_utc.timestamp()),
        }
    return shown


def _signature_of(leaf: x509.Certificate) -> str:
    """Return the signature algorithm of a certificate, in Cloudflare's terms."""
    kind = "ECDSA" if "ecdsa" in leaf.signature_algorithm_oid._name.lower() else "RSA"
    digest = leaf.signature_hash_algorithm
    return f"{digest.name.upper()}With{kind}" if digest is not None else leaf.signature_algorithm_oid._name


def _place(place: Path, body: Body) -> Path:
    match place:
        case ("chain", *rest):
            return ("certificate", *rest)
        case ("sealed_key", *rest):
            return ("private_key", *rest)
    return place


def hosts_of(value: Value) -> tuple[str, ...]:
    """Return the host names of a certificate."""
    return names_of(_chain(value["chain"])[0])


def api_name(obj: StoredObject) -> str:
    """Return the name of a certificate in the file: it has no other one."""
    return obj.name


def wanted_name(value: Value) -> str:
    """Return a name for a certificate in the file: its first host name."""
    return next(iter(hosts_of(value)), "certificate").replace("*.", "wildcard.")


CERTIFICATES = Kind("certificates", "certificate", Certificate, to_value, to_body, from_value, _place, code, api_name)


def prioritized(body: Any) -> dict[str, int]:
    """Return the priorities of certificates in a body, by their ids.

    Raises:
        BodyFault: If the body is invalid.
    """
    given = body.get("certificates") if isinstance(body, dict) else None
    if not isinstance(given, list):
        raise refuse(INVALID, 'expected a list of {"id": ..., "priority": ...}: validation failed', "certificates")
    found = {}
    for index, one in enumerate(given):
        match one:
            case {"priority": bool()}:
                expected = "expected a number"
                raise refuse(INVALID, f"{expected}: validation failed", "certificates", index, "priority")
            case {"id": str(certificate_id), "priority": int(priority)} if 0 <= priority <= MAX_PRIORITY:
                found[certificate_id] = priority
            case _:
                expected = f'expected {{"id": ..., "priority": 0 to {MAX_PRIORITY}}}'
                raise refuse(INVALID, f"{expected}: validation failed", "certificates", index)
    return found
