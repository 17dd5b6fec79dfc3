"""Accepts connections for an HTTP application of the supervisor, and limits the resources of clients. aiohttp
implements HTTP. This file adds deadlines to every connection, limits the number of connections and descriptors, and
aggregates log lines about malformed requests.
"""

import asyncio
import errno
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from spectrum.kernel.sockets import descriptor_limit
from spectrum.log import FaultLog
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

# Deadline for the head of a request, and between requests. A scraper with a longer interval reconnects.
IDLE_S = 10.0
# Deadline for the rest of an unread body: closing earlier would reset the answer.
LINGER_S = 2.0
# Deadline for the client to read an answer.
ANSWER_S = 60.0
SWEEP_S = 1.0
BACKLOG = 128
# Pause after accept(2) failed: no descriptors or no memory.
RETRY_S = 0.5
SAID_EVERY_S = 60.0

# The client is gone, or a firewall rule forbids it (accept(2)).
_OF_THE_CLIENT = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits for the clients of a listener.

    Attributes:
        connections: Connections at a time; a new one replaces an idle one.
        reserve: Descriptors below the process's limit that connections may not use.
        answer_s: Deadline for an answer, including its transfer to the client; None for no limit.
    """

    connections: int
    reserve: int
    answer_s: float | None


# A page is rendered in a second or two, and a scraper reads it immediately. The reserve is for replaced workers and for
# the control socket.
METRICS = Bounds(64, 64, ANSWER_S)
# Only this user and root can connect. Reloads and upgrades have deadlines of their own.
CONTROL = Bounds(64, 16, None)


class HttpListener:
    """Serves an application on a listening socket.

    Args:
        name: Its name in the log.
        app: The application.
        bounds: Limits for clients.
        idle_s: The deadline for a request's head, and between two requests.
    """

    def __init__(self, name: str, app: web.Application, bounds: Bounds, idle_s: float = IDLE_S) -> None:
        self._name = name
        self._bounds = bounds
        self._idle_s = idle_s
        self._connections: dict[_Connection, None] = {}
        self._tasks = Tasks()
        self._socket: socket.socket | None = None
        self._beginning = 0
        self._retry: asyncio.TimerHandle | None = None
        self._faults = FaultLog(f"{name}: a request failed because of an internal error")
        self._bad_requests = _SummedWarning(f"{name}: malformed requests")
        self._turned_away = _SummedWarning(f"{name}: clients turned away")
        self._replaced = _SummedWarning(f"{name}: connections closed to make room for new ones")
        app.middlewares.append(_mark_answering)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, sock: socket.socket) -> None:
        """Begin to accept; the bound socket is owned from here on."""
        await self._runner.setup()
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._socket = sock
        self._listen()
        self._tasks.keep(self._sweep, f"end slow connections of {self._name}")

    def fileno(self) -> int:
        """Return the descriptor of the listening socket; -1 where there is none."""
        return self._socket.fileno() if self._socket is not None else -1

    def close(self) -> None:
        """Stop accepting; open connections continue."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    async def stop(self) -> None:
        """Stop accepting, give requests a second to end, and close all connections."""
        self.close()
        await self._tasks.stop()
        await self._runner.cleanup()

    def _listen(self) -> None:
        assert self._socket is not None, "start comes first"
        asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    def _accept(self, sock: socket.socket) -> None:
        """Accept one connection; the loop calls again for the next one."""
        try:
            connection, _ = sock.accept()
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno in _OF_THE_CLIENT:
                return
            # The connection stays in the queue, so the loop would call again at once.
            self._refuse(os.strerror(exc.errno or 0).lower())
            loop = asyncio.get_running_loop()
            loop.remove_reader(sock)
            self._retry = loop.call_later(RETRY_S, self._listen)
            return
        # The kernel uses the lowest free number, so all below it are in use.
        if connection.fileno() >= descriptor_limit() - self._bounds.reserve:
            connection.close()
            self._refuse("too many open files")
            return
        if len(self._connections) + self._beginning >= self._bounds.connections:
            self._make_room()
        self._beginning += 1
        self._tasks.start(self._begin(connection), f"connection of {self._name}")

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._connection, connection)
        except OSError:
            connection.close()
        finally:
            self._beginning -= 1

    def _connection(self) -> "_Connection":
        server = self._runner.server
        assert server is not None, "start comes first"
        return _Connection(server, self._connections, self._faults, self._bad_requests)

    def _refuse(self, why: str) -> None:
        self._turned_away.add(why)
        self._make_room()

    def _make_room(self) -> None:
        """Close a connection: an idle one if there is one, of the client with most connections, the oldest."""
        if self._connections:
            per_client = Counter(one.client for one in self._connections)
            victim = max(self._connections, key=lambda one: (not one.is_answering, per_client[one.client], -one.since))
            victim.abort()
            self._replaced.add(victim.client)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_S, self._idle_s / 4))
            now = time.monotonic()
            for one in tuple(self._connections):
                patience_s = self._bounds.answer_s if one.is_answering else self._idle_s
                if patience_s is not None and now - one.since > patience_s:
                    one.abort()


