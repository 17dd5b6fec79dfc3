"""The small HTTP server that answers http-01 (RFC 8555 section 8.3); it listens only while an order needs it."""

import errno
import os
import socket

from aiohttp import web

from spectrum.control.http.listener import Bounds, HttpListener
from spectrum.core.address import SocketAddress

# CAs ask from several places at once, and others may connect, too.
BOUNDS = Bounds(64, 64, 10.0)


class HttpAnswers:
    """The server."""

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}
        self._listener: HttpListener | None = None

    async def add(self, token: str, content: str, where: SocketAddress) -> None:
        """ChallengeAnswer for a token.

        Raises:
            OSError: If the address is not available; the message says why.
        """
        self._answers[token] = content
        if self._listener is None:
            app = web.Application()
            app.add_routes([web.get("/.well-known/acme-challenge/{token}", self._answer)])
            listener = HttpListener(f"http-01 at {where}", app, BOUNDS)
            await listener.start(_open(where))
            self._listener = listener

    async def close(self) -> None:
        """ChallengeAnswer no more."""
        self._answers.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()

    async def _answer(self, request: web.Request) -> web.Response:
        content = self._answers.get(request.match_info["token"])
        if content is None:
            raise web.HTTPNotFound
        return web.Response(text=content, content_type="application/octet-stream")


def _open(where: SocketAddress) -> socket.socket:
    """Return a listening socket; [::] is for both families."""
    address, port = str(where.address), where.port
    try:
        if address == "::":
            try:
                return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            except OSError as exc:
                if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                return socket.create_server(("0.0.0.0", port))  # IPv6 is off.
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as exc:
        raise OSError(f"http-01 cannot be answered at {where}: {os.strerror(exc.errno or 0).lower()}") from exc
