import re

import pytest

from spectrum.api.envelope import BodyFault
from spectrum.api.kinds.certificate_packs import PACKS, changed, check_order, standing, wanted_name
from spectrum.api.ordering import OrderingAuthority
from spectrum.core.tls.objects import Certificate
from spectrum.store.objects import StoredObject

AUTHORITIES = {
    "lets_encrypt": OrderingAuthority("http-01", True, 90),
    "google": OrderingAuthority("dns-01", True, 14),
    "ssl_com": OrderingAuthority("tls-alpn-01", False, 365),
}


class Refs:
    def id_of(self, section, key):
        return f"id of {key}" if key != "None" else None


def order(**more):
    return {
        "type": "advanced",
        "hosts": ["a.example.com"],
        "validation_method": "http",
        "validity_days": 90,
        "certificate_authority": "lets_encrypt",
    } | more


def pack(zone="example.com", **acme):
    value = {"acme": {"names": ["a.example.com"], "authority": "lets_encrypt"} | acme}
    return StoredObject("certificates", "c", "a", value | ({"zone": zone} if zone else {}), 1.0, 2.0, 3)


@pytest.mark.parametrize(
    ("body", "acme"),
    [
        (order(), {"names": ["a.example.com"], "authority": "lets_encrypt"}),
        (
            order(validation_method="txt", cloudflare_branding=False, status="active"),
            {"names": ["a.example.com"], "authority": "lets_encrypt", "challenge": "dns-01"},
        ),
    ],
)
def test_an_order_is_a_certificate_of_the_file(body, acme):
    value = PACKS.to_value(body, Refs())
    assert value == {"acme": acme}
    Certificate.model_validate(value)
    again = PACKS.to_body(value, Refs())
    assert PACKS.to_value(again | {"validity_days": 90}, Refs()) == value


@pytest.mark.parametrize(
    ("more", "pointer", "says"),
    [
        ({"hosts": None}, "/hosts", "is missing"),
        ({"type": "universal"}, "/type", "expected advanced"),
        ({"cloudflare_branding": True}, "/cloudflare_branding", "expected false"),
        ({"directory": "https://ca.example"}, "/directory", "unknown field"),
    ],
)
def test_invalid_orders(more, pointer, says):
    with pytest.raises(BodyFault, match=says) as caught:
        PACKS.to_value(order(**more), Refs())
    (detail,) = caught.value.details
    assert (detail.code, detail.pointer) == (1002, pointer)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"validation_method": "txt"},
        {"certificate_authority": "google", "validation_method": "txt", "validity_days": 14},
        {"certificate_authority": "ssl_com", "validity_days": 365},
    ],
)
def test_what_an_authority_is_for(more):
    check_order(order(**more), AUTHORITIES)


@pytest.mark.parametrize(
    ("more", "pointer", "says"),
    [
        ({"certificate_authority": "x"}, "/certificate_authority", "expected google or lets_encrypt or ssl_com"),
        ({"certificate_authority": ["x"]}, "/certificate_authority", "expected google"),
        ({"validation_method": "email"}, "/validation_method", "lets_encrypt can be shown by http or txt"),
        ({"certificate_authority": "google"}, "/validation_method", "google can be shown by txt"),
        ({"certificate_authority": "ssl_com", "validation_method": "txt"}, "/validation_method", "shown by http"),
        ({"validity_days": 30}, "/validity_days", "lets_encrypt issues for 90 days"),
        ({"hosts": ["a.b", "*.a.b"]}, "/validation_method", r"\*\.a\.b can be validated by txt only"),
    ],
)
def test_what_no_authority_is_for(more, pointer, says):
    with pytest.raises(BodyFault, match=says) as caught:
        check_order(order(**more), AUTHORITIES)
    assert caught.value.details[0].pointer == pointer


