"""`python -m benchmarks LOADS`: measure this proxy and its peers, and write benchmarks/results/."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import inf
from pathlib import Path

import click

from benchmarks import (
    access,
    analytics,
    analytics_connections,
    api,
    balancing,
    changes,
    drops,
    faults,
    flood,
    holds,
    mmproxy,
    pages,
    report,
    tcp,
    tls,
    udp,
)
from benchmarks.peers import STARTERS, missing_tools
from benchmarks.rounds import Figures, Rows, measure, work_folder


@click.group()
def main() -> None:
    """Measure this proxy beside its peers: proxy on one core, load and origin on the other."""


@main.command("tcp")
@click.option("--peers", default="haproxy,nginx,envoy", show_default=True, help="Peers, separated by commas.")
@click.option("--loads", default=",".join(tcp.LOADS), show_default=True, help="Loads, separated by commas.")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=3, show_default=True, help="Duration of each load.")
@click.option("--variants/--no-variants", default=True, help="Also measure without busy poll, and with 10,000 apps.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def tcp_command(peers: str, loads: str, rounds: int, seconds: int, variants: bool, write: bool) -> None:
    """New connections, request-reply, bulk and memory, over TCP."""
    chosen = [name for name in peers.split(",") if name]
    unknown = [name for name in chosen if name not in STARTERS]
    if unknown:
        raise click.UsageError(f"no such peer: {', '.join(unknown)}; known: {', '.join(STARTERS)}")
    if odd := [name for name in loads.split(",") if name not in tcp.LOADS]:
        raise click.UsageError(f"no such load: {', '.join(odd)}; known: {', '.join(tcp.LOADS)}")
    if missing := missing_tools([*chosen, "nginx", "wrk", "iperf3"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    ours = [name for name in STARTERS if name.startswith("spectrum") and (variants or name == "spectrum")]
    with tcp.origin():
        _measure(
            "tcp",
            [*chosen, *ours],
            lambda name: tcp.measure_peer(name, loads.split(","), seconds),
            tcp.ROWS,
            rounds,
            seconds,
            write,
        )


@main.command("udp")
@click.option("--peers", default="nginx,envoy", show_default=True, help="Peers, separated by commas.")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=2, show_default=True, help="Duration of each load.")
@click.option("--variants/--no-variants", default=True, help="Also measure no proxy at all, and our other ways.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def udp_command(peers: str, rounds: int, seconds: int, variants: bool, write: bool) -> None:
    """Round trips of datagrams: few and many flows, short and long datagrams."""
    chosen = [name for name in peers.split(",") if name]
    if unknown := [name for name in chosen if name not in udp.STARTERS]:
        raise click.UsageError(f"no such peer: {', '.join(unknown)}; known: {', '.join(udp.STARTERS)}")
    if missing := missing_tools([*chosen, "gcc"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    ours = [name for name in udp.STARTERS if name.startswith("spectrum") and (variants or name == "spectrum")]
    with udp.origin() as tool:
        _measure(
            "udp",
            [*([report.DIRECT] if variants else []), *chosen, *ours],
            lambda name: udp.measure_peer(tool, name, seconds),
            udp.ROWS,
            rounds,
            seconds,
            write,
        )


@main.command("rules")
def rules_command() -> None:
    """What rules of the filter cost a packet, in ns; it needs root, and no interface."""
    from benchmarks.rules import measure as measure_rules

    click.echo(f"{'rules by':12} {'count':>6} {'no match':>9} {'last drops':>11}")
    for kind, count, missed, dropped in measure_rules():
        click.echo(f"{kind:12} {count:6} {missed:9} {dropped:11}")


@main.command("ddos")
@click.option("--seeds", default=3, show_default=True, help="Runs of each, each with other clients and another start.")
@click.option("--times", default="3,10,30", show_default=True, help="Intensities, in times normal traffic.")
@click.option("--one-in", "rates", default="100,1000", show_default=True, help="One packet of so many is sampled.")
def ddos_command(seeds: int, times: str, rates: str) -> None:
    """Score detection of floods on a mix of normal traffic, crowds and vectors; it takes no network."""
    from benchmarks.ddos.report import COLUMNS, crowds_with_rules, row, score
    from spectrum.simulation.vectors import HELD_OUT, VECTORS

    click.echo(f"{COLUMNS}\n|{' --- |' * (COLUMNS.count('|') - 1)}")
    for one_in in map(float, rates.split(",")):
        for many in map(float, times.split(",")):
            for label, names in (("tuned on", VECTORS), ("held out", HELD_OUT)):
                click.echo(row(label, many, one_in, score(names, many, one_in, range(seeds))))
        found, total = crowds_with_rules(one_in, range(seeds))
        click.echo(f"\ncrowds with a rule, one packet in {one_in:g}: {found} of {total}\n")


@main.command("ddos-hard")
@click.option("--seeds", default=3, show_default=True, help="Runs of each, each with other clients.")
def ddos_hard_command(seeds: int) -> None:
    """Score detection where it knows too little, or something wrong: restarts, lost tables, upgrades, crowds."""
    from benchmarks.ddos.hard_report import COLUMNS, rows, sentences

    click.echo(f"{COLUMNS}\n|{' --- |' * (COLUMNS.count('|') - 1)}")
    for line in rows(range(seeds)):
        click.echo(line)
    for sentence in sentences(range(seeds)):
        click.echo(f"\n{sentence}")


@main.command("ddos-live")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--ways", default="", help="Ways of defence, separated by semicolons; all without it.")
def ddos_live_command(rounds: int, ways: str) -> None:
    """What sessions notice of a flood of forged SYNs, five times what the edge can open; as root, in namespaces."""
    from benchmarks.ddos import live

    if missing := missing_tools(["haproxy"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(missing))
    opened = live.capacity()
    click.echo(f"an edge opens {opened:,.0f} sessions/s on one core; the flood is {live.TIMES_CAPACITY} times that")
    per_s = live.TIMES_CAPACITY * opened
    names = [name.strip() for name in ways.split(";") if name] or list(live.WAYS)
    for name, words in live.FLOODS.items():
        click.echo(f"\n{words}:\n")
        results = measure(
            names,
            partial(live.measure_way, flood=name, per_s=per_s),
            live.ROWS,
            rounds,
            lambda line: click.echo(line, err=True),
        )
        click.echo(report.table(results, live.ROWS))


@main.command("ddos-cost")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the table has their medians.")
def ddos_cost_command(rounds: int) -> None:
    """Processor time and memory of detection at a million packets per second, sampled down; it takes no network."""
    from benchmarks.ddos import cost

    results = measure(list(cost.CASES), cost.measure_case, cost.ROWS, rounds, lambda line: click.echo(line, err=True))
    click.echo(report.table(results, cost.ROWS))


@main.command("ddos-workers")
@click.option("--rounds", default=1, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--flood", "floods", default="tcp,udp", show_default=True, help="Floods, separated by commas.")
@click.option("--ways", default="", help="Ways of defence, separated by semicolons; all without it.")
def ddos_workers_command(rounds: int, floods: str, ways: str) -> None:
    """What sessions notice of floods of connections and datagrams, five times what the edge can open; as root."""
    from benchmarks.ddos import live, workers

    if missing := missing_tools(["haproxy", "nginx", "gcc"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(missing))
    for name in floods.split(","):
        opened = workers.capacity(name)
        click.echo(f"\n{workers.FLOODS[name]}; an edge opens {opened:,.0f}/s on one core:\n")
        chosen = [way.strip() for way in ways.split(";") if way] or list(workers.WAYS[name])
        results = measure(
            chosen,
            partial(workers.measure_way, flood=name, per_s=live.TIMES_CAPACITY * opened),
            workers.ROWS,
            rounds,
            lambda line: click.echo(line, err=True),
        )
        click.echo(report.table(results, workers.ROWS))


@main.command("ddos-crowds")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--kinds", default="web,ssh,game,dns,quic", show_default=True, help="Crowds, separated by commas.")
@click.option("--plane", "planes", default="filter,workers", show_default=True, help="Where packets are seen.")
def ddos_crowds_command(rounds: int, kinds: str, planes: str) -> None:
    """What detection does about flash crowds of real sessions; as root, in namespaces."""
    from benchmarks.ddos import crowds

    if missing := missing_tools(["gcc"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(missing))
    for plane in planes.split(","):
        click.echo(f"\nseen by {plane}:\n")
        acted: list[float] = []

        def once(kind: str, plane: str = plane, acted: list[float] = acted) -> Figures:
            figures = crowds.measure_crowd(plane, kind)
            acted.append(figures["rules"])
            return figures

        results = measure(
            kinds.split(","),
            once,
            crowds.ROWS,
            rounds,
            lambda line: click.echo(line, err=True),
        )
        click.echo(report.table(results, crowds.ROWS))
        click.echo(f"\nruns with a rule that acts: {sum(map(bool, acted))} of {len(acted)}")


@main.command("faults")
@click.option("--peers", default="haproxy,nginx,envoy", show_default=True, help="Peers, separated by commas.")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def faults_command(peers: str, rounds: int, write: bool) -> None:
    """Reloads under load, a killed worker, readers that are stuck."""
    chosen = [name for name in peers.split(",") if name]
    if unknown := [name for name in chosen if name not in faults.PEERS]:
        raise click.UsageError(f"no such peer: {', '.join(unknown)}; known: {', '.join(faults.PEERS)}")
    if missing := missing_tools(chosen):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    results = measure([*chosen, "spectrum"], faults.measure_peer, faults.ROWS, rounds, click.echo)
    text = faults.table(results)
    click.echo(text)
    if write:
        click.echo(f"wrote {faults.write(text)}")


@main.command("mmproxy")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=3, show_default=True, help="Duration of each load.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def mmproxy_command(rounds: int, seconds: int, write: bool) -> None:
    """Connecting as the client, beside HAProxy's usesrc; as root, in a network namespace of its own."""
    if missing := missing_tools(["haproxy", "nginx", "wrk", "iperf3"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    mmproxy.enter_namespace()
    with tcp.origin():
        names = list(mmproxy.STARTERS)
        _measure(
            "mmproxy", names, lambda name: mmproxy.measure_peer(name, seconds), mmproxy.ROWS, rounds, seconds, write
        )


@main.command("tls")
@click.option("--peers", default="haproxy,nginx", show_default=True, help="Peers, separated by commas.")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=3, show_default=True, help="Duration of each load.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def tls_command(peers: str, rounds: int, seconds: int, write: bool) -> None:
    """TLS handshakes, and bulk through TLS."""
    chosen = [name for name in peers.split(",") if name]
    if unknown := [name for name in chosen if name not in tls.STARTERS]:
        raise click.UsageError(f"no such peer: {', '.join(unknown)}; known: {', '.join(tls.STARTERS)}")
    if missing := missing_tools([*chosen, "gcc"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    with tls.origin() as tool:
        names = [*chosen, "spectrum"]
        _measure("tls", names, lambda name: tls.measure_peer(tool, name, seconds), tls.ROWS, rounds, seconds, write)


@main.command("access")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=3, show_default=True, help="Duration of each load.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def access_command(rounds: int, seconds: int, write: bool) -> None:
    """What a block list of a million prefixes costs."""
    if missing := missing_tools(["nginx", "wrk", "iperf3"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    with tcp.origin():
        names = list(access.STARTERS)
        _measure("access", names, lambda name: access.measure_peer(name, seconds), access.ROWS, rounds, seconds, write)


@main.command("flood")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=3, show_default=True, help="Duration of each load.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def flood_command(rounds: int, seconds: int, write: bool) -> None:
    """What dropping a packet costs, and what a session notices of a flood; as root, in network namespaces."""
    if missing := missing_tools(["gcc"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    _measure("drops", list(drops.WAYS), lambda way: drops.measure_way(way, seconds), drops.ROWS, rounds, seconds, write)
    _measure("flood", list(flood.WAYS), lambda way: flood.measure_way(way, seconds), flood.ROWS, rounds, seconds, write)


@main.command("changes")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def changes_command(rounds: int, write: bool) -> None:
    """Reloads of a file with many apps: until a change is live, and what a quiet session notices."""
    sizes = {f"spectrum, {size:,} apps": size for size in changes.SIZES}
    _measure("changes", list(sizes), lambda name: changes.measure_size(sizes[name]), changes.ROWS, rounds, 0, write)


@main.command("holds")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the table has their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def holds_command(rounds: int, write: bool) -> None:
    """The longest step of the supervisor's loop, of different work on many apps."""
    _measure("holds", ["spectrum"], lambda name: holds.measure(), holds.ROWS, rounds, 0, write)


@main.command("api")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def api_command(rounds: int, write: bool) -> None:
    """Changes by the control API with many apps in its store: until one is live, and how many go by in a second."""
    sizes = {f"spectrum, {size:,} apps": size for size in api.SIZES}
    _measure("api", list(sizes), lambda name: api.measure_size(sizes[name]), api.ROWS, rounds, 0, write)


@main.command("analytics")
@click.option("--taken", default=1_000_000, show_default=True, help="Records that are taken from JSON.")
@click.option("--rows", default=50_000_000, show_default=True, help="Rows that questions are asked of; 5 GB on disk.")
@click.option("--rounds", default=1, show_default=True, help="Rounds; the table has their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def analytics_command(taken: int, rows: int, rounds: int, write: bool) -> None:
    """The embedded store of analytics: records taken, roll-ups, and questions among millions of rows."""
    name = f"spectrum, {rows:,} rows"
    _measure("analytics", [name], lambda _: analytics.measure_store(taken, rows), analytics.ROWS, rounds, 0, write)


@main.command("pages")
@click.option("--pages", "titles", default="", help="Titles of pages, separated by semicolons; all without it.")
@click.option("--sizes", default=";".join(pages.SIZES), show_default=True, help="Edges, separated by semicolons.")
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the tables have their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def pages_command(titles: str, sizes: str, rounds: int, write: bool) -> None:
    """How soon each page of the dashboard is there, in Chromium, and how a list of 10,000 apps scrolls."""
    if not any(map(os.path.exists, pages.CHROMIUM)):
        raise click.ClickException("missing tools; install them with:\n  apt-get install chromium-headless-shell")
    chosen = [name for name in titles.split(";") if name] or list(pages.PAGES)
    if unknown := [name for name in chosen if name not in pages.PAGES]:
        raise click.UsageError(f"no such page: {', '.join(unknown)}; known: {', '.join(pages.PAGES)}")

    def progress(line: str) -> None:
        click.echo(line, err=True)

    def measure_one(name: str) -> Figures:
        return pages.measure_size(pages.SIZES[name], chosen, progress)

    text = pages.table(measure(sizes.split(";"), measure_one, pages.ROWS, rounds, progress))
    click.echo(text)
    if write:
        click.echo(f"wrote {pages.write(text)}")


@main.command("analytics-groups")
@click.option("--rows", default=50_000_000, show_default=True, help="Rows of an hour that are grouped; 3 GB on disk.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keeps the rows, which a later call finds there.")
@click.option("--make-s", default=inf, help="The time for making rows; if that is not enough, the next call goes on.")
@click.option("--by", default=",".join(analytics.GROUPS), show_default=True, help="Dimensions, separated by commas.")
@click.option("--rounds", default=1, show_default=True, help="Rounds; the table has their medians.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def analytics_groups_command(rows: int, folder: Path | None, make_s: float, by: str, rounds: int, write: bool) -> None:
    """The embedded store of analytics: sessions and bytes by each dimension; some five minutes on a quiet machine."""
    names = [name for name in by.split(",") if name]
    if odd := [name for name in names if name not in analytics.GROUPS]:
        raise click.UsageError(f"no such dimension: {', '.join(odd)}; known: {', '.join(analytics.GROUPS)}")
    with ExitStack() as opened:
        kept = folder or opened.enter_context(work_folder("groups")) / "made"
        if (made := analytics.make_groups(kept, rows, make_s)) < rows:
            click.echo(f"{made:,} of {rows:,} rows are made: call it again for the rest")
            return
        name = f"spectrum, {rows:,} rows"
        _measure(
            "groups", [name], lambda _: analytics.measure_groups(kept, names), analytics.GROUP_ROWS, rounds, 0, write
        )


@main.command("analytics-connections")
@click.option("--ways", default="neither,analytics", show_default=True, help="Two of: neither, a journal, analytics.")
@click.option("--pairs", default=12, show_default=True, help="Measurements of each, in turn.")
@click.option("--seconds", default=2, show_default=True, help="Duration of each load.")
def analytics_connections_command(ways: str, pairs: int, seconds: int) -> None:
    """New connections with analytics as a share of those without it, all processes on one core."""
    chosen = ways.split(",")
    if len(chosen) != 2 or not set(chosen) <= set(analytics_connections.WAYS):
        raise click.UsageError(f"--ways: two of {', '.join(analytics_connections.WAYS)}")
    if missing := missing_tools(["nginx", "wrk", "iperf3"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    with tcp.origin():
        found = analytics_connections.ratios(chosen, pairs, seconds, click.echo)
    for told, values in (
        ("connections a second", [one.per_s for one in found]),
        ("processor time of worker and supervisor for each", [one.cpu_us for one in found]),
    ):
        middle, low, high = analytics_connections.interval(values)
        click.echo(f"{told}: {middle:.3f} of {chosen[0]}, {low:.3f} to {high:.3f} with 95 % confidence")


@main.command("balancing")
@click.option("--peers", default="haproxy,nginx,envoy", show_default=True, help="Peers, separated by commas.")
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the table has their medians.")
@click.option("--seconds", default=3, show_default=True, help="Duration of each load.")
@click.option("--write/--no-write", default=True, help="Write benchmarks/results/.")
def balancing_command(peers: str, rounds: int, seconds: int, write: bool) -> None:
    """What a decision costs, a connection to the least loaded of 20 origins, and probing 10,000 of them."""
    chosen = [name for name in peers.split(",") if name]
    if unknown := [name for name in chosen if name not in balancing.STARTERS]:
        raise click.UsageError(f"no such peer: {', '.join(unknown)}; known: {', '.join(balancing.STARTERS)}")
    if missing := missing_tools([*chosen, "haproxy", "nginx", "wrk", "iperf3"]):
        raise click.ClickException("missing tools; install them with:\n  " + "\n  ".join(dict.fromkeys(missing)))
    click.echo(balancing.write_decisions(report.RESULTS, list(balancing.decisions())) + "\n")
    ours = [name for name in balancing.STARTERS if name.startswith("spectrum")]
    with tcp.origin():
        _measure(
            "balancing",
            [*chosen, *ours],
            lambda name: balancing.measure_peer(name, seconds),
            balancing.ROWS,
            rounds,
            seconds,
            write,
        )
        names = list(balancing.PROBERS)
        measure_one = balancing.measure_probes
        _measure("probes", names, measure_one, balancing.PROBE_ROWS, min(rounds, 3), balancing.PROBE_MEASURED_S, write)


def _measure(
    table: str,
    names: list[str],
    measure_one: Callable[[str], Figures],
    rows: Rows,
    rounds: int,
    seconds: int,
    write: bool,
) -> None:
    results = measure(names, measure_one, rows, rounds, lambda line: click.echo(line, err=True))
    click.echo(report.table(results, rows))
    ratios = report.best_ratios(results, rows)
    click.echo("\nours / best peer: " + ", ".join(f"{row} {ratio:.2f}" for row, ratio in ratios.items()))
    if write:
        for path in report.write(table, results, rows, rounds, seconds):
            click.echo(f"wrote {path}", err=True)


if __name__ == "__main__":
    sys.exit(main())
