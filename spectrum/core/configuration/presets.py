"""Presets with the usual settings of protocols: `preset: ssh` in an app. A preset sets what the app omits, before any
check: its protocol and timeouts, and the monitor of its load balancer's pools without one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from spectrum.core.configuration.faults import Fault, nearest


class Preset(NamedTuple):
    """The usual settings of a protocol.

    Attributes:
        protocol: The port assigned by IANA, or the usual one.
        idle: How long its sessions may be idle.
        monitor: A probe that its servers answer without a login.
    """

    protocol: str
    idle: str
    monitor: Mapping[str, Any]


_TCP = {"type": "tcp"}
_UDP = {"type": "udp_icmp"}
# Databases and remote desktops keep pools of connections, or a person's session, open for a working day.
PRESETS: dict[str, Preset] = {
    "ssh": Preset("tcp/22", "1d", {"type": "tcp", "expect": "SSH-2.0-"}),
    "rdp": Preset("tcp/3389", "1d", _TCP),
    "vnc": Preset("tcp/5900", "1d", {"type": "tcp", "expect": "RFB "}),
    "http": Preset("tcp/80", "5m", {"type": "http", "expected_codes": "2xx,3xx,401,403,404"}),
    "https": Preset("tcp/443", "5m", _TCP),
    "http3": Preset("udp/443", "2m", _UDP),
    "dns": Preset("udp/53", "10s", _UDP),
    "dns-tcp": Preset("tcp/53", "30s", _TCP),
    # RFC 5321 section 4.5.3.2 gives a client five minutes for a command, ten for the end of the data.
    "smtp": Preset("tcp/25", "11m", {"type": "smtp"}),
    # RFC 9051 section 5.4: a server's own timer is 30 minutes at least.
    "imap": Preset("tcp/143", "31m", {"type": "tcp", "expect": "* OK"}),
    "imaps": Preset("tcp/993", "31m", _TCP),
    "postgresql": Preset("tcp/5432", "1d", _TCP),
    "mysql": Preset("tcp/3306", "1d", _TCP),
    "redis": Preset("tcp/6379", "1d", _TCP),
    "mqtt": Preset("tcp/1883", "1h", _TCP),
    "ldap": Preset("tcp/389", "1h", _TCP),
    "sip": Preset("udp/5060", "3m", _UDP),
    "wireguard": Preset("udp/51820", "5m", _UDP),
    "openvpn": Preset("udp/1194", "5m", _UDP),
    "minecraft": Preset("tcp/25565", "10m", _TCP),
    "minecraft-bedrock": Preset("udp/19132", "1m", _UDP),
    "source-game": Preset("udp/27015", "1m", _UDP),
}


def expand(document: Mapping[Any, Any]) -> tuple[dict[Any, Any], list[Fault]]:
    """Return a file's content with the settings of presets added, and faults of presets. Settings in the file are not
    changed.
    """
    filled, faults = dict(document), list[Fault]()
    apps = document.get("apps")
    if not isinstance(apps, dict):
        return filled, faults
    filled["apps"] = dict(apps)
    for name, app in apps.items():
        if not isinstance(app, dict) or "preset" not in app:
            continue
        word = app["preset"]
        preset = PRESETS.get(word) if isinstance(word, str) else None
        if preset is None:
            faults.append(Fault(("apps", name, "preset"), f"there is no preset {word!r}{nearest(word, list(PRESETS))}"))
            # The missing protocol of the app is no second fault.
            preset = Preset("tcp/1", "1h", _TCP)
        filled["apps"][name] = _fill(app, preset)
        for pool in _unmonitored(document, filled["apps"][name]):
            _monitor(filled, pool, f"preset-{word}", preset.monitor, str(filled["apps"][name]["protocol"]))
    return filled, faults


def _fill(app: Mapping[Any, Any], preset: Preset) -> dict[Any, Any]:
    timeouts = app.get("timeouts", {})
    if isinstance(timeouts, dict):
        timeouts = {"idle": preset.idle} | timeouts
    return {"protocol": preset.protocol} | dict(app) | {"timeouts": timeouts}


def _unmonitored(document: Mapping[Any, Any], app: Mapping[Any, Any]) -> Iterator[str]:
    """Yield the names of an app's pools without a monitor."""
    balancers, pools = document.get("load_balancers"), document.get("pools")
    balancer = balancers.get(app.get("load_balancer")) if isinstance(balancers, dict) else None
    if not isinstance(balancer, dict) or not isinstance(pools, dict):
        return
    named = balancer.get("default_pools")
    for name in [*(named if isinstance(named, list) else ()), balancer.get("fallback_pool")]:
        pool = pools.get(name) if isinstance(name, str) else None
        if isinstance(pool, dict) and pool.keys().isdisjoint(("monitor", "monitor_group")):
            yield name


def _monitor(filled: dict[Any, Any], pool: str, name: str, monitor: Mapping[str, Any], protocol: str) -> None:
    monitors = filled.get("monitors")
    if monitors is not None and not isinstance(monitors, dict):
        return
    port = protocol.rpartition("/")[2]
    origins = filled["pools"][pool].get("origins")
    if port.isdecimal() and any(isinstance(o, dict) and not o.get("port") for o in origins or ()):
        name, monitor = f"{name}-{port}", {**monitor, "port": int(port)}  # These have the port that clients connect to.
    filled["monitors"] = {name: dict(monitor)} | (monitors or {})
    filled["pools"] = filled["pools"] | {pool: filled["pools"][pool] | {"monitor": name}}
