"""The listening sockets of the control API: the supervisor's, so that a new process of the API refuses nobody."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from spectrum.core.address import SocketAddress
from spectrum.core.api import ApiAddress, UnixAddress, parse_api_address
from spectrum.kernel.sockets import ListenError, bind_unix

# The process of a daemon that was killed has its sockets for a moment more.
RETRY_S = 0.1
RETRIES = 30
# Who may connect to UNIX sockets that the file names: the daemon's user and group. Tokens tell who may do what.
MODE = 0o660
# And to the one of the command line, where none is asked for.
OWN_MODE = 0o600


class ApiSockets:
    """Sockets, by where they listen.

    Args:
        own: The path of the one that the command line asks.
    """

    def __init__(self, own: Path) -> None:
        self._own = UnixAddress(str(own))
        self._open: dict[str, socket.socket] = {}
        self._opened: dict[str, socket.socket] = {}
        self._wanted: list[str] = []

    def inherit(self, given: Mapping[str, int]) -> None:
        """Go on with sockets of the daemon before this one; what is not wanted of them is closed by `keep`."""
        self._open |= {where: socket.socket(fileno=descriptor) for where, descriptor in given.items()}

    def descriptors(self) -> list[int]:
        """Return those that are wanted, that of the command line first."""
        return [self._open[where].fileno() for where in self._wanted]

    def given(self) -> dict[str, int]:
        """Return all, by where they listen."""
        return {where: self._open[where].fileno() for where in self._wanted}

    def where(self) -> list[str]:
        """Return where they listen."""
        return list(self._wanted)

    async def open(self, addresses: Iterable[ApiAddress], may_wait: bool) -> None:
        """Open what is missing, beside what is there; `undo` closes it again.

        Args:
            addresses: Where.
            may_wait: An address that is taken may be free in a moment.

        Raises:
            ListenError: If one cannot be had.
        """
        self._opened = {}
        for address in (self._own, *addresses):
            if str(address) in self._open:
                continue
            for left in reversed(range(RETRIES if may_wait else 1)):
                try:
                    self._opened[str(address)] = self._bound(address)
                    break
                except OSError as exc:
                    if exc.errno != errno.EADDRINUSE or not left:
                        raise ListenError(f"api: {address}", _reason(exc)) from exc
                await asyncio.sleep(RETRY_S)

    def undo(self) -> None:
        """Close what was opened last."""
        opened, self._opened = self._opened, {}
        for where, sock in opened.items():
            self._close(where, sock)

    def use(self, addresses: Iterable[ApiAddress]) -> None:
        """Want these, all of which are open."""
        self._open |= self._opened
        self._opened = {}
        self._wanted = [str(address) for address in (self._own, *addresses)]

    def drop(self) -> None:
        """Want none."""
        self._wanted = []

    def keep(self) -> None:
        """Close those that are not wanted."""
        for where in [where for where in self._open if where not in self._wanted]:
            self._close(where, self._open.pop(where))

    def close(self, are_others: bool) -> None:
        """Close all; those of a successor stay where they are."""
        self.undo()
        for where, sock in self._open.items():
            if are_others:
                sock.close()
            else:
                self._close(where, sock)
        self._open = {}

    def _bound(self, address: ApiAddress) -> socket.socket:
        if isinstance(address, UnixAddress):
            path = Path(address.path)
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            sock = bind_unix(path, OWN_MODE if address == self._own else MODE)
            sock.listen(socket.SOMAXCONN)
            return sock
        return _bound_tcp(address)

    @staticmethod
    def _close(where: str, sock: socket.socket) -> None:
        sock.close()
        address = parse_api_address(where)
        if isinstance(address, UnixAddress):
            with suppress(OSError):
                os.unlink(address.path)


def _reason(exc: OSError) -> str:
    """Return why, without what `create_server` adds."""
    return (exc.strerror or str(exc)).lower().partition(" (while attempting")[0]


def _bound_tcp(address: SocketAddress) -> socket.socket:
    family = socket.AF_INET6 if address.address.version == 6 else socket.AF_INET
    return socket.create_server((str(address.address), address.port), family=family, backlog=socket.SOMAXCONN)
