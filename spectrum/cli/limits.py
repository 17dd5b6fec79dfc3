"""`spectrum limits`: which limit is reached first."""

import json
from pathlib import Path
from typing import Any

import click

from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon

HEADINGS = ("limit", "of", "used", "maximum", "share", "raised by")


@click.command(short_help="Show how much of each limit is used.")
@SOCKET
@AS_JSON
def limits(socket_path: Path | None, as_json: bool) -> None:
    """Print the use of each limit, the largest share first."""
    answer = ask_daemon(socket_path, "GET", "/limits")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    lines = [HEADINGS, *map(_line, answer["limits"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _line(one: dict[str, Any]) -> tuple[str, ...]:
    noun = one["limit"].replace("_", " ")
    return noun, one["of"], f"{one['used']:.0f}", f"{one['maximum']:.0f}", f"{one['share']:.1%}", one["setting"]
