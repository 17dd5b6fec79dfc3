"""`spectrum ddos attacks`, `show`, `explain` and `pcap`: what the daemon knows of attacks."""

import json
import sys
import textwrap
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon, failure
from spectrum.core.ddos.attack_events import AttackSample
from spectrum.core.ddos.attack_view import as_capture
from spectrum.core.ddos.attack_words import lasting, scaled, share

WIDTH = 100


@click.command(short_help="List current and past attacks.")
@click.option("--open", "only_open", is_flag=True, help="Only attacks that have not ended.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="So many.")
@SOCKET
@AS_JSON
def attacks(only_open: bool, limit: int, socket_path: Path | None, as_json: bool) -> None:
    """List attacks, open ones first, then the latest."""
    answer = _ask(socket_path, "/attacks", limit=str(limit), **({"state": "open"} if only_open else {}))
    if as_json:
        click.echo(json.dumps(answer["attacks"], indent=2))
        return
    if not answer["attacks"]:
        click.echo(("no attack is open; " if only_open else "there was no attack; ") + _detection(socket_path))
        return
    for line in _table(answer["attacks"]):
        click.echo(line)
    if more := answer["total"] - len(answer["attacks"]):
        click.echo(f"and {more} more; use --limit to show them")


@click.command(short_help="Show an attack: its rules, figures and packets.")
@click.argument("attack", metavar="ID")
@SOCKET
@AS_JSON
def show(attack: str, socket_path: Path | None, as_json: bool) -> None:
    """Show an attack by its id, or by a unique beginning of it."""
    found = _ask(socket_path, "/attack", id=attack)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in _lines(found):
        click.echo(line)


@click.command(short_help="Explain a rule of an attack.")
@click.argument("rule", metavar="RULE")
@SOCKET
@AS_JSON
def explain(rule: str, socket_path: Path | None, as_json: bool) -> None:
    """Explain what a rule matches, its action and the reason, and how much normal traffic it would hit. RULE is its
    name in the filter, as in `spectrum ddos show`.
    """
    found = _ask(socket_path, "/attack/rule", name=rule)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for sentence in found["rule"]["in_words"]:
        click.echo(textwrap.fill(sentence, WIDTH))


@click.command(short_help="Write sampled packets of an attack as a capture.")
@click.argument("attack", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of standard output.")
@SOCKET
def pcap(attack: str, output: Path | None, socket_path: Path | None) -> None:
    """Write the beginnings of sampled packets of an attack, for tcpdump or Wireshark: spectrum ddos pcap ID >file."""
    found = _ask(socket_path, "/attack", id=attack)
    data = as_capture(
        AttackSample(_seconds(one["time"]), one["frame_bytes"], b64decode(one["header"])) for one in found["samples"]
    )
    if output is not None:
        try:
            output.write_bytes(data)
        except OSError as exc:
            raise failure(f"{output}: {(exc.strerror or str(exc)).lower()}") from exc
    elif sys.stdout.isatty():
        raise click.UsageError(
            "a capture cannot be written to a terminal: write it to a file, or pipe it to tcpdump -r -"
        )
    else:
        sys.stdout.buffer.write(data)


def _ask(socket_path: Path | None, resource: str, **query: str) -> Any:
    answer = ask_daemon(socket_path, "GET", f"{resource}?{urlencode(query)}")
    if errors := answer.get("errors"):
        raise failure("\n".join(errors))
    return answer


def _detection(socket_path: Path | None) -> str:
    """Return whether detection runs: without it, the absence of attacks means nothing."""
    state = ask_daemon(socket_path, "GET", "/status").get("ddos", {}).get("state")
    return f"detection is {state}" if state else "detection is off: the file has no ddos"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _lasted(attack: Mapping[str, Any]) -> str:
    return lasting(_seconds(attack["ended"]) - _seconds(attack["began"])) if attack["ended"] else "ongoing"


def _table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [("id", "began", "lasted", "state", "target", "pps", "bit/s", "vectors")]
    for one in found:
        rows.append(
            (
                one["id"],
                one["began"][:19].replace("T", " "),
                _lasted(one),
                one["state"].replace("_", " "),
                one["app"] or one["target"],
                scaled(one["packets_per_second"], "").strip(),
                scaled(one["bits_per_second"], "").strip(),
                ", ".join(one["vectors"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _lines(attack: Mapping[str, Any]) -> Iterator[str]:
    yield f"attack {attack['id']} on {attack['app'] or attack['target']}: {', '.join(attack['vectors'])}"
    sources = "too many to count" if attack["sources"] is None else f"about {attack['sources']:,}"
    after = attack["mitigated_after"]
    pairs = {
        "target": attack["target"],
        "state": attack["state"].replace("_", " "),
        "began": attack["began"],
        "ended": attack["ended"] or "it is still open",
        "mitigated": "no rule is in force" if after is None else f"after {lasting(after)}",
        "peak": f"{scaled(attack['packets_per_second'], 'pps')}, {scaled(attack['bits_per_second'], 'bit/s')}",
        "matched": f"{attack['packets']:,} packets, {scaled(attack['bits'], 'bit')}",
        "dropped": f"{attack['dropped_packets']:,} packets, {scaled(attack['dropped_bits'], 'bit')}",
        "sources": sources,
        "normal traffic hit": f"at most {share(attack['hits'])} of an app's normal openings",
        "seen before": attack["recurs"],
    }
    for name, value in pairs.items():
        if value:
            yield f"  {name:<18} {value}"
    for rule in attack["rules"]:
        yield ""
        first, *others = rule["in_words"]
        yield textwrap.fill(first, WIDTH, initial_indent="  ", subsequent_indent="    ")
        for sentence in others:
            yield textwrap.fill(sentence, WIDTH, initial_indent="    ", subsequent_indent="    ")
    if attack["samples"]:
        yield ""
        yield f"  {len(attack['samples'])} sampled packets, the first of them (`spectrum ddos pcap` has all):"
    for one in attack["samples"][:10]:
        yield f"    {one['time']} {_packet(one)}"


def _packet(sample: Mapping[str, Any]) -> str:
    if "source" not in sample:
        return f"{sample['frame_bytes']} bytes"
    flags = f" {sample['tcp_flags']}" if sample["tcp_flags"] else ""
    ends = (_end(sample[end], sample[f"{end}_port"]) for end in ("source", "destination"))
    ttl = "" if sample["ttl"] is None else f" ttl {sample['ttl']}"
    return f"{sample['protocol']} {' > '.join(ends)}{flags} length {sample['length']}{ttl}"


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
