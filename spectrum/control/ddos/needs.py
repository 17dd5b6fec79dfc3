"""What detection needs on this machine: numpy, a folder, and the user of its process."""

import os
from importlib.util import find_spec
from pathlib import Path

from spectrum.control.paths import ddos_folder
from spectrum.control.processes.account import AccountError, account, folder_refusals
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault

# The user id if the file names no user: it has no rights, and no access to files except its own folder (landlock(7)).
NOBODY = "nobody"


def ddos_faults(config: Config) -> list[Fault]:
    """Return which requirements of detection this machine does not meet."""
    if config.ddos is None:
        return []
    faults = []
    if find_spec("numpy") is None:
        faults.append(Fault(("ddos",), "it needs numpy: pip install 'spectrum-edge[ddos]'"))
    if config.ddos.user is not None:
        try:
            account(config.ddos.user)
        except AccountError as exc:
            faults.append(Fault(("ddos", "user"), str(exc)))
    return faults


def detector_user(config: Config) -> str:
    """Return the user that the detector runs as; empty for the current one.

    Raises:
        AccountError: If there is no such user.
    """
    if config.ddos is None or os.geteuid() != 0:
        return ""
    return account(config.ddos.user or NOBODY).pw_name


def ddos_refusals(config: Config) -> list[Fault]:
    """Return why a daemon of this user could not start the detector."""
    if config.ddos is None:
        return []
    try:
        user = "" if config.user else detector_user(config)
    except AccountError as exc:
        return [
            Fault(("ddos",), f"its process does not run as root, and {exc}; or name another, as ddos: {{user: NAME}}")
        ]
    return folder_refusals(ddos_folder(config), user, "ddos.store")


def ddos_folders(config: Config) -> list[Path]:
    """Return the folder of profiles, if detection is on."""
    return [ddos_folder(config)] if config.ddos is not None else []
