from spectrum.core.configuration.config import App, Config
from spectrum.core.tenants.app_scopes import AppScopes
from spectrum.core.tenants.objects import Zone


def app(**more):
    return App.model_validate({"protocol": "tcp/1", "origin_direct": ["tcp://192.0.2.1:1"], **more})


APPS = {"a": app(dns={"name": "x.example.com"}), "b": app(zone="example.org")}
PLACES = {"accounts": {"acme": {}, "other": {}}, "zones": {"example.com": {}, "example.org": {"account": "other"}}}


def test_the_zone_and_the_account_of_each_app():
    assert AppScopes().of(Config.model_validate({"apps": APPS, **PLACES})) == {
        "a": ("zone example.com", "account acme"),
        "b": ("zone example.org", "account other"),
    }
    assert AppScopes().of(Config(apps=APPS))["a"] == ("account default",)


def test_what_changes_is_seen():
    scopes = AppScopes()
    config = Config.model_validate({"apps": APPS, **PLACES})
    first = scopes.of(config)
    assert scopes.of(config) == first
    more = config.model_copy(update={"apps": {"b": APPS["b"], "c": APPS["a"]}})
    assert scopes.of(more) == {"b": first["b"], "c": first["a"]}
    other = config.model_copy(update={"apps": {**APPS, "a": app(dns={"name": "x.example.org"})}})
    assert scopes.of(other)["a"] == first["b"]
    moved = config.model_copy(update={"zones": {"example.com": Zone(account="other"), "example.org": Zone()}})
    assert scopes.of(moved) == {"a": ("zone example.com", "account other"), "b": ("zone example.org", "account acme")}
