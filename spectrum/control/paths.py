"""Where a daemon is found."""

import os
from pathlib import Path
from urllib.parse import quote


def default_control_socket() -> Path:
    """Return where the control socket is when the file does not say."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):  # systemd's, where the unit has one (systemd.exec(5))
        return Path(given.split(":")[0]) / "control.sock"
    if os.geteuid() == 0:
        return Path("/run/spectrum/control.sock")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/spectrum-{os.geteuid()}") / "spectrum.sock"


def state_folder(control: Path) -> Path:
    """Return the folder of what the daemon with this control socket keeps over restarts."""
    if given := os.environ.get("STATE_DIRECTORY"):  # systemd's, where the unit has one (systemd.exec(5))
        base = Path(given.split(":")[0])
    elif os.geteuid() == 0:
        base = Path("/var/lib/spectrum")
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "spectrum"
    return base / quote(str(control.absolute()), safe="")
