"""Requirements of a configuration on this machine: the files that it reads, and their faults.

Each feature that names any has a line in `FEATURES`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from spectrum.control.access import access_faults, access_paths
from spectrum.control.analytics.needs import analytics_faults, analytics_folders
from spectrum.control.api.needs import api_faults, api_folders
from spectrum.control.ddos.needs import ddos_faults, ddos_folders
from spectrum.control.dns.needs import dns_faults
from spectrum.control.filter.node import filter_faults, filter_paths
from spectrum.control.flow_programs.reading import flow_program_faults, flow_program_paths
from spectrum.control.processes.account import account_faults
from spectrum.control.tcp import tcp_faults
from spectrum.control.tls.acme.needs import acme_faults, acme_folders, authority_faults
from spectrum.control.tls.certificates import tls_faults, tls_paths
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault


@dataclass(frozen=True, slots=True)
class OnMachine:
    """The files and folders of a feature.

    Attributes:
        faults: Returns the faults on this machine.
        paths: Returns the files that may change independently: lists, databases, certificates.
        folders: Returns the folders that the daemon writes to.
        is_of_settings: They depend on settings only, not on named objects.
    """

    faults: Callable[[Config], Iterable[Fault]]
    paths: Callable[[Config], Iterable[Path]] = lambda config: ()
    folders: Callable[[Config], Iterable[Path]] = lambda config: ()
    is_of_settings: bool = False


FEATURES = (
    OnMachine(account_faults, is_of_settings=True),
    OnMachine(access_faults, access_paths),
    OnMachine(tls_faults, tls_paths),
    OnMachine(acme_faults, folders=acme_folders),
    OnMachine(authority_faults, is_of_settings=True),
    OnMachine(dns_faults, is_of_settings=True),
    OnMachine(filter_faults, filter_paths, is_of_settings=True),
    OnMachine(flow_program_faults, flow_program_paths),
    OnMachine(tcp_faults),
    OnMachine(api_faults, folders=api_folders, is_of_settings=True),
    OnMachine(analytics_faults, folders=analytics_folders, is_of_settings=True),
    OnMachine(ddos_faults, folders=ddos_folders, is_of_settings=True),
)


def named_files(config: Config) -> list[Path]:
    """Return the files that a configuration names and that may change independently."""
    return [path for feature in FEATURES for path in feature.paths(config)]


def made_folders(config: Config) -> list[Path]:
    """Return the folders that a configuration names and that the daemon writes to."""
    return [path for feature in FEATURES for path in feature.folders(config)]


def machine_faults(config: Config) -> list[Fault]:
    """Return the faults of what a configuration names on this machine."""
    return [fault for feature in FEATURES for fault in feature.faults(config)]


def object_faults(config: Config) -> list[Fault]:
    """Return the faults that depend on named objects, for a configuration with some of them."""
    return [fault for feature in FEATURES if not feature.is_of_settings for fault in feature.faults(config)]
