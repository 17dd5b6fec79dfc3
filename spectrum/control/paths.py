"""Default paths of a daemon."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:  # Imported here: commands that ask a daemon start without the models of its file.
    from spectrum.core.configuration.config import Config


def default_control_socket() -> Path:
    """Return the path of the control socket if the file has none."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):  # Set by systemd if the unit has one (systemd.exec(5)).
        return Path(given.split(":")[0]) / "control.sock"
    if os.geteuid() == 0:
        return Path("/run/spectrum/control.sock")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/spectrum-{os.geteuid()}") / "spectrum.sock"


def control_path(config: "Config") -> Path:
    """Return the path of a configuration's control socket."""
    return Path(config.control.socket) if config.control else default_control_socket()


def api_socket(control: Path) -> Path:
    """Return the path of the API's socket for the daemon's user and root, given the control socket."""
    return control.with_name(
        "api.sock" if control.name == "control.sock" else f"{control.name.removesuffix('.sock')}.api.sock"
    )


def store_folder(config: "Config") -> Path:
    """Return the folder of the API's store of a configuration."""
    if config.api is not None and config.api.store is not None:
        return Path(config.api.store)
    return _beside_state(config, "api")


def analytics_folder(config: "Config") -> Path:
    """Return the folder of the embedded store of a configuration with analytics."""
    if config.analytics is not None and config.analytics.store is not None:
        return Path(config.analytics.store)
    return _beside_state(config, "analytics")


def ddos_folder(config: "Config") -> Path:
    """Return the folder of what attack detection has learned."""
    if config.ddos is not None and config.ddos.store is not None:
        return Path(config.ddos.store)
    return _beside_state(config, "ddos")


def profiles_folder(config: "Config") -> Path | None:
    """Return the folder of the profiles of apps; None without detection. Workers and the filter see different packets,
    so each has profiles of its own.
    """
    if config.ddos is None:
        return None
    return ddos_folder(config) / ("profiles" if config.filter is not None else "profiles-workers")


def journal_folder(config: "Config") -> Path:
    """Return the folder of a journal for which the file names none."""
    return _beside_state(config, "journal")


def _beside_state(config: "Config", what: str) -> Path:
    state = state_folder(control_path(config))
    return state.with_name(f"{state.name}.{what}")


def sealing_key(config: "Config") -> Path:
    """Return the file with the key that decrypts private keys which the API of a configuration received."""
    return state_folder(control_path(config)) / "sealing.key"


def flow_objects_folder(config: "Config") -> Path:
    """Return the folder of objects of flow programs that were compiled from sources."""
    return state_folder(control_path(config)) / "flow-programs"


def state_folder(control: Path) -> Path:
    """Return the folder of the state that the daemon with this control socket keeps over restarts."""
    if given := os.environ.get("STATE_DIRECTORY"):  # Set by systemd if the unit has one (systemd.exec(5)).
        base = Path(given.split(":")[0])
    elif os.geteuid() == 0:
        base = Path("/var/lib/spectrum")
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "spectrum"
    return base / quote(str(control.absolute()), safe="")
