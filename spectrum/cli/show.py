"""The output of `spectrum status`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Enough time to get another one.
CERTIFICATE_WARNING_DAYS = 21


def show_status(status: dict[str, Any], console: Console) -> None:
    """Print the daemon's status as text."""
    workers = status["workers"]
    # An earlier version does not report that it starts.
    state = "draining" if status["draining"] else "starting" if status.get("starting") else "serving"
    console.print(
        f"[bold]spectrum {status['version']}[/bold] {state}, pid {status['pid']}, "
        f"up {duration_text(status['uptime_s'])}, generation {status['generation']} of {status['config']}",
        soft_wrap=True,
    )
    for change in status.get("restart_needed", []):
        console.print(f"[yellow]requires a restart: {escape(change)}[/yellow]", soft_wrap=True)
    for worker in workers:
        note = _worker_note(worker, status["generation"])
        note += " [yellow](not accepting: out of descriptors)[/yellow]" if worker["stalled"] else ""
        deaf = worker.get("deaf")  # A daemon of an earlier version does not report it.
        note += f" [red]({deaf} listeners are not served; see the log)[/red]" if deaf else ""
        moved = f", {worker['offloaded']} UDP flows in the kernel" if worker["offloaded"] else ""
        number = worker["sessions"]
        sessions = f"{number} session{'s' * (number != 1)}"
        console.print(f"worker {worker['number']}: pid {worker['pid']}, {sessions}{moved}{note}")
    for pause in status.get("pauses", []):
        told = f"[red]starts again in {pause['starts_in_s']:g} s; the last one ended: {escape(pause['why'])}[/red]"
        console.print(f"worker {pause['number']}: {told}", soft_wrap=True)
    if any(state != "off" for name, state in status["kernel"].items() if name != "helper" or state.startswith("off")):
        console.print("kernel: " + "; ".join(f"{name} {escape(state)}" for name, state in status["kernel"].items()))
    if ddos := status.get("ddos"):
        for line in _ddos(ddos):
            console.print(line, soft_wrap=True)
    for name, program in status.get("flow_programs", {}).items():
        console.print(_flow_program(name, program), soft_wrap=True)
    for name in status.get("names", ()):  # A daemon of an earlier version has none.
        if name["reason"]:
            console.print(_name(name), soft_wrap=True)
    if records := status.get("records"):
        for line in _records(records):
            console.print(line, soft_wrap=True)
    for pause in status.get("paused", ()):
        gone = "" if pause["in_file"] else ", which is not in the file"
        told = f"app {escape(pause['app'])}{gone}: paused since {pause['since']}, by uid {pause['uid']}"
        console.print(f"[yellow]{told}[/yellow]", soft_wrap=True)
    if analytics := status.get("analytics"):
        console.print(_analytics(analytics), soft_wrap=True)
    if api := status.get("api"):
        for line in _api(api):
            console.print(line, soft_wrap=True)
    for certificate in status.get("acme", ()):
        console.print(_order(certificate), soft_wrap=True)
    for one in status.get("origins_by_hand", ()):
        console.print(f"[yellow]{escape(_by_hand(one))}[/yellow]", soft_wrap=True)
    console.print(_apps_table(status["apps"]))
    if status["pools"]:
        for balancer in status["load_balancers"]:
            console.print(_balancer(balancer), soft_wrap=True)
        console.print(_pools_table(status["pools"]))


def _name(name: dict[str, Any]) -> str:
    text = f"name {name['name']}: [red]{escape(name['reason'])}[/red]"
    if not name["addresses"]:
        return text
    return f"{text}; addresses from {duration_text(name['age_s'])} ago are in use: {', '.join(name['addresses'])}"


def _api(api: dict[str, Any]) -> Iterator[str]:
    """Yield a line for the control API, and one for each object of its store that is set aside."""
    why = f": {escape(api['why'])}" if api["why"] else ""
    state = f"pid {api['pid']}" if api["pid"] else f"[red]not served[/red]{why}"
    yield f"API on {', '.join(map(escape, api['listen']))}: {state}"
    for one in api["set_aside"]:
        what = f"{one['section']}.{one['name']} of its store is set aside: {one['message']}"
        yield f"[yellow]{escape(what)}[/yellow]"


