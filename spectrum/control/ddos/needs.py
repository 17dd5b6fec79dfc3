"""What detection of attacks needs on this machine: numpy, a folder, and whom its process runs as."""

import os
from importlib.util import find_spec
from pathlib import Path

from spectrum.control.paths import ddos_folder
from spectrum.control.processes.account import AccountError, account
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault

# Who it is where the file names nobody: it has no rights, and no files but its own folder (landlock(7)).
NOBODY = "nobody"


def ddos_faults(config: Config) -> list[Fault]:
    """Return what is wrong with what detection needs on this machine."""
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
    """Return whom the detector becomes; empty where it is that already.

    Raises:
        AccountError: If there is no such user.
    """
    if config.ddos is None or os.geteuid() != 0:
        return ""
    return account(config.ddos.user or NOBODY).pw_name


def ddos_folders(config: Config) -> list[Path]:
    """Return the folder of profiles, where there is one."""
    return [ddos_folder(config)] if config.ddos is not None else []
