"""`spectrum ddos profile` and `preview`: the normal traffic of each app, and packets beyond its limits."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon, failure

PROFILES = ("app", "rows", "learned", "last 24 h", "unseen", "openings/s", "rules")
LIMITS = ("what", "busiest day/s", "median/s", "limit/s", "openings")
BEYOND = ("app", "day", "what", "pps", "limit/s", "beyond", "openings")


@click.command(short_help="Show the profiles of apps' normal traffic.")
@click.argument("app", required=False)
@SOCKET
@AS_JSON
def profile(app: str | None, socket_path: Path | None, as_json: bool) -> None:
    """Show the profile of each app, or of one with its limits.

    unseen: the maximum share of the app's new sessions that a rule hits if it hits nothing of the profile (95 %
    confidence).
    """
    answer = _ask(socket_path, "/ddos/profiles", app)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if not answer["profiles"]:
        click.echo("no profile was saved yet; the first is after a minute")
        return
    _print([PROFILES, *map(_profile_line, answer["profiles"])])
    if app is not None:
        click.echo()
        _print([LIMITS, *map(_limit_line, answer["profiles"][0]["maxima"])])


@click.command(short_help="Show traffic beyond adaptive limits in the last week.")
@click.argument("app", required=False)
@SOCKET
@AS_JSON
def preview(app: str | None, socket_path: Path | None, as_json: bool) -> None:
    """Show traffic beyond the limits of adaptive profiles in the last week. None of it was dropped because of these
    limits.
    """
    answer = _ask(socket_path, "/ddos/preview", app)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if not answer["beyond"]:
        click.echo("nothing was beyond its limit in the last week; limits need three days")
        return
    _print([BEYOND, *map(_beyond_line, answer["beyond"])])


def _ask(socket_path: Path | None, resource: str, app: str | None) -> Any:
    answer = ask_daemon(socket_path, "GET", f"{resource}?app={quote(app)}" if app is not None else resource)
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    for fault in answer["faults"]:
        click.echo(fault, err=True)
    return answer


def _print(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _profile_line(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["app"],
        f"{one['rows']:,}",
        _duration(one["learned_s"]),
        f"{one['day_share']:.0%}",
        f"{one['unseen']:.2%}",
        f"{one['openings_per_second']:,.0f}",
        one["rules"],
    )


def _limit_line(one: dict[str, Any]) -> tuple[str, ...]:
    busiest = max((day["packets_per_second"] for day in one["days"]), default=0.0)
    limit = "not yet" if one["limit"] is None else f"{one['limit']:,.0f}{'?' if one['is_doubtful'] else ''}"
    middle = "" if one["median"] is None else f"{one['median']:,.0f}"
    return _what(one), f"{busiest:,.0f}", middle, limit, f"{one['openings_share']:.0%}"


def _beyond_line(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["app"],
        one["day"],
        _what(one),
        f"{one['packets_per_second']:,.0f}",
        f"{one['limit']:,.0f}",
        f"{one['packets_beyond']:,.0f}",
        f"{one['openings_share']:.0%}",
    )


def _what(one: dict[str, Any]) -> str:
    return one["dimension"] if one["value"] == "all" else f"{one['dimension']} {one['value']}"


def _duration(seconds: float) -> str:
    return next(_units(seconds))


def _units(seconds: float) -> Iterator[str]:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            yield f"{seconds / size:.1f} {unit}"
    yield f"{seconds:.0f} s"
