"""`spectrum report`: traffic, failures and recommended actions of a period; as text, JSON, or PDF."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from spectrum.cli.api import API_SOCKET, request
from spectrum.cli.options import AS_JSON, FILE, failure

WIDTH = 92


@click.command(short_help="Report of a week, as text or PDF.")
@API_SOCKET
@click.option("--since", metavar="TIME", help="Begin: 2026-11-16, or 7d before now; in UTC.")
@click.option("--until", metavar="TIME", help="End; the default is midnight.")
@click.option("--account", help="The account, by name; the default is the first one.")
@click.option("-o", "--output", type=FILE, help="Write a PDF to this file.")
@AS_JSON
def report(
    api_path: Path | None, since: str | None, until: str | None, account: str | None, output: Path | None, as_json: bool
) -> None:
    """Print a report: traffic compared with the period before, outages, refusals, recommended actions. The default is
    the last seven whole days. It needs `analytics` in the file.
    """
    times = {name: _instant(name, text) for name, text in (("since", since), ("until", until)) if text}
    made = request(api_path, "GET", f"/accounts/{_account(api_path, account)}/report", **times)
    if output is not None:
        _write(output, made)
    elif as_json:
        click.echo(json.dumps(made, indent=2))
    else:
        click.echo("\n".join(lines(made)))


def _instant(name: str, text: str) -> str:
    from spectrum.core.records.story import parse_time

    try:
        return parse_time(text, datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError as exc:
        raise click.UsageError(f"--{name}: {exc}") from exc


def _account(api_path: Path | None, name: str | None) -> str:
    """Return the id of an account."""
    known = {one["name"]: one["id"] for one in request(api_path, "GET", "/accounts", per_page="1000")}
    if name is not None and name not in known:
        raise failure(f'there is no account "{name}": {", ".join(known)}')
    return str(known[name] if name is not None else next(iter(known.values())))


def _write(path: Path, made: Mapping[str, Any]) -> None:
    try:
        from spectrum.analytics.paper import pdf
    except ImportError as exc:
        raise failure("a PDF needs reportlab: pip install 'spectrum-edge[analytics]'") from exc
    try:
        path.write_bytes(pdf(made))
    except OSError as exc:
        raise failure(f"{path}: {(exc.strerror or str(exc)).lower()}") from exc


def lines(made: Mapping[str, Any]) -> Iterator[str]:
    """Yield a report as text."""
    yield made["subtitle"]
    yield click.style(made["headline"], bold=True)
    yield ""
    yield from textwrap.wrap(made["paragraph"], WIDTH)
    yield ""
    for one in made["figures"]:
        yield f"{one['label']:16} {one['value']:>10}   {one['note']}"
    for section in made["sections"]:
        yield ""
        yield click.style(section["title"], bold=True)
        yield from _days(section) if section["kind"] == "days" else _table(section)
    if made["to_do"]:
        yield ""
        yield click.style("To do", bold=True)
        yield from (f"{number}. {text}" for number, text in enumerate(made["to_do"], 1))
    yield ""
    yield from textwrap.wrap(made["footer"], WIDTH)


def _days(section: Mapping[str, Any]) -> Iterator[str]:
    from spectrum.core.analytics.figures import amount

    most = max([1, *(day["carried"] for day in section["days"])])
    for day in section["days"]:
        yield f"{day['label']}  {amount(day['carried'], 'B'):>8}  {'#' * round(48 * day['carried'] / most)}"


def _table(section: Mapping[str, Any]) -> Iterator[str]:
    rows = [[one["label"] for one in section["columns"]], *section["rows"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [one["align"] == "right" for one in section["columns"]]
    for row in rows:
        cells = (
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right, strict=True)
        )
        yield "  ".join(cells).rstrip()
