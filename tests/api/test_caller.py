import pytest

from spectrum.api.caller import ANY, Caller
from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import Author
from spectrum.store.tokens import StoredToken

AUTHOR = Author("token", "1" * 32, "ci")


def caller(*policies):
    limits = Token.model_validate({"hash": "sha256:" + "0" * 64, "policies": list(policies)})
    return Caller(AUTHOR, StoredToken("1" * 32, "ci", "", {}, 0, 0), limits)


@pytest.mark.parametrize(
    ("policy", "asked", "may"),
    [
        ({"permissions": ["apps:read"]}, ("apps", False, "a", "z"), True),
        ({"permissions": ["apps:read"]}, ("apps", True, "a", "z"), False),
        ({"permissions": ["apps:edit"], "accounts": ["a"]}, ("apps", False, "a", "z"), True),
        ({"permissions": ["apps:edit"], "accounts": ["a"]}, ("apps", False, ANY), False),
        ({"permissions": ["apps:edit"]}, ("apps", False, ANY), True),
        ({"permissions": ["apps:edit"], "zones": ["z"]}, ("apps", True, "a", "z"), True),
        ({"permissions": ["apps:edit"], "zones": ["z"]}, ("apps", True, "a"), False),
    ],
)
def test_what_a_token_may(policy, asked, may):
    one = caller(policy)
    assert one.may(*asked) is may
    assert not one.is_local and str(one) == f"token ci ({'1' * 32})"


def test_callers_on_this_machine_have_all_permissions():
    local = Caller(Author("local", "0", "root"))
    assert str(Caller(Author("token", "1", "a\nb"))) == "token a\\nb (1)"
    assert local.is_local and local.may("tokens", True) and str(local) == "user root (0)"
