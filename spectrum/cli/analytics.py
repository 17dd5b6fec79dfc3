"""`spectrum analytics`: questions to analytics, in a terminal."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from spectrum.cli.api import API_SOCKET, request
from spectrum.cli.options import AS_JSON, failure
from spectrum.core.durations import parse_duration_s

OTHERS = "(others)"


@click.command(short_help="Query analytics: metrics by dimensions and by time.")
@API_SOCKET
@click.argument("metrics", nargs=-1, metavar="[METRIC]...")
@click.option("--by", default="", metavar="DIMENSIONS", help="Dimensions to group by, such as app,reason.")
@click.option("--where", default=None, metavar="FILTER", help="A filter, such as 'country==DE;event!=connect'.")
@click.option(
    "--since",
    default="6h",
    show_default=True,
    help="Begin of the period: a time, or a duration before now such as 30m, 2d.",
)
@click.option("--until", default=None, help="End of the period, likewise; the default is now.")
@click.option("--every", "bucket", default=None, metavar="TIME", help="By time, too: 60, minute, hour, day, ...")
@click.option("--sort", "order", default="", metavar="NAMES", help="Sort order, such as -bytes: the highest first.")
@click.option("--limit", default=20, show_default=True, help="Maximum number of groups; the rest is one more.")
@click.option("--table", default="events", show_default=True, help="The table: events, health, changes or packets.")
@click.option("--account", default=None, help="The account, by name; the default is the first one.")
@AS_JSON
def analytics(
    api_path: Path | None,
    metrics: Sequence[str],
    by: str,
    where: str | None,
    since: str,
    until: str | None,
    bucket: str | None,
    order: str,
    limit: int,
    table: str,
    account: str | None,
    as_json: bool,
) -> None:
    """Query the store of analytics.

    Without METRIC it counts records; without anything, by app and event. docs/analytics.md has all metrics and
    dimensions.

    \b
      spectrum analytics
      spectrum analytics count durationMedian duration99th --by app --where 'outcome!=refused' --since 2h
      spectrum analytics refused --by client_ip,reason --sort -refused
      spectrum analytics bytes --every hour --since 1d
    """
    dimensions = _names(by) if by or metrics or bucket else ["app", "event"]
    body = {
        "table": table,
        "metrics": list(metrics) or ["count"],
        "dimensions": dimensions,
        "filter": where,
        "since": _time(since),
        "until": None if until is None else _time(until),
        "bucket": int(bucket) if bucket is not None and bucket.isdecimal() else bucket,
        "order": _names(order),
        "limit": limit,
        "others": bool(dimensions),
    }
    query = {} if account is None else {"name": account}
    accounts = request(api_path, "GET", "/accounts", **query)
    if not accounts:
        raise failure(f"there is no account {account!r}")
    found = request(api_path, "POST", f"/accounts/{accounts[0]['id']}/analytics/query", body)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _print(found, len(dimensions) + (bucket is not None))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _time(text: str) -> float | str:
    """Return the time that a duration before now means; other texts unchanged, for the API to parse."""
    try:
        return time.time() - parse_duration_s(text)
    except ValueError:
        return text


def _print(found: dict[str, Any], keys: int) -> None:
    columns = found["columns"]
    headings = [_heading(column) for column in columns]
    lines = [[_cell(column, value) for column, value in zip(columns, row, strict=True)] for row in found["rows"]]
    if keys and lines:
        totals = [_cell(column, found["totals"].get(column["name"], 0)) for column in columns[keys:]]
        lines.append(["all", *[""] * (keys - 1), *totals])
    widths = [max(map(len, texts)) for texts in zip(headings, *lines, strict=True)]
    for line in (headings, *lines):
        cells = [
            text.ljust(width) if at < keys else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
    if not found["rows"]:
        click.echo("no records in this period")
    if found["partial"]:
        click.echo(f"not everything: {found['partial']}", err=True)


def _heading(column: dict[str, str]) -> str:
    return f"{column['name']} ({column['unit']})" if column["unit"] == "ms" else column["name"]


def _cell(column: dict[str, str], value: Any) -> str:
    match column["kind"], value:
        case "time", _:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
        case "dimension", None:
            return OTHERS
        case _, None:
            return "-"
        case _, float():
            return f"{value:.3f}"
    # Text of clients (a server name) is shown only if it is printable.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value)) or "-"
