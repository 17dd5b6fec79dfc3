"""What analytics needs on this machine: DuckDB, and a folder."""

from importlib.util import find_spec
from pathlib import Path

from spectrum.control.paths import analytics_folder
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault


def analytics_faults(config: Config) -> list[Fault]:
    """Return which requirements of analytics this machine does not meet."""
    if config.analytics is None or find_spec("duckdb") is not None:
        return []
    return [Fault(("analytics",), "it needs DuckDB: pip install 'spectrum-edge[analytics]'")]


def analytics_folders(config: Config) -> list[Path]:
    """Return the folder of the store, if analytics is on."""
    return [analytics_folder(config)] if config.analytics is not None else []
