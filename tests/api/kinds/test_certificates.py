import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from spectrum.api.envelope import BodyFault
from spectrum.api.kinds.certificates import CERTIFICATES, from_value, prioritized, sealed, wanted_name
from spectrum.core.tls.objects import Certificate
from spectrum.core.tls.pem import public_key_of
from spectrum.store.objects import StoredObject
from spectrum.store.sealing import unseal
from tests.certificates import Authority, key_pem

AUTHORITY = Authority()
ONE, OTHER = AUTHORITY.issue("a.example.com", "*.example.com"), AUTHORITY.issue("b.example.com")
RSA = AUTHORITY.issue(common_name="old.example.com", kind="rsa")
SEALING = X25519PrivateKey.generate()
PUBLIC = SEALING.public_key().public_bytes_raw()


class Refs:
    def id_of(self, section, key):
        return f"id of {key}"


def body(issued=ONE, **more):
    return {"certificate": issued.chain.decode(), "private_key": issued.key.decode(), **more}


def stored(issued=ONE, **more):
    value = CERTIFICATES.to_value(sealed(body(issued), PUBLIC, None), Refs())
    return StoredObject("certificates", "c", "a", value | {"zone": "example.com"} | more, 1.0, 2.0, 3)


def test_a_key_is_sealed_at_once_and_never_shown():
    one = stored()
    Certificate.model_validate(one.value)
    assert ONE.key.decode() not in str(one.value)
    assert unseal(one.value["sealed_key"], public_key_of(ONE.certificate), SEALING) == ONE.key
    shown = from_value(one, Refs())
    assert one.value["sealed_key"] not in str(shown)
    assert "private_key" not in shown
    assert (shown["hosts"], shown["zone_id"]) == (["a.example.com", "*.example.com"], "id of example.com")
    assert (shown["status"], shown["signature"], shown["bundle_method"]) == ("active", "SHA256WithECDSA", "ubiquitous")
    assert shown["issuer"].startswith("CN=")
    assert from_value(stored(RSA), Refs())["hosts"] == ["old.example.com"]
    assert wanted_name(one.value) == "a.example.com"
    assert wanted_name(stored(AUTHORITY.issue("*.example.com")).value) == "wildcard.example.com"


def test_one_of_the_file_has_no_details():
    of_file = StoredObject("certificates", "c", "a", {"certificate": "/c.pem", "key": "/c.key"}, 1.0, 2.0, 0, True)
    shown = from_value(of_file, Refs())
    assert (shown["hosts"], "expires_on" in shown) == ([], False)


def test_a_priority_stays():
    one = stored(priority=7)
    assert from_value(one, Refs())["priority"] == 7
    assert CERTIFICATES.to_value(CERTIFICATES.to_body(one.value, Refs()), Refs())["priority"] == 7
    assert "priority" not in sealed(body(priority=9), PUBLIC, None), "a call of its own sets it"


def test_priorities():
    given = [{"id": "a", "priority": 2}, {"id": "b", "priority": 0}]
    assert prioritized({"certificates": given}) == {"a": 2, "b": 0}


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (None, "/certificates"),
        ([], "/certificates"),
        ({"certificates": 5}, "/certificates"),
        ({"certificates": [{"id": "a", "priority": 1}, {"id": "b"}]}, "/certificates/1"),
        ({"certificates": [{"id": "a", "priority": -1}]}, "/certificates/0"),
        ({"certificates": [{"id": "a", "priority": "1"}]}, "/certificates/0"),
        ({"certificates": [{"id": "a", "priority": True}]}, "/certificates/0/priority"),
        ({"certificates": [{"id": 5, "priority": 1}]}, "/certificates/0"),
    ],
)
def test_what_are_no_priorities(given, pointer):
    with pytest.raises(BodyFault) as caught:
        prioritized(given)
    assert caught.value.details[0].pointer == pointer


def test_one_that_is_over():
    assert from_value(stored(AUTHORITY.issue("a.example.com", days=-1)), Refs())["status"] == "expired"


def test_what_is_changed_of_one():
    before = stored()
    assert sealed({"bundle_method": "force"}, PUBLIC, before) == {"bundle_method": "force"}
    renewed = AUTHORITY.issue("a.example.com", "new.example.com", key=ONE.private)
    again = sealed({"certificate": renewed.chain.decode()}, PUBLIC, before)
    assert again == {"certificate": renewed.chain.decode()}, "the key that there is fits"
    with pytest.raises(BodyFault, match="private_key is missing"):
        sealed({"certificate": OTHER.chain.decode()}, PUBLIC, before)
    assert set(sealed(body(OTHER), PUBLIC, before)) == {"certificate", "sealed_key"}
    assert set(sealed({"private_key": ONE.key.decode()}, PUBLIC, before)) == {"certificate", "sealed_key"}


@pytest.mark.parametrize(
    ("more", "pointer", "says"),
    [
        ({"certificate": "x"}, "/certificate", "not a certificate in PEM form"),
        ({"certificate": 5}, "/certificate", "not a certificate in PEM form"),
        ({"private_key": "x"}, "/private_key", "not a private key in PEM form"),
        ({"private_key": OTHER.key.decode()}, "/private_key", "this key does not match the certificate"),
        ({"private_key": key_pem(ONE.private, b"x").decode()}, "/private_key", "has a passphrase"),
        ({"private_key": None}, "/private_key", "is missing"),
        ({"sealed_key": "x"}, "/sealed_key", "unknown field"),
        ({"geo_restrictions": {"label": "us"}}, "/geo_restrictions", "on this node alone"),
        ({"policy": "(country: US)"}, "/policy", "on this node alone"),
        ({"custom_csr_id": "1"}, "/custom_csr_id", "send the private_key"),
        ({"deploy": "staging"}, "/deploy", "there is no staging"),
    ],
)
def test_what_cannot_be_taken(more, pointer, says):
    with pytest.raises(BodyFault, match=says) as caught:
        sealed(body() | more, PUBLIC, None)
    (detail,) = caught.value.details
    assert (detail.code, detail.pointer) == (1002, pointer)


def test_places_are_those_of_the_body():
    assert CERTIFICATES.place(("chain",), {}) == ("certificate",)
    assert CERTIFICATES.place(("sealed_key",), {}) == ("private_key",)
    assert CERTIFICATES.place(("bundle_method",), {}) == ("bundle_method",)
