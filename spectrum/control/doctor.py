"""Checks whether this machine meets the requirements of a configuration, for `spectrum doctor` and for the API."""

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.paths import analytics_folder
from spectrum.core.configuration.config import Config
from spectrum.core.transparent import Requirement, exposed_origins, is_shown, requirements
from spectrum.kernel import pins
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import local_addresses, may_bind
from spectrum.kernel.transparent import NetworkError, how_to_install, is_installed, may_be_transparent, run
from spectrum.tasks import in_thread

# Lower ports are for root, unless the machine has another limit (ip(7)).
FIRST_FREE_PORT = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: VERIFIED or MISSING, and the remedy."""

    verified: bool
    title: str
    remedy: str = ""


class DoctorActor(Actor):
    """Checks this machine's network for clients of the daemon. The kernel's support is part of the status.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served

    def resources(self) -> Iterable[Resource]:
        """GET /doctor."""
        return (Resource("GET", "/doctor", self._examine),)

    async def _examine(self, asked: ResourceRequest) -> dict[str, Any]:
        """Run the checks; the kernel shows its rules to root alone."""
        config = self._served.config
        if os.geteuid() != 0:
            needs = await in_thread(lambda: [one.title for one in requirements(config, local_addresses())])
            return {"findings": [], "not_looked": needs}
        findings = await in_thread(examine_network, config)
        return {"findings": [asdict(one) for one in findings], "not_looked": []}


def examine(config: Config) -> list[Finding]:
    """Look at everything that a file needs of this machine; nothing for most files."""
    return [*_examine_ports(config), *examine_network(config), *_examine_kernel(config), *_examine_analytics(config)]


def _examine_ports(config: Config) -> Iterator[Finding]:
    """Look whether this user may listen on the low ports of the file."""
    low = [(app.bound_ports[0], name) for name, app in config.apps.items() if app.bound_ports]
    port, name = min(low, default=(FIRST_FREE_PORT, ""))
    if port < FIRST_FREE_PORT:
        yield Finding(
            may_bind(port),
            f"this user may listen on port {port} (app {name})",
            "run as root with `user:` in the file, give the service CAP_NET_BIND_SERVICE (AmbientCapabilities=), or "
            f"sysctl -w net.ipv4.ip_unprivileged_port_start={port}",
        )


def _examine_kernel(config: Config) -> Iterator[Finding]:
    """Check eBPF programs by loading them for a moment."""
    wanted = {
        "bindings": any(app.bindings for app in config.apps.values()),
        "filter": config.filter is not None,
        "udp_offload": config.udp_offload is not None,
    }
    for name in (name for name, is_wanted in wanted.items() if is_wanted):
        title = f"{name}: the kernel takes the program"
        try:
            pins.probe(name.removeprefix("udp_")).close()
        except (PinError, BpfError) as exc:
            yield Finding(False, title, str(exc))
        else:
            yield Finding(True, title)


def _examine_analytics(config: Config) -> Iterator[Finding]:
    """Check whether there is room for what analytics may keep."""
    if config.analytics is None or config.analytics.clickhouse is not None:
        return
    folder, most = analytics_folder(config), config.analytics.max_bytes
    there = next(path for path in (folder, *folder.parents) if path.exists())
    used = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    room = used + shutil.disk_usage(there).free
    yield Finding(
        room >= most,
        f"analytics: {there} has room for {most >> 20} MiB",
        f"it has {room >> 20} MiB: make room, or write a smaller analytics.max_bytes",
    )


def examine_network(config: Config) -> list[Finding]:
    """Check what apps with `source: client`, `tproxy` or `bindings` need."""
    local = local_addresses()
    needed, exposed = requirements(config, local), exposed_origins(config, local)
    if not needed and not exposed:
        return []
    findings = [
        Finding(
            may_be_transparent(),
            "this user may use addresses that are not this machine's",
            "run as root, or with CAP_NET_RAW: `user:` in the file keeps it",
        )
    ]
    programs = dict.fromkeys(need.make[0] for need in needed)
    findings += [
        Finding(False, f"{name} is installed", how_to_install(name)) for name in programs if not is_installed(name)
    ]
    findings += [Finding(is_there(need), need.title, _command(need)) for need in needed]
    findings += [
        Finding(
            False,
            f"the origin {address} listens on an address that others reach, too",
            "let it listen on 127.0.0.1 or ::1, and use that address as the origin",
        )
        for address in exposed
    ]
    return findings


def is_there(need: Requirement) -> bool:
    """Return whether a rule or a route exists."""
    try:
        return is_shown(need, run(need.question))
    except NetworkError:  # There is no such table, or no such program.
        return False


def _command(need: Requirement) -> str:
    command = shlex.join(need.make)
    return f"echo {shlex.quote(need.text.strip())} | {command}" if need.text else command
