"""`spectrum ddos tcp`: the state of Advanced TCP protection on this node."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon

_TITLES = {"syn_protection": "SYNs and SYN-ACKs", "tcp_flow_protection": "other packets"}


@click.command(short_help="Show TCP protection: the rules for this node, and packets by reason.")
@SOCKET
@AS_JSON
def tcp(socket_path: Path | None, as_json: bool) -> None:
    """Show TCP protection on this node: docs/tcp-protection.md."""
    answer = ask_daemon(socket_path, "GET", "/tcp-protection")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for line in _lines(answer):
        click.echo(line)


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield f"TCP protection is {'on' if answer['enabled'] else 'off'}"
    for component, shown in answer["components"].items():
        yield f"  {_TITLES[component]}: {_told(shown)}"
    protected = [one["prefix"] for one in answer["prefixes"] if not one["excluded"]]
    excluded = [one["prefix"] for one in answer["prefixes"] if one["excluded"]]
    yield f"  destinations: {', '.join(protected) or 'all'}" + (f", without {', '.join(excluded)}" if excluded else "")
    if answer["allowlist"]:
        yield f"  not judged: packets from {', '.join(answer['allowlist'])}"
    yield ""
    rows = [["packets", *next(iter(answer["packets"].values()))]]
    rows += [[reason.replace("_", " "), *map(str, by.values())] for reason, by in answer["packets"].items()]
    yield from _table(rows)


def _told(shown: dict[str, Any]) -> str:
    filters = ", ".join(f"{count} {mode}" for mode, count in shown["filters"].items())
    behind = f"; filters: {filters}" if filters else ""
    if "rule" not in shown:
        return f"no rule{behind}"
    where = "" if shown["scope"] == "global" else f" of {shown['scope']} {shown['place']}"
    rate = f"beyond {shown['packets_per_second']:,} pps to an address, {shown['burst']:,} at once"
    how = f", {shown['mitigation_type']}" if "mitigation_type" in shown else ""
    return f"{shown['mode']} by rule {shown['rule']}{where} {rate}{how}{behind}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers in rows:
        cells = [first.ljust(widths[0])]
        cells += [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()
