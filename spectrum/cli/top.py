"""`spectrum top`: sessions and rates, refreshed each second, in a terminal. It uses the control socket; the API need
not be on.
"""

import json
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import starmap
from pathlib import Path
from typing import Any

import click

from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon
from spectrum.core.analytics.figures import amount, count, length

# Keys, and the sort order that each selects.
SORTS = {"s": "sessions", "n": "new", "i": "in", "o": "out", "r": "refused", "f": "failed", "a": "app"}
MOST_TROUBLES = 8
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
# Indices in the daemon's counters of an app (control/http/live.py).
_OPEN, _STARTED, _REFUSED, _FAILED, _IN, _OUT = range(6)


@dataclass(frozen=True, slots=True)
class AppRates:
    """The sessions and rates of an app, or of all.

    Attributes:
        sessions: Those that are open.
        new, refused, failed: Sessions per second that began, were refused, failed.
        bytes_in, bytes_out: Per second, from clients and to them.
    """

    sessions: int = 0
    new: float = 0.0
    refused: float = 0.0
    failed: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0

    def plus(self, other: "AppRates") -> "AppRates":
        """Return the sum of both."""
        return AppRates(
            *(mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True))
        )


@dataclass(frozen=True)
class TopView:
    """The content of the screen.

    Attributes:
        at: The time, in seconds since 1970.
        title: The version, and the name of the node.
        workers: How many serve, and how many are configured.
        generation: Of the configuration.
        totals: Of all apps.
        apps: By name.
        troubles: Troubles, from the daemon.
    """

    at: float = 0.0
    title: str = ""
    workers: tuple[int, int] = (0, 0)
    generation: int = 0
    totals: AppRates = field(default_factory=AppRates)
    apps: Mapping[str, AppRates] = field(default_factory=dict)
    troubles: Sequence[Mapping[str, Any]] = ()


class Watch:
    """Computes rates from successive answers of the daemon."""

    def __init__(self) -> None:
        self._counts: dict[str, Sequence[Any]] = {}
        self._at = 0.0
        # Identifies the last answer: the daemon then sends only changes since.
        self.number = 0

    def take(self, answer: Mapping[str, Any]) -> TopView:
        """Return the screen for an answer; the first one has no rates."""
        at, before = answer["at"], self._counts
        seconds = max(at - self._at, 0.001) if self._at else 0.0
        self._counts = {**({} if answer["is_all"] else before), **answer["apps"]}
        self._at, self.number = at, answer["number"]
        apps = {name: _rates(now, before.get(name, now), seconds) for name, now in self._counts.items()}
        totals = AppRates()
        for one in apps.values():
            totals = totals.plus(one)
        name = answer["node"]
        return TopView(
            at,
            f"spectrum {answer['version']}" + (f" at {name}" if name else ""),
            (answer["workers"]["serving"], answer["workers"]["wanted"]),
            answer["generation"],
            totals,
            apps,
            [one for one in answer["troubles"] if one["severity"] != "past"],
        )


def _rates(now: Sequence[Any], before: Sequence[Any], seconds: float) -> AppRates:
    def rate(place: int) -> float:
        # Lower than before if the daemon was replaced meanwhile.
        return max(now[place] - before[place], 0) / seconds if seconds else 0.0

    return AppRates(now[_OPEN], *map(rate, (_STARTED, _REFUSED, _FAILED, _IN, _OUT)))


def ordered(apps: Mapping[str, AppRates], by: str) -> list[tuple[str, AppRates]]:
    """Return apps in an order, the greatest first; equal ones by name."""
    if by == "app":
        return sorted(apps.items())
    key = {"in": "bytes_in", "out": "bytes_out"}.get(by, by)
    return sorted(apps.items(), key=lambda item: (-getattr(item[1], key), item[0]))


def trouble_text(trouble: Mapping[str, Any]) -> str:
    """Return a trouble as a line."""
    facts = trouble["facts"]
    told = [f"{key} {value}" for key, value in facts.items() if isinstance(value, (str, int, float)) and value != ""]
    since = f", for {length(max(time.time() - trouble['since'], 0))}" if trouble.get("since") else ""
    name = f" {trouble['name']}" if trouble["name"] else ""
    return printable(f"{trouble['kind'].replace('_', ' ')}:{name}{since}{' (' + ', '.join(told) + ')' if told else ''}")


