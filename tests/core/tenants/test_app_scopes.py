from spectrum.core.configuration.config import App, Config
from spectrum.core.tenants.app_scopes import AppScopes, apps_of_account
from spectrum.core.tenants.objects import Account, Zone


def app(**more):
    return App.model_validate({"protocol": "tcp/1", "origin_direct": ["tcp://192.0.2.1:1"], **more})


APPS = {"a": app(dns={"name": "x.example.com"}), "b": app(zone="example.org")}
PLACES = {"accounts": {"acme": {}, "other": {}}, "zones": {"example.com": {}, "example.org": {"account": "other"}}}


def scopes_of(config):
    scopes = AppScopes(config)
    return {name: scopes.scopes_of(one) for name, one in config.apps.items()}


def test_the_zone_and_the_account_of_each_app():
    assert scopes_of(Config.model_validate({"apps": APPS, **PLACES})) == {
        "a": ("zone example.com", "account acme"),
        "b": ("zone example.org", "account other"),
    }
    assert scopes_of(Config(apps=APPS))["a"] == ("account default",)


def test_what_changes_is_seen():
    config = Config.model_validate({"apps": APPS, **PLACES})
    scopes, first = AppScopes(config), scopes_of(config)
    assert not scopes.take(config.model_copy(update={"apps": {"b": APPS["b"]}}))
    assert scopes.scopes_of(app(dns={"name": "x.example.org"})) == first["b"]
    moved = config.model_copy(update={"zones": {"example.com": Zone(account="other"), "example.org": Zone()}})
    assert scopes.take(moved)
    assert scopes.scopes_of(APPS["a"]) == ("zone example.com", "account other")
    assert scopes.scopes_of(APPS["b"]) == ("zone example.org", "account acme")
    more = moved.model_copy(update={"accounts": {**moved.accounts, "third": Account()}})
    assert scopes.take(more)


def test_the_apps_of_an_account():
    config = Config.model_validate({"apps": APPS, **PLACES})
    assert [apps_of_account(config, one) for one in ("acme", "other", "gone")] == [{"a"}, {"b"}, set()]
    assert apps_of_account(config, "") is None
    assert apps_of_account(Config(apps=APPS), "default") is None
