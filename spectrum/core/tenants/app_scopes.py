"""The zone and account of each app, by which access rules apply to it."""

from spectrum.core.access.rules import scope_name
from spectrum.core.configuration.config import App, Config
from spectrum.core.tenants.checks import owner_of, scope_of, zone_of


class AppScopes:
    """Keeps the zones and accounts of successive configurations.

    Args:
        config: The first one.
    """

    def __init__(self, config: Config) -> None:
        self._places: object = None
        self.take(config)

    def take(self, config: Config) -> bool:
        """Use another configuration; return whether the scopes of unchanged apps may have changed."""
        places = list(config.accounts), config.zones
        if places == self._places:
            return False
        self._places, self._scope = places, scope_of(config)
        return True

    def scopes_of(self, app: App) -> tuple[str, ...]:
        """Return the scopes of an app, as `RuleSettings.scope` has them."""
        zone = zone_of(self._scope, app)
        names = scope_name(zone, None), scope_name(None, self._scope.account_of(zone, None))
        return tuple(filter(None, names))


def apps_of_account(config: Config, account: str) -> frozenset[str] | None:
    """Return the names of an account's apps; None for all: no account is given, or there is only one."""
    if not account or len(config.accounts) < 2:
        return None
    scope = scope_of(config)
    return frozenset(name for name, app in config.apps.items() if owner_of(scope, "apps", app) == account)
