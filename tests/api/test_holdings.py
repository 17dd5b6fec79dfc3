from spectrum.api.holdings import Holdings
from spectrum.store.objects import ObjectChange, StoredObject, file_id


def stored(section, name, value, number=1):
    return StoredObject(section, f"{section}-{name}", name, value, number, number, number)


def names(objects):
    return [one.name for one in objects]


def filled(file, *objects):
    holdings = Holdings()
    holdings.fill(file, objects, 7.0)
    return holdings


def test_objects_are_found_by_id_and_by_name():
    holdings = filled({"pools": {"p": {"origins": []}}}, stored("pools", "q", {}))
    assert names(holdings.all("pools")) == ["p", "q"]
    of_file = holdings.named("pools", "p")
    assert holdings.get("pools", file_id("pools", "p")) is of_file
    assert of_file.is_in_file and of_file.created_on == 7.0
    assert holdings.get("pools", "pools-q").value == {}
    assert holdings.get("apps", "pools-q") is None
    assert holdings.named("pools", "r") is None
    assert set(holdings.names("pools")) == {"p", "q"}


def test_the_file_wins_where_both_have_a_name():
    holdings = filled({"pools": {"p": {"origins": [1]}}}, stored("pools", "p", {}))
    assert [one.value for one in holdings.all("pools")] == [{"origins": [1]}]
    assert holdings.get("pools", "pools-p") is None


def test_there_is_always_an_account():
    holdings = filled({"pools": {"p": {}}})
    (account,) = holdings.all("accounts")
    assert account.name == "default" and holdings.implied_account() == account
    assert holdings.owner_keys(account) == {}
    assert holdings.owners(holdings.named("pools", "p")) == ("default", "")


def test_objects_belong_to_accounts_and_zones():
    holdings = filled(
        {
            "accounts": {"a": {}, "b": {}},
            "zones": {"example.com": {}, "example.net": {"account": "b"}},
            "apps": {
                "one": {"dns": {"name": "one.example.net"}},
                "two": {"zone": "example.com"},
                "three": {},
            },
            "access_rules": {"r": {"zone": "example.net"}, "s": {"account": "b"}},
        }
    )
    assert names(holdings.in_zone("apps", "example.net")) == ["one"]
    assert names(holdings.in_zone("apps", "example.com")) == ["two", "three"]
    assert names(holdings.in_account("apps", "b")) == ["one"]
    assert names(holdings.in_account("access_rules", "b")) == ["r", "s"]
    assert names(holdings.in_zone("access_rules", "example.net")) == ["r"]
    assert names(holdings.in_account("zones", "b")) == ["example.net"]
    assert names(holdings.in_zone("zones", "example.net")) == ["example.net"]
    assert holdings.owners(holdings.named("accounts", "b")) == ("b", "")


def test_changes_are_taken_over():
    holdings = filled({}, stored("pools", "p", {"monitor": "m"}), stored("pools", "q", {}), stored("monitors", "m", {}))
    assert names(holdings.referrers("monitors", "m")) == ["p"]
    after = stored("pools", "r", {"monitor": "n", "account": "default"})
    holdings.apply(
        [ObjectChange("pools", "pools-p", "r", after.value), ObjectChange("pools", "pools-q", "q", None)],
        {"pools-p": StoredObject("pools", "pools-p", "r", after.value, 1, 2, 2)},
    )
    assert names(holdings.all("pools")) == ["r"]
    assert holdings.named("pools", "p") is None
    assert names(holdings.referrers("monitors", "m")) == []
    assert names(holdings.referrers("monitors", "n")) == ["r"]
    assert names(holdings.in_account("pools", "default")) == ["r"]


def test_an_object_keeps_its_place_in_lists():
    holdings = filled({}, stored("pools", "p", {}), stored("pools", "q", {}))
    holdings.apply([ObjectChange("pools", "pools-p", "p", {"a": 1})], {"pools-p": stored("pools", "p", {"a": 1}, 2)})
    assert names(holdings.all("pools")) == ["p", "q"]


def test_a_new_zone_takes_apps_over():
    holdings = filled({"apps": {"one": {"dns": {"name": "one.example.net"}}}})
    assert names(holdings.in_zone("apps", "example.net")) == []
    zone = stored("zones", "example.net", {})
    holdings.apply([ObjectChange("zones", zone.id, zone.name, {})], {zone.id: zone})
    assert names(holdings.in_zone("apps", "example.net")) == ["one"]


def test_owners_of_what_is_made_and_of_what_goes():
    holdings = filled({"accounts": {"a": {}}, "zones": {"example.com": {}}})
    changes = [
        ObjectChange("apps", "x", "x", {"zone": "example.com"}),
        ObjectChange("apps", "y", "y", None),
        ObjectChange("apps", "z", "z", None),
    ]
    befores = [None, stored("apps", "y", {"zone": "example.com"}), None]
    assert holdings.owners_after(changes, befores) == [("a", "example.com"), ("a", "example.com"), ("", "")]


def test_owners_of_what_is_made_with_its_zone_and_account():
    holdings = filled({"accounts": {"a": {}}})
    changes = [
        ObjectChange("apps", "x", "x", {"dns": {"name": "x.example.com"}}),
        ObjectChange("zones", "y", "example.com", {"account": "b"}),
        ObjectChange("accounts", "z", "b", {}),
    ]
    assert holdings.owners_after(changes, [None] * 3) == [("b", "example.com"), ("b", "example.com"), ("b", "")]


def test_whose_an_object_is_stands_in_it():
    holdings = filled({"accounts": {"a": {}}, "zones": {"example.com": {}}})
    account, zone = holdings.named("accounts", "a"), holdings.named("zones", "example.com")
    assert holdings.implied_account() is None
    assert holdings.owner_keys(account) == {"account": "a"}
    assert holdings.owner_keys(account, zone) == {"zone": "example.com"}
