"""Of each app its zone and its account, by which access rules are for it; worked out where that can have changed."""

from spectrum.core.access.rules import scope_name
from spectrum.core.configuration.config import App, Config
from spectrum.core.tenants.checks import scope_of, zone_of


class AppScopes:
    """Knows the scopes of the apps of one configuration after another."""

    def __init__(self) -> None:
        self._places: object = None
        self._known: dict[str, tuple[App, tuple[str, ...]]] = {}

    def of(self, config: Config) -> dict[str, tuple[str, ...]]:
        """Return the scopes of each app, as `RuleSettings.scope` has them."""
        places = list(config.accounts), config.zones
        if places != self._places:
            self._places, self._known = places, {}
        scope, found = scope_of(config), {}
        for name, app in config.apps.items():
            known = self._known.get(name)
            if known is None or known[0] is not app:
                zone = zone_of(scope, app)
                names = scope_name(zone, None), scope_name(None, scope.account_of(zone, None))
                known = app, tuple(filter(None, names))
            found[name] = known
        self._known = found
        return {name: scopes for name, (_, scopes) in found.items()}
