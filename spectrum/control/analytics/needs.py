"""What analytics needs on this machine: DuckDB, and a folder."""

from importlib.util import find_spec
from pathlib import Path

from spectrum.control.api.needs import api_refusals, api_user
from spectrum.control.paths import analytics_folder
from spectrum.control.processes.account import folder_refusals
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault


def analytics_faults(config: Config) -> list[Fault]:
    """Return which requirements of analytics this machine does not meet."""
    if config.analytics is None or find_spec("duckdb") is not None:
        return []
    return [Fault(("analytics",), "it needs DuckDB: pip install 'spectrum-edge[analytics]'")]


def analytics_refusals(config: Config) -> list[Fault]:
    """Return why a daemon of this user could not give the API's process the store."""
    if config.analytics is None or config.api is None or api_refusals(config):
        return []
    return folder_refusals(analytics_folder(config), "" if config.user else api_user(config), "analytics.store")


def analytics_folders(config: Config) -> list[Path]:
    """Return the folder of the store, if analytics is on."""
    return [analytics_folder(config)] if config.analytics is not None else []
