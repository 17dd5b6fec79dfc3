"""`spectrum sessions` and `spectrum kill`: lists open sessions, and ends them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from spectrum.cli.completion import complete_apps, complete_origins
from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon, failure
from spectrum.core.live_sessions import ORDERS

Command = TypeVar("Command", bound=Callable[..., Any])

_COLUMNS = ("id", "app", "proto", "client", "edge", "origin", "age", "idle", "from client", "from origin", "state")
_RIGHT = ("age", "idle", "from client", "from origin")


def _filters(command: Command) -> Command:
    """Add the options that choose sessions."""
    for option in (
        click.option(
            "--min-bytes",
            metavar="SIZE",
            help="Sessions with at least this many bytes in both directions, such as 10MB.",
        ),
        click.option("--older-than", metavar="DURATION", help="Sessions of at least this age, such as 5m."),
        click.option(
            "--origin",
            help="Sessions to an origin: 192.0.2.1, 192.0.2.1:22, POOL/ORIGIN or ORIGIN.",
            shell_complete=complete_origins,
        ),
        click.option("--client", metavar="ADDRESS", help="Sessions of an address or a prefix, such as 192.0.2.0/24."),
        click.option("--app", help="Sessions of an app.", shell_complete=complete_apps),
    ):
        command = option(command)
    return command


@click.command(short_help="Show the open sessions and flows.")
@SOCKET
@_filters
@click.option("--sort", type=click.Choice(list(ORDERS)), default="age", show_default=True, help="Sort order.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number of lines."
)
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between.")
@AS_JSON
def sessions(socket_path: Path | None, watch: bool, interval: float, as_json: bool, **options: Any) -> None:
    """Show the open TCP sessions and UDP flows of the running daemon, including those from before an upgrade. The first
    column is the id for `spectrum kill`.
    """
    while True:
        answer = _ask(socket_path, "GET", "/sessions", options)
        text = json.dumps(answer, indent=None if watch else 2) if as_json else _table(answer)
        if watch and not as_json:
            click.clear()
        click.echo(text)
        _tell_silent(answer)
        if not watch:
            return
        time.sleep(interval)


@click.command(short_help="End sessions and flows.")
@SOCKET
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_filters
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def kill(socket_path: Path | None, ids: tuple[str, ...], yes: bool, **options: Any) -> None:
    """End sessions and flows: by their ids, or all of an app, a client or an origin.

    They end with the reason `killed`. A client may connect again; access rules and `spectrum app pause` prevent that.
    """
    if not ids and not any(options.values()):
        raise click.UsageError("which sessions? name ids, or --app, --client, --origin, --older-than or --min-bytes")
    options["ids"] = ",".join(ids)
    if not yes:
        total = _ask(socket_path, "GET", "/sessions", options | {"limit": 0})["total"]
        if total > 1:
            click.confirm(f"end {total} sessions and flows?", abort=True)
    answer = _ask(socket_path, "POST", "/sessions/kill", options)
    _tell_silent(answer)
    if not answer["killed"]:
        raise failure("no such session is open")
    click.echo(f"{_counted(answer['killed'])} ended")


def _counted(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _ask(socket_path: Path | None, method: str, resource: str, options: dict[str, Any]) -> Any:
    query = urlencode({key: value for key, value in options.items() if value is not None})
    answer = ask_daemon(socket_path, method, f"{resource}?{query}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    return answer


def _tell_silent(answer: dict[str, Any]) -> None:
    for worker in answer["silent"]:
        click.echo(f"{worker} does not answer: its sessions are not included", err=True)


def _table(answer: dict[str, Any]) -> str:
    from spectrum.cli.show import byte_text, duration_text  # With rich, which --json does not need.

    lines: list[tuple[str, ...]] = [_COLUMNS]
    for one in answer["sessions"]:
        name = f" ({one['origin_name']})" if one["origin_name"] else ""
        lines.append(
            (
                one["id"],
                one["app"],
                one["transport"],
                one["client"],
                one["edge"],
                f"{one['origin'] or '-'}{name}",
                duration_text(one["age_s"]),
                duration_text(one["idle_s"]),
                byte_text(one["bytes_from_client"]),
                byte_text(one["bytes_from_origin"]),
                one["state"],
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(
            text.rjust(width) if heading in _RIGHT else text.ljust(width)
            for heading, text, width in zip(_COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    shown, total = len(answer["sessions"]), answer["total"]
    rows.append(f"{shown} of {_counted(total)}; --limit shows more" if shown < total else _counted(total))
    return "\n".join(rows)
