import pytest
from pydantic import ValidationError

from spectrum.core.tenants.tokens import PERMISSIONS, Token, TokenLimits, TokenPolicy

ZONES = {"example.com": "acme", "example.org": "other"}


def policy(*permissions, **more):
    return {"permissions": list(permissions), **more}


def limits(*policies, **more):
    return TokenLimits.model_validate({"policies": list(policies), **more})


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        ([policy("apps:edit")], {"apps:edit", "apps:read"}),
        ([policy("apps:read")], {"apps:read"}),
        ([policy("all:read")], {word for word in PERMISSIONS if word.endswith(":read")}),
        ([policy("all:edit")], set(PERMISSIONS)),
        ([policy("apps:edit", accounts=["acme"])], {"apps:edit", "apps:read"}),
        ([policy("apps:edit", accounts=["other"])], set()),
        ([policy("apps:edit", zones=["example.com"])], {"apps:edit", "apps:read"}),
        ([policy("apps:edit", zones=["example.org"])], set()),
        ([policy("apps:edit", zones=["example.org"], accounts=["acme"])], {"apps:edit", "apps:read"}),
        ([policy("apps:edit"), policy("apps:edit", effect="deny")], {"apps:read"}),
        ([policy("apps:edit"), policy("apps:read", effect="deny")], set()),
        ([policy("apps:edit"), policy("apps:read", effect="deny", accounts=["other"])], {"apps:edit", "apps:read"}),
        ([policy("apps:edit", "pools:read"), policy("all:edit", effect="deny")], {"apps:read", "pools:read"}),
    ],
)
def test_what_is_allowed_in_a_zone(policies, allowed):
    token = limits(*policies)
    assert {word for word in PERMISSIONS if token.allows(word, "acme", "example.com")} == allowed


def test_a_zones_permission_is_not_for_its_account():
    token = limits(policy("all:edit", zones=["example.com"]))
    assert token.allows("apps:edit", "acme", "example.com")
    assert not token.allows("pools:read", "acme")


@pytest.mark.parametrize(
    ("mine", "others", "includes"),
    [
        ([policy("all:edit")], [policy("all:edit")], True),
        ([policy("all:edit")], [policy("apps:edit", zones=["example.com"])], True),
        ([policy("all:read")], [policy("apps:edit")], False),
        ([policy("apps:edit")], [policy("all:read")], False),
        ([policy("apps:edit", accounts=["acme"])], [policy("apps:read", accounts=["acme"])], True),
        ([policy("apps:edit", accounts=["acme"])], [policy("apps:read")], False),
        ([policy("apps:edit", accounts=["acme"])], [policy("apps:read", zones=["example.com"])], True),
        ([policy("apps:edit", accounts=["acme"])], [policy("apps:read", zones=["example.org"])], False),
        ([policy("apps:edit", zones=["example.com"])], [policy("apps:read", accounts=["acme"])], False),
        (
            [policy("apps:edit"), policy("apps:read", effect="deny", zones=["example.com"])],
            [policy("apps:read")],
            False,
        ),
        (
            [policy("apps:edit"), policy("apps:read", effect="deny", zones=["example.com"])],
            [policy("apps:read", accounts=["acme"])],
            False,
        ),
        (
            [policy("apps:edit"), policy("apps:read", effect="deny", zones=["example.com"])],
            [policy("apps:read", accounts=["other"])],
            True,
        ),
        ([policy("apps:read")], [policy("all:edit", effect="deny"), policy("apps:read")], True),
        ([policy("all:edit"), policy("tokens:edit", effect="deny")], [policy("all:edit")], False),
    ],
)
def test_no_token_makes_one_that_may_more(mine, others, includes):
    wanted = [TokenPolicy.model_validate(one) for one in others]
    assert limits(*mine).includes(wanted, ZONES.get) is includes


def test_when_it_is_good():
    token = limits(policy("apps:read"), not_before="2026-01-01", expires_on="2026-02-01T00:00:00+01:00")
    assert [token.state(at) for at in (1767225599, 1767225600, 1769900399, 1769900400)] == [
        "not_yet",
        "active",
        "active",
        "expired",
    ]
    assert limits(policy("apps:read"), status="disabled").state(0) == "disabled"


@pytest.mark.parametrize(
    ("client", "taken"),
    [("192.0.2.1", True), ("::ffff:192.0.2.1", True), ("192.0.2.9", False), ("198.51.100.1", False), ("::1", False)],
)
def test_from_where_it_is_good(client, taken):
    token = limits(policy("apps:read"), addresses=["192.0.2.0/24"], not_addresses=["192.0.2.9"])
    assert token.takes_from(client) is taken
    assert limits(policy("apps:read")).takes_from("fe80::1%eth0")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"policies": [policy("app:edit")]}, "there is no permission 'app:edit'; did you mean \"apps:edit\"?"),
        ({"policies": [policy()]}, "at least 1 item"),
        ({"policies": []}, "at least 1 item"),
        ({"expires_on": "tomorrow"}, "is not a time; write 2027-01-31"),
        ({"expires_on": 5}, "expected text such as 2027-01-31T00:00:00Z, found 5"),
        ({"hash": "sha256:abc"}, "64 hex digits; spectrum token create --hash"),
        ({"addresses": ["192.0.2.1/24"]}, "is not a prefix"),
    ],
)
def test_faults(fields, message):
    good = {"hash": "sha256:" + "0" * 64, "policies": [policy("apps:edit")]}
    Token.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        Token.model_validate(good | fields)
    assert message in str(caught.value)
