"""`spectrum ddos simulate`: a flood beside normal traffic at a copy of an app."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from spectrum.cli.client import DaemonError, ask
from spectrum.cli.options import AS_JSON, CONFIG, failure, load
from spectrum.core.configuration.faults import nearest

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config
    from spectrum.simulation.trial import Trial, TrialApp, TrialProgress

QUIET_S, AFTER_S = 5.0, 1.5
ORIGIN_PORT = 47_000
# The share of dropped packets from which a flood counts as mitigated.
MITIGATED_SHARE = 0.9
NAMESPACE = "spectrum-trial"
# A trial waits so long for detection to begin.
DETECTION_S = 30.0
# Before the flood begins, the state of detection is told.
TOLD_S = 0.3


@click.command(short_help="Simulate a flood beside normal traffic at a copy of an app, in network namespaces.")
@click.argument("attack", required=False, metavar="ATTACK|FILE.pcap")
@CONFIG
@click.option("--app", "name", help="The app of the file that is flooded.")
@click.option("--rate", type=click.FloatRange(1, 10_000_000), default=100_000, show_default=True, help="Packets/s.")
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=10, show_default=True, help="Rate of the flood.")
@click.option("--namespace", metavar="NAME", help=f"Name of the namespaces.  [default: {NAMESPACE}]")
@click.option("--loopback", is_flag=True, help="Flood the app of the running daemon, over the loopback.")
@click.option("--list", "lists", is_flag=True, help="List the attacks.")
@AS_JSON
def simulate(
    attack: str | None,
    path: Path,
    name: str | None,
    rate: float,
    seconds: float,
    namespace: str | None,
    loopback: bool,
    lists: bool,
    as_json: bool,
) -> None:
    """Simulate an attack, by its name or from a capture, at an app, beside normal traffic.

    By default a copy of the edge runs in a network namespace: the app with an origin that echoes, and what protects it
    (`filter`, `ddos`, `rulesets` of the file; without `filter`, workers drop what they can). Flood and normal clients
    are in another namespace; nothing leaves the two, and they are removed at the end. With --loopback the running
    daemon is flooded, over lo, which must be among its filter's interfaces. No other interface can be flooded. It needs
    root.
    """
    try:
        from spectrum.simulation.vectors import EVERY
    except ImportError as exc:
        raise failure(f"the simulation needs numpy, which is not installed: {exc}") from exc

    if lists:
        click.echo("\n".join(EVERY))
        return
    if attack is None or name is None:
        raise click.UsageError("name an attack, or a capture, and an --app; --list has the attacks")
    if loopback and namespace:
        raise click.UsageError("use either --loopback or --namespace")
    if attack not in EVERY and not Path(attack).is_file():
        raise failure(
            f'no attack and no file is called "{attack}"{nearest(attack, list(EVERY))}; --list has the attacks'
        )
    config = load(path)
    if name not in config.apps:
        raise failure(f'{path} has no app "{name}"{nearest(name, list(config.apps))}')
    if os.geteuid() != 0:
        raise failure("a simulation creates packets with forged sources, and network namespaces: it needs root")
    _simulate(
        _TrialOrder(attack, path, config, name, rate, seconds, "" if loopback else namespace or NAMESPACE), as_json
    )


@dataclass(frozen=True, slots=True)
class _TrialOrder:
    attack: str
    path: Path
    config: "Config"
    app: str
    rate: float
    seconds: float
    namespace: str


@dataclass(slots=True)
class _Story:
    """The result of a simulation.

    Attributes:
        mitigated_s: Seconds until most of the flood was dropped; None if it never was.
        by: The rule, list or other result that dropped most of it then.
        sent: Packets of the flood.
        dropped: Packets that were dropped.
        good: The counts of normal traffic at the end.
        attacks: The attacks that the daemon detected, by id.
        detection: The state of detection, as the daemon reports it.
    """

    mitigated_s: float | None = None
    by: str = ""
    sent: int = 0
    dropped: int = 0
    good: Mapping[str, int] = field(default_factory=dict)
    attacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    detection: str = ""


def _simulate(order: _TrialOrder, as_json: bool) -> None:
    from spectrum.simulation.network import TrialNetwork, TrialNetworkError
    from spectrum.simulation.trial import (
        Trial,
        TrialApp,
        TrialError,
        TrialFolder,
        in_namespaces,
        on_loopback,
        trial_file,
    )

    protocol = order.config.apps[order.app].protocol
    app = TrialApp(order.app, protocol.transport, (protocol.ports.first, protocol.ports.last))
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(TrialFolder())
            if order.namespace:
                network = stack.enter_context(TrialNetwork(order.namespace))
                trial = stack.enter_context(Trial(in_namespaces(network), app))
                trial.start_origin(ORIGIN_PORT)
                text = yaml.safe_dump(trial_file(_values(order.path), app, folder, ORIGIN_PORT))
                control = trial.serve(text, folder)
            else:
                control = _loopback_control(order.config)
                kernel = order.config.kernel
                trial = stack.enter_context(Trial(on_loopback(), app, Path(kernel.bpffs)))
            if not as_json:
                click.echo(f"{order.attack}: {order.rate:,.0f} pps at {app.name}; {trial.cores}")
                if order.config.filter is None and app.transport == "tcp":
                    click.echo("without `filter`, only connections are seen: SYNs and other packets meet no rule")
            if order.config.ddos is not None:
                _await_detection(control)
            story = _watch(trial, order, app, control, as_json)
            story.detection = _detection(control)
    except (TrialNetworkError, TrialError, OSError) as exc:
        raise failure(str(exc)) from exc
    if as_json:
        click.echo(json.dumps(_told(story), indent=2))
    else:
        for line in _summary(story):
            click.echo(line)


def _values(path: Path) -> dict[str, Any]:
    """Return the content of a file, with what it includes, as YAML."""
    from spectrum.control.configuration.includes import IncludedFiles
    from spectrum.control.configuration.references import resolve
    from spectrum.control.configuration.texts import name_of_file, read_text

    parts = IncludedFiles(name_of_file(path), read_text(path), path.parent, lambda paths: None)
    value = resolve(parts.value).value
    assert isinstance(value, dict), "it was loaded before"
    return value


def _loopback_control(config: "Config") -> Path:
    from spectrum.control.paths import control_path
    from spectrum.simulation.trial import TrialError

    if config.filter is None or "lo" not in config.filter.interfaces:
        raise TrialError(
            "--loopback: add lo to filter.interfaces of the file, and reload; otherwise nothing is dropped: workers "
            "get no packet with a forged source over lo either"
        )
    loopback = IPv4Network("127.0.0.0/8")
    if any(prefix.version == 4 and prefix.overlaps(loopback) for prefix in config.filter.guard):
        raise TrialError("--loopback: filter.guard contains the loopback, so nothing would be dropped; use a namespace")
    control = control_path(config)
    try:
        ask(control, "GET", "/status")
    except DaemonError as exc:
        raise TrialError(f"--loopback floods the running daemon: {exc}") from exc
    return control


def _detection(control: Path) -> str:
    try:
        return str(ask(control, "GET", "/status").get("ddos", {}).get("state", "off: there is no `ddos` in the file"))
    except DaemonError as exc:
        return f"not known: {exc}"


def _await_detection(control: Path) -> None:
    """Wait until detection is on; without it a trial continues, and says so."""
    deadline = time.monotonic() + DETECTION_S
    while _detection(control).startswith(("starting", "off", "not known")) and time.monotonic() < deadline:
        time.sleep(0.1)


def _refused_by_workers(control: Path) -> Callable[[], Mapping[str, int]]:
    """Return what gives the packets that each rule of the workers has matched, also of rules that have ended."""
    found: dict[str, int] = {}

    def counts() -> Mapping[str, int]:
        with suppress(DaemonError):
            for rule in ask(control, "GET", "/status", 2.0).get("ddos", {}).get("rules", ()):
                found[f"rule ddos/{rule['name']}"] = rule["packets"]
        return found

    return counts


def _watch(trial: "Trial", order: _TrialOrder, app: "TrialApp", control: Path, as_json: bool) -> _Story:
    from spectrum.simulation.flooding import FloodPlan, frames_needed

    story = _Story()
    rules = order.config.filter.rules if order.config.filter else {}
    logs = frozenset(f"rule {name}" for name, rule in rules.items() if rule.action == "log")
    frames = frames_needed(order.rate, order.seconds)
    plan = FloodPlan(order.attack, "", b"", None, None, app.ports, order.rate, order.seconds, frames=frames)
    shown, before, is_told = -1.0, (0.0, 0, 0), as_json
    passed: dict[str, int] = {}
    counts = None if order.config.filter is not None else _refused_by_workers(control)
    for look in trial.run(plan, QUIET_S, AFTER_S, counts):
        story.sent, story.good = look.sent, look.good
        if not is_told and look.after_s > -TOLD_S:
            is_told = True
            click.echo(f"detection: {_detection(control)}")
        lines = list(_attack_lines(story, control, look))
        # A rule of detection may count first, and drop later.
        passed |= {name: look.counts.get(name, 0) for name in logs | _logging(story)}
        by_result = look.dropped(passed)
        story.dropped = sum(by_result.values())
        now = (look.after_s, look.sent, story.dropped)
        flood, dropped = now[1] - before[1], now[2] - before[2]
        if story.mitigated_s is None and flood > 0 and dropped >= MITIGATED_SHARE * flood:
            story.mitigated_s = max(look.after_s, 0.0)
            story.by = max(by_result, key=lambda name: by_result[name]).replace("_", " ")
            lines.append(f"mitigated by {story.by}")
        if look.after_s - shown >= 1 and look.after_s > 0.5:
            took = look.after_s - shown if shown > 0 else look.after_s
            shown = look.after_s
            lines.append(_line(look, story, took))
        before = now
        if not as_json:
            for line in lines:
                click.echo(f"{look.after_s:6.1f} s  {line}")
    return story


def _attack_lines(story: _Story, control: Path, look: "TrialProgress") -> Iterator[str]:
    """Yield new facts about attacks from the daemon."""
    try:
        answer = ask(control, "GET", "/attacks", 2.0)
    except DaemonError:
        return
    for attack in answer.get("attacks", ()):
        before = story.attacks.get(attack["id"])
        story.attacks[attack["id"]] = attack | {"detected_s": before["detected_s"] if before else look.after_s}
        if before is None:
            yield f"detected: attack {attack['id']}: {', '.join(attack['vectors'])} at {attack['target']}"
        known = {(rule["name"], rule["action"]) for rule in before["rules"]} if before else set()
        for rule in attack["rules"]:
            if (rule["name"], rule["action"]) not in known:
                yield f"rule {rule['name'] or '-'}: {rule['action']}: {rule['matches']}" + f"; {rule['why']}" * bool(
                    rule["why"]
                )


def _logging(story: _Story) -> frozenset[str]:
    """Return the rules of detection that only count now."""
    rules = [rule for attack in story.attacks.values() for rule in attack["rules"]]
    return frozenset(f"rule ddos/{rule['name']}" for rule in rules if rule["action"] == "log")


def _line(look: "TrialProgress", story: _Story, took_s: float) -> str:
    good = look.good
    trips = sorted(look.trips_s)
    p99 = f", p99 {1000 * trips[min(len(trips) * 99 // 100, len(trips) - 1)]:.1f} ms" if trips else ""
    return (
        f"flood {look.sent:,} sent, {story.dropped:,} dropped; normal: {good.get('answered', 0):,} of "
        f"{good.get('sent', 0):,} answered, {good.get('opened', 0):,} opened, {good.get('failed', 0):,} not{p99}"
    )


def _told(story: _Story) -> dict[str, Any]:
    return {
        "mitigated_after": story.mitigated_s,
        "by": story.by or None,
        "sent": story.sent,
        "dropped": story.dropped,
        "good": dict(story.good),
        "attacks": list(story.attacks.values()),
        "detection": story.detection,
    }


def _summary(story: _Story) -> Iterator[str]:
    if story.mitigated_s is None:
        yield f"not mitigated: no rule dropped most of it; detection: {story.detection}"
    else:
        yield f"mitigated after {story.mitigated_s:.1f} s by {story.by}"
    good = story.good
    share = min(1.0, story.dropped / story.sent) if story.sent else 0.0
    yield f"flood: {story.sent:,} packets, {100 * share:.1f} % dropped"
    sent, answered = good.get("sent", 0), good.get("answered", 0)
    opened, failed = good.get("opened", 0), good.get("failed", 0)
    yield (
        f"normal traffic: {_lost(sent - answered, sent)} of established sessions lost, "
        f"{_lost(failed, opened + failed)} of new sessions failed, {good.get('broken', 0)} sessions broken"
    )


def _lost(lost: int, all_: int) -> str:
    return f"{max(0, lost):,} of {all_:,} ({100 * max(0, lost) / all_ if all_ else 0:.2f} %)"