def _order(certificate: dict[str, Any]) -> str:
    """Return a line for a certificate by ACME."""
    text = f"certificate {certificate['certificate']}: "
    text += f"valid until {_instant(certificate['ends_at'])}" if certificate["ends_at"] else "[red]not issued yet[/red]"
    if certificate["ordering"]:
        return text + ", being ordered"
    if certificate["failures"]:
        more = f"{certificate['failures']} failures, the next order is at {_instant(certificate['try_at'])}"
        return f"{text}; [red]{escape(certificate['failure'])}[/red] ({more})"
    return text + (f", to be renewed at {_instant(certificate['renew_at'])}" if certificate["renew_at"] else "")


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ddos(ddos: dict[str, Any]) -> Iterator[str]:
    """Yield a line for detection, and one for each rule in force."""
    why = f" [red](the last one ended: {escape(ddos['why'])})[/red]" if ddos["why"] else ""
    seen = f"; {ddos['packets_per_second']:,} pps" if "packets_per_second" in ddos else ""
    lost = f", [red]{ddos['lost']:,} looks lost[/red]" if ddos.get("lost") else ""
    yield f"ddos {escape(ddos['state'])}{seen}{lost}{why}"
    for rule in ddos["rules"]:
        what = f"rule ddos/{rule['name']}, {rule['ends_in_s']:.0f} s more: {rule['what']}"
        yield f"[yellow]{escape(what)}[/yellow]"


def _flow_program(name: str, program: dict[str, Any]) -> str:
    """Return the line of a flow program; counts of 0 are left out."""
    cost = f", {program['ns_per_datagram']} ns each" if program["ns_per_datagram"] is not None else ""
    refused = "".join(
        f", {program[key]:,} {what}"
        for key, what in (("would_drop", "would drop"), ("dropped", "dropped"))
        if program[key]
    )
    return escape(f"flow program {name} {program['mode']}: {program['judged']:,} datagrams judged{refused}{cost}")


def _analytics(store: dict[str, Any]) -> str:
    """Return the line of the store of analytics; a ClickHouse server has no size here."""
    size = "" if store["max_bytes"] is None else f"{byte_text(store['bytes'])} of {byte_text(store['max_bytes'])}, "
    return f"analytics {escape(store['store'])}: {size}{store['rows']} records, {_behind(store)}{_troubles(store)}"


def _behind(reader: dict[str, Any]) -> str:
    late = f" ({duration_text(reader['lag_s'])})" if reader["lag_s"] else ""
    return f"{reader['lag_records']} records behind{late}"


def _records(records: dict[str, Any]) -> Iterator[str]:
    """Yield a line for the journal, and one for each sink."""
    journal = records["journal"]
    size = f"{byte_text(journal['bytes'])} of {byte_text(journal['max_bytes'])}"
    yield f"journal {escape(journal['path'])}: {size}{_troubles(journal)}"
    for sink in records["sinks"]:
        yield f"sink {sink['name']}: {sink['records']} records, {_behind(sink)}{_troubles(sink)}"


def _by_hand(one: dict[str, Any]) -> str:
    gone = "" if one["in_file"] else ", which is not in the file"
    out = {"disable": "disabled", "drain": "drained"}.get(one["out"], "")
    what = " and ".join(filter(None, (out, "" if one["weight"] is None else f"weight {one['weight']:g}")))
    return f"origin {one['origin']}{gone}: {what} since {one['since']}, by uid {one['uid']}"


def _troubles(part: dict[str, Any]) -> str:
    lost = f", [red]{part['lost']} lost[/red]" if part["lost"] else ""
    return lost + (f": [red]{escape(part['failure'])}[/red]" if part["failure"] else "")


def _worker_note(worker: dict[str, Any], generation: int) -> str:
    if "relieved" in worker:
        return " (from before an upgrade)"
    if not worker["ready"] and not (worker.get("generation") and worker["silent_s"]):
        return " (starting)"
    note = "" if worker["ready"] else f" [red](not responding for {worker['silent_s']:g} s)[/red]"
    serves = worker.get("generation", generation)
    return note + (f" [red](serves generation {serves})[/red]" if serves != generation else "")