@pytest.mark.parametrize(
    ("body", "acme"),
    [
        ({"hosts": ["b.example.com"]}, {"names": ["b.example.com"]}),
        ({"validation_method": "txt"}, {"challenge": "dns-01"}),
        ({"certificate_authority": "ssl_com"}, {"authority": "ssl_com"}),
        ({"certificate_authority": "ssl_com", "validity_days": 365}, {"authority": "ssl_com"}),
        ({"cloudflare_branding": False}, {}),
    ],
)
def test_what_is_changed_of_an_order(body, acme):
    before = pack().value
    whole = changed(body, before, AUTHORITIES, Refs())
    assert PACKS.to_value(whole, Refs()) == {"acme": before["acme"] | acme}


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        (
            {"certificate": "PEM"},
            "/certificate",
            "hosts, validation_method, certificate_authority and validity_days of",
        ),
        ({"type": "advanced"}, "/type", "can be changed, nothing else"),
        ({"certificate_authority": "google"}, "/validation_method", "google can be shown by txt"),
        ({"certificate_authority": None}, "/certificate_authority", "expected google or"),
        ({"hosts": ["*.example.com"]}, "/validation_method", "by txt only"),
    ],
)
def test_what_cannot_be_changed_of_an_order(body, pointer, says):
    with pytest.raises(BodyFault, match=says) as caught:
        changed(body, pack().value, AUTHORITIES, Refs())
    assert caught.value.details[0].pointer == pointer


def test_without_authorities_nothing_is_ordered():
    with pytest.raises(BodyFault, match=r"the file has no acme\.authorities"):
        check_order(order(), {})


@pytest.mark.parametrize(
    ("served", "status", "errors"),
    [
        (None, "initializing", []),
        ({"temporary": True, "order": None}, "initializing", []),
        ({"temporary": True, "order": {"ordering": False, "failures": 0}}, "initializing", []),
        ({"temporary": True, "order": {"ordering": True, "failures": 0}}, "pending_validation", []),
        (
            {"temporary": True, "order": {"failures": 1, "failure": "no"}},
            "pending_validation",
            ["no"],
        ),
        ({"temporary": False, "order": {"failures": 0}}, "active", []),
        ({"temporary": False, "order": {"failures": 2, "failure": "down"}}, "active", ["down"]),
        ({"temporary": False, "ends_at": 9}, "expired", []),
    ],
)
def test_how_far_an_order_is(served, status, errors):
    told = served and {"names": ("a.example.com",), "issuer": "CA", "ends_at": 100} | served
    shown = standing(pack(), Refs(), AUTHORITIES, told, now=10.0)
    assert (shown["status"], [one["message"] for one in shown["validation_errors"]]) == (status, errors)
    assert (shown["validation_method"], shown["validity_days"], shown["certificate_authority"]) == (
        "http",
        90,
        "lets_encrypt",
    )
    issued = [(one["issuer"], one["status"], one["zone_id"]) for one in shown["certificates"]]
    assert issued == ([("CA", status, "id of example.com")] if status in ("active", "expired") else [])


def test_one_of_the_file_may_name_no_authority():
    value = {"acme": {"names": ["a.example.com"], "challenge": "dns-01", "accept_terms": True}}
    one = StoredObject("certificates", "c", "a", value, 1.0, 2.0, 0, True)
    told = {"names": ("a.example.com",), "issuer": "CA", "ends_at": 100, "temporary": False, "order": None}
    shown = standing(one, Refs(), AUTHORITIES, told, now=10.0)
    assert (shown["validation_method"], "certificate_authority" in shown, "validity_days" in shown) == (
        "txt",
        False,
        False,
    )
    assert "zone_id" not in shown["certificates"][0]


def test_no_two_have_a_name():
    value = pack(names=["*.A.example.com"]).value
    assert re.fullmatch(r"wildcard\.a\.example\.com-[0-9a-f]{8}", wanted_name(value))
    assert wanted_name(value) != wanted_name(value)
    assert len(wanted_name(pack(names=["a" * 60 + ".example.com"]).value)) == 63
    assert PACKS.api_name(pack()) == "a"


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        (("acme", "names", 1), ("hosts", 1)),
        (("acme", "authority"), ("certificate_authority",)),
        (("acme", "challenge"), ("validation_method",)),
        (("acme",), ()),
        (("zone",), ("zone",)),
    ],
)
def test_places_are_those_of_the_body(place, pointer):
    assert PACKS.place(place, {}) == pointer