def printable(text: str) -> str:
    """Return a text without control characters for the terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def lines(view: TopView, by: str, width: int, height: int) -> list[str]:
    """Return the lines that fit into a terminal."""
    serving, wanted = view.workers
    workers = f"{serving} workers, all serving" if serving == wanted else f"{serving} of {wanted} workers serve"
    clock = f"{datetime.fromtimestamp(view.at, UTC):%H:%M:%S} UTC"
    totals = view.totals
    shown = [
        f"{view.title}   generation {view.generation}   {workers}   {clock}",
        f"{count(totals.sessions)} sessions   {_per_s(totals.new)} new   {_bits(totals.bytes_in)} in"
        f"   {_bits(totals.bytes_out)} out   {_per_s(totals.refused)} refused   {_per_s(totals.failed)} failed",
        "",
    ]
    troubles = [trouble_text(one) for one in view.troubles[:MOST_TROUBLES]]
    more = len(view.troubles) - len(troubles)
    shown += [f"! {text}" for text in troubles] + ([f"! and {more} more"] if more > 0 else [])
    shown += [""] if troubles else []
    names = ordered(view.apps, by)
    room = max(height - len(shown) - 3, 1)
    rows = [("app", "sessions", "new", "in", "out", "refused", "failed"), *starmap(_cells, names[:room])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *cells = (text.rjust(size) for text, size in zip(row, widths, strict=True))
        shown.append("  ".join([name.strip().ljust(widths[0]), *cells]))
    left = len(names) - room
    shown.append(f"{left} more apps" if left > 0 else "")
    return [line[:width] for line in shown]


def _cells(name: str, rates: AppRates) -> tuple[str, ...]:
    return (
        name,
        count(rates.sessions),
        _per_s(rates.new),
        _bits(rates.bytes_in),
        _bits(rates.bytes_out),
        _per_s(rates.refused),
        _per_s(rates.failed),
    )


def _per_s(rate: float) -> str:
    return f"{amount(round(rate, 1))}/s"


def _bits(bytes_per_s: float) -> str:
    return amount(round(8 * bytes_per_s), "bit/s")


def as_plain(view: TopView, by: str) -> dict[str, Any]:
    """Return the same as JSON has it; rates are per second."""
    serving, wanted = view.workers
    return {
        "at": view.at,
        "title": view.title,
        "generation": view.generation,
        "workers": {"serving": serving, "wanted": wanted},
        "totals": asdict(view.totals),
        "apps": [{"app": name, **asdict(rates)} for name, rates in ordered(view.apps, by)],
        "troubles": list(view.troubles),
    }


@click.command(short_help="Show sessions and rates, refreshed each second.")
@SOCKET
@click.option("--sort", type=click.Choice(list(SORTS.values())), default="sessions", show_default=True, help="By what.")
@click.option("--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between.")
@click.option("--once", is_flag=True, help="Print it once, and end.")
@AS_JSON
def top(socket_path: Path | None, sort: str, interval: float, once: bool, as_json: bool) -> None:
    """Show sessions and rates of each app, and troubles, refreshed each second until `q` or Ctrl-C.

    Keys: s sessions, n new ones, i bytes from clients, o bytes to clients, r refused, f failed, a app; space pauses.
    """
    watch = Watch()

    def look() -> TopView:
        query = f"?after={watch.number}" if watch.number else ""
        return watch.take(ask_daemon(socket_path, "GET", f"/live{query}"))

    look()
    if sys.stdout.isatty() and sys.stdin.isatty() and not once and not as_json:
        _on_terminal(look, sort, interval)
        return
    while True:
        time.sleep(interval)
        view = look()
        told = [json.dumps(as_plain(view, sort))] if as_json else lines(view, sort, 10_000, 10_000)
        click.echo("\n".join(told).rstrip())
        if once:
            return


def _on_terminal(look: Any, by: str, interval: float) -> None:
    """Show it on the terminal, and handle keys."""
    view, is_paused, due = TopView(), False, 0.0
    with _terminal() as descriptor:
        while True:
            if not is_paused and time.monotonic() >= due:
                view, due = look(), time.monotonic() + interval
            size = shutil.get_terminal_size()
            foot = "s sessions  n new  i in  o out  r refused  f failed  a app  space pause  q quit"
            state = f"sorted by {by}{', paused' if is_paused else ''}: {foot}"
            drawn = [*lines(view, by, size.columns, size.lines - 1), state[: size.columns]]
            sys.stdout.write(
                _HOME + "".join(f"{line}{_END_OF_LINE}\r\n" for line in drawn[:-1]) + drawn[-1] + _END_OF_LINE + _REST
            )
            sys.stdout.flush()
            wait_s = max(due - time.monotonic(), 0.05) if not is_paused else 60.0
            if not select.select([descriptor], [], [], wait_s)[0]:
                continue
            key = os.read(descriptor, 1).decode("latin-1")
            if key in ("q", "\x03", ""):
                return
            is_paused ^= key == " "
            by = SORTS.get(key, by)


@contextmanager
def _terminal() -> Iterator[int]:
    """Read single keys, and use the alternate screen, until the end."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    sys.stdout.write(_ENTER)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
