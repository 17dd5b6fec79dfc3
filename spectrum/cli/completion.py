"""What the shell completes from the daemon that runs: the names of apps and origins."""

from typing import Any

import click

from spectrum.cli.client import DaemonError, ask
from spectrum.control.paths import default_control_socket


def _status(ctx: click.Context) -> dict[str, Any]:
    """Return the status of the daemon; that of none where there is none."""
    try:
        status: dict[str, Any] = ask(ctx.params.get("socket_path") or default_control_socket(), "GET", "/status")
    except DaemonError:
        return {"apps": [], "pools": []}
    return status


def complete_apps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the apps that begin so, those that are paused and not in the file, too."""
    status = _status(ctx)
    names = [app["name"] for app in status["apps"]] + [pause["app"] for pause in status.get("paused", ())]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def complete_origins(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the origins of pools that begin so, as POOL/ORIGIN, those that are not in the file any more, too."""
    status = _status(ctx)
    names = [f"{pool['name']}/{origin['name']}" for pool in status["pools"] for origin in pool["origins"]]
    names += [one["origin"] for one in status.get("origins_by_hand", ())]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