def _apps_table(apps: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("app", "protocol", "listens on", "sessions", "started", "from client", "from origin", "origin"):
        right = heading in ("sessions", "started", "from client", "from origin")
        # Only long texts are folded in a narrow terminal.
        table.add_column(
            heading,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=heading not in ("listens on", "origin"),
        )
    for app in apps:
        table.add_row(
            app["name"] + (" [yellow](paused)[/yellow]" if app.get("paused") else ""),
            app["protocol"],
            app["listens_on"],
            str(app["sessions"]),
            str(app["sessions_started"]),
            byte_text(app["bytes_from_client"]),
            byte_text(app["bytes_from_origin"]),
            "\n".join([_origin(origin) for origin in app["origins"]] + _led(app)) or _no_origin(app),
        )
    return table


def _balancer(balancer: dict[str, Any]) -> str:
    pools = "pool" if len(balancer["pools"]) == 1 else "pools"
    names = ", ".join(balancer["pools"])
    text = f"load balancer {balancer['name']}: steering {balancer['steering_policy']}, {pools} {names}"
    if not balancer["enabled"]:
        return f"{text} [yellow](disabled)[/yellow]"
    if balancer["fallback_in_use"]:
        return f"{text} [red](none is healthy: {balancer['fallback_pool']} serves as fallback)[/red]"
    return text


_COLOURS = {
    "drained": "yellow",
    "healthy": "green",
    "degraded": "yellow",
    "critical": "red",
    "down": "red",
    "ejected": "red",
}


def _pools_table(pools: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("pool", "origin", "address", "health", "share", "rtt", "sessions", "reason"):
        right = heading in ("share", "rtt", "sessions")
        table.add_column(
            heading, justify="right" if right else "left", overflow="fold", no_wrap=heading not in ("address", "reason")
        )
    for pool in pools:
        needed = f"{pool['origins_up']} up, {pool['minimum_origins']} needed"
        rtt, sessions = _milliseconds(pool["rtt_ms"]), str(pool["sessions"])
        table.add_row(pool["name"], "", needed, _coloured(pool["health"]), "", rtt, sessions, "")
        for origin in pool["origins"]:
            table.add_row(
                "",
                origin["name"],
                origin["address"] + (f" port {origin['port']}" if origin["port"] else ""),
                _coloured(origin["health"]),
                f"{origin['share']:.0%}",
                _milliseconds(origin["rtt_ms"]),
                str(origin["sessions"]),
                _reason(origin),
            )
    return table


def _coloured(health: str) -> str:
    colour = _COLOURS.get(health)
    return f"[{colour}]{health}[/{colour}]" if colour else health


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"


def _reason(origin: dict[str, Any]) -> str:
    said = [escape(origin["reason"])] if origin["reason"] else []
    said += [
        f"[yellow]{escape(one['monitor'])} fails: {escape(one['reason'])}[/yellow]"
        for one in origin.get("monitors", ())
        if one["health"] == "down" and (origin["health"] == "healthy" or one["counts"] == "monitoring_only")
    ]
    days = origin["certificate_expires_in_days"]
    if days is not None and days < CERTIFICATE_WARNING_DAYS:
        said.append(f"[yellow]certificate expires in {days:.0f} days[/yellow]")
    return "; ".join(said)


def _origin(origin: dict[str, Any]) -> str:
    text = f"{origin['address']} {origin['sessions']} open, {origin['connected']} connected"
    if "preconnected" in origin:
        text += f", {origin['preconnected']} opened ahead"
    if origin["failed"]:
        text += f", [red]{origin['failed']} failed ({origin['last_failure']})[/red]"
    return text if origin["configured"] else f"{text} [dim](no longer in the file)[/dim]"


def _led(app: dict[str, Any]) -> list[str]:
    return [f"load balancer {app['load_balancer']}"] if app["load_balancer"] else []


def _no_origin(app: dict[str, Any]) -> str:
    if app["origin_name_failure"]:
        return f"[red]{app['origin_name']}: {app['origin_name_failure']}[/red]"
    return app["origin_name"] or ""


def byte_text(count: float) -> str:
    """Return an amount of bytes as text."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit always matches")


def duration_text(seconds: float) -> str:
    """Return a duration as text, in two units at most."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f}d {hours % 24:.0f}h"
    if hours:
        return f"{hours:.0f}h {minutes % 60:.0f}m"
    return f"{minutes:.0f}m {seconds % 60:.0f}s" if minutes else f"{seconds:.0f}s"
