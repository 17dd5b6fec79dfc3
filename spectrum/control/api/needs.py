"""What the control API needs on this machine: its libraries, and the user of its process."""

import os
from importlib.util import find_spec
from pathlib import Path

from spectrum.control.paths import store_folder
from spectrum.control.processes.account import AccountError, account, folder_refusals
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault

# Libraries of the extra; each is looked up without being imported.
LIBRARIES = ("fastapi", "uvicorn")
_NEEDS_USER = "its process does not run as root: name its user, as user: NAME or api: {user: NAME}"
TRACING = "opentelemetry.exporter.otlp.proto.http"


def api_faults(config: Config) -> list[Fault]:
    """Return which requirements of the control API this machine does not meet."""
    if config.api is None:
        return []
    faults = []
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        faults.append(Fault(("api",), f"it needs {' and '.join(missing)}: pip install 'spectrum-edge[api]'"))
    if config.api.traces is not None and not _is_there(TRACING):
        faults.append(Fault(("api", "traces"), "it needs OpenTelemetry: pip install 'spectrum-edge[traces]'"))
    if config.api.user is not None:
        try:
            account(config.api.user)
        except AccountError as exc:
            faults.append(Fault(("api", "user"), str(exc)))
    return faults


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # Not even the parent package is installed.
        return False


def api_refusals(config: Config) -> list[Fault]:
    """Return why a daemon of this user could not start the API's process."""
    if config.api is None:
        return []
    if os.geteuid() == 0 and config.user is None and config.api.user is None:
        return [Fault(("api",), _NEEDS_USER)]
    return folder_refusals(store_folder(config), "" if config.user else api_user(config), "api.store")


def api_user(config: Config) -> str:
    """Return the user that the API's process runs as; empty for the current one.

    Raises:
        AccountError: If neither `user` nor `api.user` names a user.
    """
    if config.api is None or os.geteuid() != 0:
        return ""
    if config.api.user is None:
        raise AccountError(f"api: {_NEEDS_USER}")
    return config.api.user


def api_folders(config: Config) -> list[Path]:
    """Return the folder of the store, if the API is on."""
    return [store_folder(config)] if config.api is not None else []
