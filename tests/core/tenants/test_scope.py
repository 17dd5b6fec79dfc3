import pytest

from spectrum.core.tenants.scope import Scope

SCOPE = Scope.of_values(
    ["acme", "other"],
    {
        "example.com": {},
        "sub.example.com": {"account": "other"},
        "long": {"name": "Example.ORG", "account": "other"},
    },
)


@pytest.mark.parametrize(
    ("zone", "dns_name", "found"),
    [
        (None, "ssh.example.com", "example.com"),
        (None, "example.com", "example.com"),
        (None, "a.sub.example.com", "sub.example.com"),
        (None, "A.SUB.example.com.", "sub.example.com"),
        (None, "notexample.com", "example.com"),  # the first one
        (None, "a.example.org", "long"),
        (None, None, "example.com"),
        ("long", "ssh.example.com", "long"),
    ],
)
def test_the_zone_of_an_app(zone, dns_name, found):
    assert SCOPE.zone_of_app(zone, dns_name) == found


@pytest.mark.parametrize(
    ("zone", "account", "found"),
    [
        (None, None, "acme"),
        (None, "other", "other"),
        ("example.com", None, "acme"),
        ("sub.example.com", None, "other"),
        ("none", None, "acme"),
    ],
)
def test_the_account_of_an_object(zone, account, found):
    assert SCOPE.account_of(zone, account) == found


def test_the_account_default_stays_what_it_is():
    assert Scope(["acme", "default"], {}).default_account == "default"
    assert Scope(["acme", "other"], {}).default_account == "acme"


def test_without_accounts_and_zones():
    scope = Scope([], {})
    assert (scope.default_account, scope.default_zone) == ("default", "")
    assert scope.zone_of_app(None, "a.example.com") == ""
    assert scope.account_of(None, None) == scope.account_of_zone("") == "default"
