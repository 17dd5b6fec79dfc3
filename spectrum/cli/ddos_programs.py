"""`spectrum ddos programs` and `program try`: the flow programs in use, and a test run of one."""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import click

from spectrum.cli.options import AS_JSON, FILE, SOCKET, ask_daemon, failure

PROGRAMS = ("program", "mode", "apps", "judged", "passed", "would drop", "dropped", "ns each")
TRIED = ("datagram", "from", "bytes", "verdict", "dropped", "ns")
# Further packets of a capture are only counted; the kernel takes 20 ms for each.
MOST_SHOWN = 40
MOST_MEASURED = 200
MOST_TRIED = 2_000
_UDP = 17
# Source and destination of a payload given on the command line: TEST-NET-2 and TEST-NET-1 (RFC 5737).
_SOURCE, _DESTINATION = IPv4Address("198.51.100.7"), IPv4Address("192.0.2.1")
_SOURCE_PORT = 40000


@click.command(short_help="Show flow programs: verdicts and cost.")
@SOCKET
@AS_JSON
def programs(socket_path: Path | None, as_json: bool) -> None:
    """Show flow programs, with their verdicts and the time per verdict: docs/flow-programs.md."""
    answer = ask_daemon(socket_path, "GET", "/flow-programs")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if not answer["programs"]:
        click.echo("there is no flow program; flow_programs in the file has them")
        return
    rows = [_program(name, one) for name, one in answer["programs"].items()]
    for line in _table([PROGRAMS, *rows]):
        click.echo(line)


def _program(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    counted = (f"{one[key]:,}" for key in ("judged", "passed", "would_drop", "dropped"))
    cost = "" if one["ns_per_datagram"] is None else f"{one['ns_per_datagram']:,}"
    return name, one["mode"], " ".join(one["apps"]), *counted, cost


@click.group(short_help="Try a flow program.")
def program() -> None:
    """Test a flow program before it is used."""


@program.command("try", short_help="Compile and verify a flow program, and run it on datagrams.")
@click.argument("file", type=FILE)
@click.option("--payload", "payloads", multiple=True, metavar="HEX", help="A datagram's payload; may be repeated.")
@click.option("--pcap", type=FILE, help="A capture with datagrams.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Only datagrams to this port; for --payload the default is 9000."
)
@AS_JSON
def try_(file: Path, payloads: Sequence[str], pcap: Path | None, port: int | None, as_json: bool) -> None:
    """Compile FILE (C, or an object of clang), have the kernel verify it, and run it on datagrams.

    A running daemon is not affected. It needs root.
    """
    from spectrum.control.flow_programs.actor import told  # Most commands compile nothing.
    from spectrum.control.flow_programs.reading import read_program
    from spectrum.core.flow_programs.instructions import INSTRUCTION, ProgramError
    from spectrum.kernel.filter.flow_programs import code_of
    from spectrum.kernel.filter.program_trial import ProgramTrial
    from spectrum.kernel.pins import PinError

    frames = [*(_frame(payload, port or 9000) for payload in payloads), *(_captured(pcap) if pcap else ())]
    try:
        read = read_program(file.resolve(), file.suffix != ".o")
    except ProgramError as exc:
        raise failure(str(exc)) from exc
    try:
        with ProgramTrial(code_of(read.code), port or 0) as trial:
            tried = [trial(frame, n < MOST_MEASURED) for n, frame in enumerate(frames)]
    except PinError as exc:
        raise failure(told(exc, {"program": read})) from exc
    rows = [
        {"from": one.source, "bytes": one.length, "verdict": one.verdict, "dropped": one.is_dropped, "ns": one.ns}
        for one in tried
        if one.verdict
    ]
    if len(rows) < len(tried):
        click.echo(f"{len(tried) - len(rows):,} packets are not datagrams that the program judges", err=True)
    code = read.code
    size = len(code.code) // INSTRUCTION.size
    if as_json:
        click.echo(json.dumps({"instructions": size, "has_state": code.has_state, "datagrams": rows}, indent=2))
        return
    kept = ", with a state for each source" if code.has_state else ""
    click.echo(f"{file}: the kernel accepts it: {size:,} instructions{kept}")
    for line in _told(rows):
        click.echo(line)


def _told(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    shown = [
        (
            str(n),
            *(str(one[key]) for key in ("from", "bytes", "verdict")),
            "yes" if one["dropped"] else "",
            str(one["ns"]),
        )
        for n, one in enumerate(rows[:MOST_SHOWN], 1)
    ]
    yield from _table([TRIED, *shown])
    if len(rows) > MOST_SHOWN:
        yield f"and {len(rows) - MOST_SHOWN:,} more"
    verdicts = Counter(one["verdict"] for one in rows)
    judged = [one["ns"] for one in rows if one["ns"]]
    cost = f"; {sum(judged) / len(judged):.0f} ns each" if judged else ""
    yield ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items()) + cost


def _frame(payload: str, port: int) -> bytes:
    try:
        data = bytes.fromhex(payload)
    except ValueError as exc:
        raise failure(f"--payload {payload}: hex digits, two for each byte, such as 47414d4501") from exc
    datagram = struct.pack("!HHHH", _SOURCE_PORT, port, 8 + len(data), 0) + data
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, _UDP, 0)
    return bytes(12) + b"\x08\x00" + header + _SOURCE.packed + _DESTINATION.packed + datagram


def _captured(path: Path) -> list[bytes]:
    try:
        from spectrum.simulation.pcap import CaptureError, read
    except ImportError as exc:
        raise failure("captures are read with numpy: pip install 'spectrum-edge[ddos]'") from exc
    try:
        frames = [one.frame for one in read(path)]
    except CaptureError as exc:
        raise failure(f"{path}: {exc}") from exc
    except OSError as exc:
        raise failure(f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    if len(frames) > MOST_TRIED:
        click.echo(f"{path}: the first {MOST_TRIED:,} of {len(frames):,} packets are tried", err=True)
    return frames[:MOST_TRIED]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
