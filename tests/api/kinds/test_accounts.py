from spectrum.api.kinds.accounts import display_name, from_account, from_membership, from_zone, user
from spectrum.store.objects import StoredObject

ACCOUNT = StoredObject("accounts", "1" * 32, "a", {"name": "Acme Ltd", "type": "enterprise"}, 0, 0)
ZONE = StoredObject("zones", "2" * 32, "example.com", {}, 0, 5)


def test_an_account():
    shown = from_account(ACCOUNT)
    assert (shown["id"], shown["name"], shown["type"]) == ("1" * 32, "Acme Ltd", "enterprise")


def test_a_zone():
    shown = from_zone(ZONE, ACCOUNT, False)
    assert shown["account"] == {"id": "1" * 32, "name": "Acme Ltd"}
    assert (shown["name"], shown["status"], shown["permissions"]) == ("example.com", "active", ["#zone:read"])
    assert from_zone(ZONE, ACCOUNT, True)["permissions"] == ["#zone:read", "#zone:edit"]
    assert display_name(ZONE) == "example.com"


def test_a_membership_and_the_user():
    shown = from_membership(ACCOUNT, lambda resource, edit: resource == "zones" and not edit)
    assert shown["permissions"]["zones"] == {"read": True, "write": False}
    assert shown["account"]["id"] == ACCOUNT.id
    assert user()["email"] == "operator@localhost"
