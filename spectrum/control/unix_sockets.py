"""The paths of a daemon's UNIX sockets: each of them has a path of its own, and no other file is there."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from spectrum.control.paths import api_socket, control_path
from spectrum.core.api import UNIX, UnixAddress
from spectrum.core.configuration.config import MAX_SOCKET_PATH, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.faults import Path as Place

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


def socket_refusals(config: Config) -> Iterator[Fault]:
    """Yield the paths where something is that is not a socket, which the daemon would not replace."""
    control = control_path(config)
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


def _place_of(path: Path) -> Path:
    """Return a path with its folder's links resolved."""
    return Path(os.path.realpath(path.parent)) / path.name
