"""Apps with addresses that are not this machine's: what the daemon's user has to be allowed for them."""

import os
from collections.abc import Iterator

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.kernel.transparent import may_be_transparent

NOT_ALLOWED = "source: client, tproxy and bindings need root or CAP_NET_RAW; see `spectrum doctor`"


def transparent_places(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield the settings of apps that need foreign addresses."""
    for name, app in config.apps.items():
        if app.source == "client":
            yield "apps", name, "source"
        if app.tproxy is not None:
            yield "apps", name, "tproxy"
        if app.bindings:
            yield "apps", name, "bindings"


def is_not_allowed(config: Config) -> bool:
    """Return whether a configuration needs foreign addresses, and this process may not use them."""
    return next(transparent_places(config), None) is not None and not may_be_transparent()


def only_for_root(config: Config) -> list[str]:
    """Return that this user, which is not root, could not start a daemon that uses foreign addresses."""
    return [NOT_ALLOWED] if os.geteuid() != 0 and is_not_allowed(config) else []


def refusals(config: Config) -> list[Fault]:
    """Return why a daemon that root starts could not serve; another user may check a file that root is to serve."""
    if os.geteuid() != 0 or not is_not_allowed(config):
        return []
    return [Fault(place, NOT_ALLOWED) for place in transparent_places(config)]