class _SummedWarning:
    """Aggregates warnings that clients can cause at any rate: the log gets a line at once, and then at most one a
    minute.

    Args:
        what: What happened, in the plural.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._said_at = -SAID_EVERY_S

    def add(self, latest: str) -> None:
        log.debug("%s: %s", self._what, latest)
        self._count += 1
        if (now := time.monotonic()) - self._said_at >= SAID_EVERY_S:
            log.warning("%s: %d, the latest: %s", self._what, self._count, latest)
            self._count, self._said_at = 0, now


class _Connection(web.RequestHandler):
    """A connection of aiohttp, with what the listener needs to limit it.

    Attributes:
        client: Its address.
        is_answering: Whether a complete request waits for its answer.
        since: When it entered its state (monotonic, seconds).
    """

    __slots__ = ("_all", "_bad_requests", "_faults", "client", "is_answering", "since")

    def __init__(
        self, server: web.Server, connections: "dict[_Connection, None]", faults: FaultLog, bad_requests: _SummedWarning
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, access_log=None, lingering_time=LINGER_S)  # type: ignore[arg-type]
        self._all = connections
        self._faults = faults
        self._bad_requests = bad_requests
        self.client = ""
        self.is_answering = False
        self.since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else "a local user"
        self._all[self] = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._all.pop(self, None)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close it at once; it no longer counts."""
        self._all.pop(self, None)
        if self.transport is not None:
            self.transport.abort()

    def answer(self, is_answering: bool) -> None:
        """Begin or end an answer."""
        self.is_answering, self.since = is_answering, time.monotonic()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        resp.headers.setdefault("Server", "spectrum")  # Without the versions of libraries.
        try:
            return await super().finish_response(request, resp, start_time)
        except RuntimeError as exc:  # uvloop's, where asyncio raises ConnectionError.
            if "handler is closed" not in str(exc):
                raise
            return resp, True
        finally:
            self.answer(False)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a malformed request, without the text of aiohttp or Python."""
        if not self._is_clients(exc, status):
            self._faults.report(exc or RuntimeError(message))
        else:
            self._bad_requests.add(f"{self.client}: {_summary(exc)}")
            status = 400
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        answer = web.Response(status=status, text="bad request\n" if status < 500 else "internal error, see the log\n")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an error of aiohttp outside of a handler, such as a malformed chunked body."""
        exc = kw.get("exc_info")
        if isinstance(exc, BaseException) and self._is_clients(exc, 500):
            self._bad_requests.add(f"{self.client}: {_summary(exc)}")
        else:
            self._faults.report(exc if isinstance(exc, BaseException) else RuntimeError(str(args)))

    @staticmethod
    def _is_clients(exc: BaseException | None, status: int) -> bool:
        return status < 500 or isinstance(exc, web.RequestPayloadError | HttpProcessingError)


def _summary(error: BaseException | None) -> str:
    """Return the first line of aiohttp's message; the others quote the client."""
    return ascii(getattr(error, "message", str(error)).lstrip().partition("\n")[0].rstrip(":").lower())[1:-1][:100]


@web.middleware
async def _mark_answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if isinstance(request.protocol, _Connection):
        request.protocol.answer(True)
    return await handler(request)
