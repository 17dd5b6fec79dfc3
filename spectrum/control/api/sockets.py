"""The listening sockets of the control API. They belong to the supervisor, so that no client is refused while the API's
process is replaced.
"""

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

# After a kill of the daemon, its API process holds the sockets a moment longer.
RETRY_S = 0.1
RETRIES = 30
# Mode of UNIX sockets that the file names: for the daemon's user and group. Tokens decide on permissions.
MODE = 0o660
# Mode of the command line's socket, which needs no token.
OWN_MODE = 0o600


class ApiSockets:
    """Listening sockets, by address.

    Args:
        own: The path of the socket for the command line.
    """

    def __init__(self, own: Path) -> None:
        self._own = UnixAddress(str(own))
        self._open: dict[str, socket.socket] = {}
        self._opened: dict[str, socket.socket] = {}
        self._wanted: list[str] = []

    def inherit(self, given: Mapping[str, int]) -> None:
        """Take over the sockets of the daemon that this one replaces; `keep` closes those that are not needed."""
        self._open |= {where: socket.socket(fileno=descriptor) for where, descriptor in given.items()}

    def descriptors(self) -> list[int]:
        """Return the descriptors in use, the command line's first."""
        return [self._open[where].fileno() for where in self._wanted]

    def given(self) -> dict[str, int]:
        """Return all sockets, by address."""
        return {where: self._open[where].fileno() for where in self._wanted}

    def where(self) -> list[str]:
        """Return the addresses."""
        return list(self._wanted)

    async def open(self, addresses: Iterable[ApiAddress], may_wait: bool) -> None:
        """Open the sockets that are missing, beside the open ones; `undo` closes them again.

        Args:
            addresses: The addresses.
            may_wait: Whether to wait for an address in use, which may become free in a moment.

        Raises:
            ListenError: If an address is not available.
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
        """Close the sockets that were opened last."""
        opened, self._opened = self._opened, {}
        for where, sock in opened.items():
            self._close(where, sock)

    def use(self, addresses: Iterable[ApiAddress]) -> None:
        """Use these sockets, all of which are open."""
        self._open |= self._opened
        self._opened = {}
        self._wanted = [str(address) for address in (self._own, *addresses)]

    def drop(self) -> None:
        """Use none."""
        self._wanted = []

    def keep(self) -> None:
        """Close those that are not in use."""
        for where in [where for where in self._open if where not in self._wanted]:
            self._close(where, self._open.pop(where))

    def close(self, are_others: bool) -> None:
        """Close all; paths of UNIX sockets that a successor uses stay."""
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
    """Return the reason, without the text that `create_server` adds."""
    return (exc.strerror or str(exc)).lower().partition(" (while attempting")[0]


def _bound_tcp(address: SocketAddress) -> socket.socket:
    family = socket.AF_INET6 if address.address.version == 6 else socket.AF_INET
    return socket.create_server((str(address.address), address.port), family=family, backlog=socket.SOMAXCONN)
