import pytest
from pydantic import ValidationError

from spectrum.core.tls.acme import LETS_ENCRYPT, Acme, AcmeAuthority, AcmeService, whole_order

GIVEN = {"names": ["a.example"], "accept_terms": True}
DNS = {"server": "192.0.2.53"}


def test_what_is_left_out():
    acme = Acme.model_validate(GIVEN)
    assert acme.names == ("a.example",)
    assert (acme.directory, acme.challenge, acme.key_type) == (LETS_ENCRYPT, None, "ecdsa")
    assert whole_order(acme, AcmeService()).challenge == "tls-alpn-01"
    assert str(AcmeService().http) == "[::]:80"


@pytest.mark.parametrize(
    ("server", "is_at"),
    [("192.0.2.53", "192.0.2.53:53"), ("192.0.2.53:5353", "192.0.2.53:5353"), ("2001:db8::1", "[2001:db8::1]:53")],
)
def test_a_dns_server_has_a_port(server, is_at):
    acme = Acme.model_validate(GIVEN | {"names": ["*.a.example"], "challenge": "dns-01", "dns": {"server": server}})
    assert str(acme.dns.server) == is_at


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": []}, "names: an empty list"),
        ({"names": ["a b"]}, "not a server name"),
        ({"names": ["a.example", "A.example"]}, "a.example is listed twice"),
        ({"names": [f"{i}.example" for i in range(101)]}, "at most 100"),
        ({"accept_terms": False}, "accept_terms: true is needed"),
        ({"directory": "letsencrypt"}, "not a URL of an ACME directory"),
        ({"email": "ops"}, "not an email address"),
        ({"challenge": "dns-01"}, "challenge: dns-01 needs dns"),
        ({"dns": DNS}, "dns is for challenge: dns-01"),
        ({"challenge": "dns-01", "dns": {"server": "ns.example"}}, "is not an address and port"),
        ({"authority": "ours"}, "accept_terms does not go with authority: acme.authorities.ours has it"),
    ],
)
def test_what_cannot_be_ordered(change, message):
    with pytest.raises(ValidationError, match=message):
        Acme.model_validate(GIVEN | change)


CA = {"directory": "https://ca.example/d", "accept_terms": True, "email": "ops@a.example", "profile": "short"}


@pytest.mark.parametrize(
    ("certificate", "authority", "challenge"),
    [
        ({}, {}, "http-01"),
        ({}, {"challenge": "tls-alpn-01"}, "tls-alpn-01"),
        ({"challenge": "dns-01", "key_type": "rsa"}, {"dns": DNS}, "dns-01"),
        ({"names": ["*.a.example"]}, {"challenge": "dns-01", "dns": DNS}, "dns-01"),
    ],
)
def test_an_authority_has_what_is_said_of_the_ca(certificate, authority, challenge):
    acme = Acme.model_validate({"names": ["a.example"], "authority": "ours"} | certificate)
    service = AcmeService.model_validate({"authorities": {"ours": CA | authority}})
    whole = whole_order(acme, service)
    assert (whole.directory, whole.email, whole.profile) == ("https://ca.example/d", "ops@a.example", "short")
    assert (whole.names, whole.key_type, whole.challenge) == (acme.names, acme.key_type, challenge)
    assert (whole.dns is None) is (not authority.get("dns"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accept_terms": False}, "accept_terms: true is needed"),
        ({"challenge": "dns-01"}, "challenge: dns-01 needs dns"),
        ({"validity_days": 0}, "greater than or equal to 1"),
    ],
)
def test_what_no_authority_can_be(change, message):
    with pytest.raises(ValidationError, match=message):
        AcmeAuthority.model_validate(CA | change)
