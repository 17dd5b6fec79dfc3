"""Shell completion from the running daemon: names of apps and origins."""

from typing import Any

import click

from spectrum.cli.client import DaemonError, ask
from spectrum.control.paths import default_control_socket


def _status(ctx: click.Context) -> dict[str, Any]:
    """Return the status of the daemon; an empty one without a daemon."""
    try:
        status: dict[str, Any] = ask(ctx.params.get("socket_path") or default_control_socket(), "GET", "/status")
    except DaemonError:
        return {"apps": [], "pools": []}
    return status


def complete_apps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the apps with a prefix, including paused ones that are not in the file."""
    status = _status(ctx)
    names = [app["name"] for app in status["apps"]] + [pause["app"] for pause in status.get("paused", ())]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def complete_origins(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the origins of pools with a prefix, as POOL/ORIGIN, including former ones with overrides."""
    status = _status(ctx)
    names = [f"{pool['name']}/{origin['name']}" for pool in status["pools"] for origin in pool["origins"]]
    names += [one["origin"] for one in status.get("origins_by_hand", ())]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
