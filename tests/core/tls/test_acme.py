import pytest
from pydantic import ValidationError

from spectrum.core.tls.acme import LETS_ENCRYPT, Acme, AcmeService

GIVEN = {"names": ["a.example"], "accept_terms": True}
DNS = {"server": "192.0.2.53"}


def test_what_is_left_out():
    acme = Acme.model_validate(GIVEN)
    assert acme.names == ("a.example",)
    assert (acme.directory, acme.challenge, acme.key_type) == (LETS_ENCRYPT, "tls-alpn-01", "ecdsa")
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
        ({"names": ["a b"]}, "no server name"),
        ({"names": ["a.example", "A.example"]}, "a.example is there twice"),
        ({"names": [f"{i}.example" for i in range(101)]}, "at most 100"),
        ({"accept_terms": False}, "accept_terms: true is needed"),
        ({"directory": "letsencrypt"}, "no URL of an ACME directory"),
        ({"email": "ops"}, "no email address"),
        ({"challenge": "dns-01"}, "challenge: dns-01 needs dns"),
        ({"dns": DNS}, "dns goes with challenge: dns-01"),
        ({"names": ["*.a.example"]}, r"\*.a.example needs challenge: dns-01"),
        ({"challenge": "dns-01", "dns": {"server": "ns.example"}}, "is not an address and port"),
    ],
)
def test_what_cannot_be_ordered(change, message):
    with pytest.raises(ValidationError, match=message):
        Acme.model_validate(GIVEN | change)
