"""The paths of a daemon's UNIX sockets: each of them has a path of its own, no other file is there, and the folder of
the control socket is safe from other users.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from spectrum.control.paths import api_socket, control_path
from spectrum.core.api import UNIX, UnixAddress
from spectrum.core.configuration.config import MAX_SOCKET_PATH, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.faults import Path as Place
from spectrum.kernel.folders import FolderError, check_folder

_LISTEN: Place = ("api", "listen")


def socket_faults(config: Config) -> Iterator[Fault]:
    """Yield the paths that two sockets of a configuration would have, or that are too long."""
    if config.api is None:
        return
    control = control_path(config)
    own = api_socket(control)
    if len(os.fsencode(own)) > MAX_SOCKET_PATH:
        most = MAX_SOCKET_PATH - (len(os.fsencode(own)) - len(os.fsencode(control)))
        says = f"the API's own socket beside it, {own}, is too long: write a path of at most {most} bytes"
        yield Fault(("control", "socket") if config.control else ("api",), says)
    taken = {
        _place_of(control): "the control socket",
        _place_of(own): "the API's own socket beside the control socket, for commands without a token",
    }
    for where in config.api.listen:
        if not isinstance(where, UnixAddress):
            continue
        what = taken.setdefault(_place_of(Path(where.path)), str(where))
        if what != str(where):
            what = f"the same as {what}" if what.startswith(UNIX) else what
            yield Fault(_LISTEN, f"{where} is {what}; write another path")


def unsafe_folder(control: Path, is_ours: bool = True) -> str:
    """Return how another user could replace the control socket, and answer in place of the daemon; empty if none can,
    or if its folder is missing.

    Args:
        control: The control socket.
        is_ours: Whether the daemon is of this user; otherwise it is of the folder's owner.
    """
    try:
        check_folder(control.parent, is_ours)
    except FolderError as exc:
        return str(exc)
    except OSError:
        pass
    return ""


def unsafe_folder_refusal(control: Path, why: str) -> str:
    """Return the message for a control socket in a folder that nobody chose, and that is not safe."""
    return f"control socket {control}: {why}; remove it, or set control.socket"


def chosen_folder_warning(control: Path, why: str) -> str:
    """Return the message for a control socket in a folder that the file chose, and that is not safe."""
    return f"control socket {control}: {why}, and could answer in place of this daemon"


def folder_warnings(config: Config) -> list[str]:
    """Return a line if another user could replace the control socket where the file has it."""
    why = unsafe_folder(control_path(config), is_ours=not _is_root()) if config.control is not None else ""
    return [chosen_folder_warning(control_path(config), why)] if why else []


def socket_refusals(config: Config) -> Iterator[Fault]:
    """Yield the paths where something is that is not a socket, which the daemon would not replace; and a folder that
    nobody chose where other users could replace the control socket.
    """
    control = control_path(config)
    if config.control is None and (why := unsafe_folder(control, is_ours=not _is_root())):
        yield Fault((), unsafe_folder_refusal(control, why))
    paths: list[tuple[Place, Path]] = [(("control", "socket") if config.control else (), control)]
    if config.api is not None:
        listen = [Path(where.path) for where in config.api.listen if isinstance(where, UnixAddress)]
        paths += [(("api",), api_socket(control)), *((_LISTEN, path) for path in listen)]
    for place, path in paths:
        try:
            is_other = not stat.S_ISSOCK(path.lstat().st_mode)
        except OSError:
            continue  # There is nothing, or it is not known.
        if is_other:
            yield Fault(place, f"{path} exists and is not a socket; remove it, or write another path")


def _is_root() -> bool:
    """Return whether root asks, maybe for a daemon that systemd starts as another user."""
    return os.geteuid() == 0


def _place_of(path: Path) -> Path:
    """Return a path with its folder's links resolved."""
    return Path(os.path.realpath(path.parent)) / path.name
