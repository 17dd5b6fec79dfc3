"""Requirements of a configuration on this machine: the files that it reads, and their faults.

Each feature that names any has a line in `FEATURES`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from spectrum.control import transparent
from spectrum.control.access import access_faults, access_paths
from spectrum.control.analytics.needs import analytics_faults, analytics_folders, analytics_refusals
from spectrum.control.api.needs import api_faults, api_folders, api_refusals
from spectrum.control.ddos.needs import ddos_faults, ddos_folders, ddos_refusals
from spectrum.control.dns.needs import dns_faults
from spectrum.control.filter.node import filter_faults, filter_paths
from spectrum.control.flow_programs.reading import flow_program_faults, flow_program_paths
from spectrum.control.processes import account
from spectrum.control.tcp import tcp_faults
from spectrum.control.tls.acme.needs import acme_faults, acme_folders, acme_refusals, authority_faults
from spectrum.control.tls.certificates import tls_faults, tls_paths
from spectrum.control.unix_sockets import folder_warnings, socket_faults, socket_refusals
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault


@dataclass(frozen=True, slots=True)
class FeatureFiles:
    """The files and folders of a feature.

    Attributes:
        faults: Returns the faults on this machine.
        refusals: Returns why a daemon that this user starts would refuse to serve.
        paths: Returns the files that may change independently: lists, databases, certificates.
        folders: Returns the folders that the daemon writes to.
        is_of_settings: They depend on settings only, not on named objects.
    """

    faults: Callable[[Config], Iterable[Fault]]
    refusals: Callable[[Config], Iterable[Fault]] = lambda config: ()
    paths: Callable[[Config], Iterable[Path]] = lambda config: ()
    folders: Callable[[Config], Iterable[Path]] = lambda config: ()
    is_of_settings: bool = False


FEATURES = (
    FeatureFiles(account.account_faults, is_of_settings=True),
    FeatureFiles(access_faults, paths=access_paths),
    FeatureFiles(tls_faults, paths=tls_paths),
    FeatureFiles(acme_faults, acme_refusals, folders=acme_folders),
    FeatureFiles(authority_faults, is_of_settings=True),
    FeatureFiles(dns_faults, is_of_settings=True),
    FeatureFiles(filter_faults, paths=filter_paths, is_of_settings=True),
    FeatureFiles(flow_program_faults, paths=flow_program_paths),
    FeatureFiles(tcp_faults),
    FeatureFiles(socket_faults, socket_refusals, is_of_settings=True),
    FeatureFiles(api_faults, api_refusals, folders=api_folders, is_of_settings=True),
    FeatureFiles(analytics_faults, analytics_refusals, folders=analytics_folders, is_of_settings=True),
    FeatureFiles(ddos_faults, ddos_refusals, folders=ddos_folders, is_of_settings=True),
    FeatureFiles(lambda config: (), transparent.refusals),
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


def start_refusals(config: Config, path: Path | None) -> list[Fault]:
    """Return why a daemon that this user starts with a configuration would refuse to serve it.

    Args:
        config: The configuration.
        path: Its file; None if there is none.
    """
    return [
        *account.account_refusals(config, path),
        *(fault for feature in FEATURES for fault in feature.refusals(config)),
    ]


def warnings_of_start(config: Config) -> list[str]:
    """Return why a daemon that this user starts would refuse to serve, but not one that root starts; and what else it
    warns of at its start.
    """
    return [*account.only_for_root(config), *transparent.only_for_root(config), *folder_warnings(config)]


def object_faults(config: Config) -> list[Fault]:
    """Return the faults that depend on named objects, for a configuration with some of them."""
    return [fault for feature in FEATURES if not feature.is_of_settings for fault in feature.faults(config)]
