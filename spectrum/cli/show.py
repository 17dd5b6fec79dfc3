"""The tables of `spectrum status`."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show_status(status: dict[str, Any], console: Console) -> None:
    """Print the daemon's status for people."""
    workers = status["workers"]
    state = "draining" if status["draining"] else "serving"
    console.print(
        f"[bold]spectrum {status['version']}[/bold] {state}, pid {status['pid']}, up {_duration(status['uptime_s'])}, "
        f"generation {status['generation']} of {status['config']}",
        soft_wrap=True,
    )
    for worker in workers:
        note = "" if worker["ready"] else " (starting)"
        note += " [yellow](not accepting: out of descriptors)[/yellow]" if worker["stalled"] else ""
        console.print(f"worker {worker['number']}: pid {worker['pid']}, {worker['sessions']} sessions{note}")
    console.print(_apps_table(status["apps"]))


def _apps_table(apps: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("app", "protocol", "listens on", "sessions", "started", "from client", "from origin", "origin"):
        right = heading in ("sessions", "started", "from client", "from origin")
        # Only what may be long is folded where the terminal is narrow.
        table.add_column(
            heading,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=heading not in ("listens on", "origin"),
        )
    for app in apps:
        table.add_row(
            app["name"],
            app["protocol"],
            app["listens_on"],
            str(app["sessions"]),
            str(app["sessions_started"]),
            _bytes(app["bytes_from_client"]),
            _bytes(app["bytes_from_origin"]),
            "\n".join(_origin(origin) for origin in app["origins"]) or _no_origin(app),
        )
    return table


def _origin(origin: dict[str, Any]) -> str:
    text = f"{origin['address']} {origin['sessions']} open, {origin['connected']} connected"
    if origin["failed"]:
        text += f", [red]{origin['failed']} failed ({origin['last_failure']})[/red]"
    return text if origin["configured"] else f"{text} [dim](no longer in the file)[/dim]"


def _no_origin(app: dict[str, Any]) -> str:
    if app["origin_name_failure"]:
        return f"[red]{app['origin_name']}: {app['origin_name_failure']}[/red]"
    return app["origin_name"] or ""


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit returns")


def _duration(seconds: float) -> str:
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f}d {hours % 24:.0f}h"
    if hours:
        return f"{hours:.0f}h {minutes % 60:.0f}m"
    return f"{minutes:.0f}m {seconds % 60:.0f}s" if minutes else f"{seconds:.0f}s"
