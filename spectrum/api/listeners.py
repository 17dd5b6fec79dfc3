"""Serves an application on listening sockets of the supervisor, with TLS where there is a certificate."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from spectrum.api.connection import IDLE_S, Connection

HANDSHAKE_S = 10.0
# Time for open requests when the process ends.
DRAIN_S = 5.0
BACKLOG = 1024


class Listeners:
    """Accepts connections until it is stopped.

    Args:
        app: The application.
        sockets: Listening sockets; owned by this object.
    """

    def __init__(self, app: ASGIApp, sockets: Sequence[socket.socket]) -> None:
        self._config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE_S,
        )
        self._config.load()
        # One limit for local clients, and one for others.
        self._local, self._remote = ServerState(), ServerState()
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._context: ssl.SSLContext | None = None

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections())

    def set_certificate(self, chain: str, key: str) -> None:
        """Use a certificate for handshakes from now on; IP listeners use TLS if there is one at the start.

        Args:
            chain: Certificates in PEM.
            key: The private key in PEM.

        Raises:
            OSError: If they cannot be used (ssl.SSLError).
        """
        context = self._context or _server_context()
        # OpenSSL's functions take files; this one is never written to disk.
        file = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(file, f"{chain}\n{key}".encode())
            context.load_cert_chain(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        self._context = context

    async def start(self) -> None:
        """Accept connections."""
        for sock in self._sockets:
            sock.setblocking(False)
            context = None if sock.family == socket.AF_UNIX else self._context
            self._servers.append(await self._serve(sock, context))

    async def _serve(self, sock: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        state = self._local if sock.family == socket.AF_UNIX else self._remote
        make: Callable[[], Connection] = lambda: Connection(self._config, state, {}, loop)  # noqa: E731
        serve = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        handshake_s = HANDSHAKE_S if context else None
        return await serve(make, sock=sock, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=handshake_s)

    def _connections(self) -> tuple[Any, ...]:
        return (*self._local.connections, *self._remote.connections)

    async def stop(self) -> None:
        """Stop accepting, and end when open requests are answered, or at the deadline."""
        for server in self._servers:
            server.close()
        for connection in self._connections():
            connection.shutdown()
        tasks = (*self._local.tasks, *self._remote.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in self._connections():
            connection.transport.abort()
        await asyncio.sleep(0)  # for their callbacks


def _server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
