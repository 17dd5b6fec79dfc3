"""HTTP of the supervisor: metrics and health checks for the network, status and reload for users of this machine."""

import asyncio
import contextlib
import errno
import gzip
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from spectrum.control.configuration.actor import Actor, Change, RolloutError
from spectrum.control.configuration.reload import Reloaded
from spectrum.control.http.listener import CONTROL, METRICS, HttpListener
from spectrum.control.http.resource import Resource, answered
from spectrum.control.unix_sockets import chosen_folder_warning, unsafe_folder, unsafe_folder_refusal
from spectrum.core.address import SocketAddress
from spectrum.kernel.peers import Peer
from spectrum.kernel.sockets import ListenError, bind_unix
from spectrum.link.encoding import encode
from spectrum.tasks import in_background

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The outcome of an upgrade: why it failed, or the process that serves from now on."""

    errors: list[str] = field(default_factory=list)
    pid: int = 0


Render = Callable[[], Awaitable[bytes]]
Reload = Callable[[], Awaitable[Reloaded]]
Upgrade = Callable[[str], Awaitable[Upgraded]]
Ready = Callable[[], bool]

# Deadline for the body of a request.
BODY_S = 5.0

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text"
OPEN_CONTENT_TYPE = f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"
# The compression level with the best ratio of size to time.
COMPRESSION = 6
# With thousands of apps an answer has megabytes; writing a piece of this size takes a tenth of a millisecond.
PIECE_BYTES = 1 << 17
# So many of its parts are encoded at once.
ITEMS_AT_ONCE = 250
_JSON = msgspec.json.Encoder()
INDEX = """<!DOCTYPE html>
<html lang="en">
<title>Spectrum</title>
<h1>Spectrum</h1>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/healthz">/healthz</a>: the supervisor runs</li>
<li><a href="/readyz">/readyz</a>: sessions are served</li>
</ul>
</html>
"""


async def _hide_library(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)


def metrics_app(render: Render, render_open: Render, ready: Ready) -> web.Application:
    """Return the application with /metrics, /healthz (the supervisor runs) and /readyz (sessions are served).

    Args:
        render: Returns the metrics in Prometheus' text format.
        render_open: Returns them as OpenMetrics, for those who accept that.
        ready: Tells whether sessions are served.
    """

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=INDEX, content_type="text/html")

    async def metrics(request: web.Request) -> web.StreamResponse:
        is_open = OPEN_METRICS in request.headers.get("Accept", "")
        body = await (render_open if is_open else render)()
        headers = {"Content-Type": OPEN_CONTENT_TYPE if is_open else CONTENT_TYPE, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await in_background(gzip.compress, body, COMPRESSION)
            headers["Content-Encoding"] = "gzip"
        return await _in_pieces(request, _cut(body), headers)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(text="not ready\n", status=503)

    app = web.Application()
    app.on_response_prepare.append(_hide_library)
    pages = {"/": index, "/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    app.add_routes([web.get(path, page) for path, page in pages.items()])
    return app


async def _in_pieces(
    request: web.Request, pieces: Sequence[bytes | memoryview], headers: Mapping[str, str], status: int = 200
) -> web.StreamResponse:
    """Answer with a body in pieces, between which the loop gets a turn. `web.Response` and the transport would copy it:
    9 MB take more than 20 ms.
    """
    length = sum(map(len, pieces))
    if length <= PIECE_BYTES or request.method == "HEAD":
        return web.Response(body=b"".join(pieces), headers=headers, status=status)
    response = web.StreamResponse(headers=headers, status=status)
    response.content_length = length
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


def _cut(body: bytes | msgspec.Raw) -> list[memoryview]:
    whole = memoryview(body)
    return [whole[start : start + PIECE_BYTES] for start in range(0, len(whole), PIECE_BYTES)]


def control_app(reload: Reload, upgrade: Upgrade, resources: Iterable[Resource] = ()) -> web.Application:
    """Return the application with POST /reload and /upgrade, and all other resources. A reload answers 200 with the
    changes, or 422 with the diagnostics; an upgrade answers in the same way with the new process.
    """

    async def apply(request: web.Request) -> web.StreamResponse:
        done = await reload()
        answer = {"errors": _readable(done.errors), "changes": _readable(done.changes), "restart": done.restart}
        return await _json(request, answer, 422 if done.errors else 200)

    async def follow(request: web.Request) -> web.Response:
        done = await upgrade(request.query.get("python", ""))
        return web.json_response({"errors": done.errors, "pid": done.pid}, status=422 if done.errors else 200)

    app = web.Application()
    app.add_routes([web.post("/reload", apply), web.post("/upgrade", follow)])
    app.add_routes([web.route(one.method, one.path, _handler(one)) for one in resources])
    return app


def _readable(lines: Iterable[str]) -> list[str]:
    """Return lines in UTF-8: the path of a file may have other bytes (PEP 383)."""
    # Of thousands of apps there are thousands of lines.
    return [line if line.isascii() else line.encode("utf-8", "backslashreplace").decode() for line in lines]


def _handler(resource: Resource) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            data = b""
            if resource.has_body:
                async with asyncio.timeout(BODY_S):
                    data = await request.read()
        except TimeoutError:
            return web.json_response({"errors": [f"no body within {BODY_S:g} s"]}, status=408)
        status, content = await answered(resource, request.query, data, _uid(request))
        return await _json(request, content, status)

    return handle


async def _json(request: web.Request, content: Any, status: int) -> web.StreamResponse:
    """Answer with JSON."""
    return await _in_pieces(request, await _json_pieces(content), {"Content-Type": "application/json"}, status)


async def _json_pieces(content: Any) -> list[bytes | memoryview]:
    """Return JSON in pieces: of a mapping the parts, and of these the long ones, a few items at once.

    Between two of them the loop turns. `json.dumps` would hold it up five times as long. A part that is JSON already,
    such as the status of all apps, is cut.
    """
    if not isinstance(content, dict):
        return [encode(_JSON, content)]
    pieces: list[bytes | memoryview] = [b"{"]
    for number, (name, part) in enumerate(content.items()):
        pieces.append(b"," * (number > 0) + encode(_JSON, name) + b":")
        if isinstance(part, msgspec.Raw):
            pieces += _cut(part)
            continue
        if not isinstance(part, dict | list) or len(part) <= ITEMS_AT_ONCE:
            pieces.append(encode(_JSON, part))
            continue
        is_list = isinstance(part, list)
        items: list[Any] = list(part.items() if isinstance(part, dict) else part)
        for start in range(0, len(items), ITEMS_AT_ONCE):
            some = items[start : start + ITEMS_AT_ONCE]
            text = encode(_JSON, some if is_list else dict(some))
            pieces.append((b"," if start else text[:1]) + text[1:-1])
            await asyncio.sleep(0)
        pieces.append(b"]" if is_list else b"}")
    pieces.append(b"}")
    return pieces


def _uid(request: web.Request) -> int:
    sock = request.transport and request.transport.get_extra_info("socket")
    return Peer.from_socket(sock).uid if sock and sock.family == socket.AF_UNIX else -1


class AdminServer:
    """The running HTTP servers."""

    def __init__(self) -> None:
        self._given: dict[str, socket.socket] = {}
        self._accepts = True
        self._listeners: dict[str, HttpListener] = {}
        self._waiting: list[tuple[HttpListener, socket.socket]] = []
        self._socket_path: Path | None = None
        # Another supervisor continues with the socket at this path.
        self._path_is_others = False

    def inherit(self, given: Mapping[str, socket.socket]) -> None:
        """Take listening sockets of the previous supervisor, by where they listen.

        That one accepts on them until it leaves, so nothing is accepted here before `accept`.
        """
        self._given = dict(given)
        self._accepts = False

    async def serve_metrics(self, app: web.Application, where: SocketAddress) -> None:
        """Serve an application on an address.

        Raises:
            ListenError: If the address is not available.
        """
        family = socket.AF_INET6 if where.address.version == 6 else socket.AF_INET
        try:
            sock = self._given.pop(str(where), None) or socket.create_server(
                (str(where.address), where.port), family=family
            )
        except OSError as exc:
            raise ListenError(f"metrics: {where}: {os.strerror(exc.errno or 0).lower()}") from exc
        await self._start(str(where), HttpListener(f"metrics {where}", app, METRICS), sock)

    async def serve_control(self, app: web.Application, path: Path, is_chosen: bool = False) -> None:
        """Serve an application on a UNIX socket that only this user (and root) can connect to.

        Args:
            app: The application.
            path: The socket's path; its folder is created if it is missing.
            is_chosen: An administrator chose the path. If another user could replace the socket in its folder, a chosen
                path causes a warning, as ssh leaves the folder of a ControlPath to its user; any other path is refused.

        Raises:
            ListenError: If a daemon answers there already, the folder cannot be trusted, or the socket cannot be made.
        """
        given = self._given.pop(where := control_name(path), None)
        sock = given or _open_control(path, is_chosen)
        self._socket_path, self._path_is_others = path, given is not None
        await self._start(where, HttpListener("control socket", app, CONTROL), sock)

    async def _start(self, where: str, listener: HttpListener, sock: socket.socket) -> None:
        self._listeners[where] = listener
        if self._accepts:
            await listener.start(sock)
        else:
            self._waiting.append((listener, sock))

    async def accept(self) -> None:
        """Begin to accept: the previous supervisor no longer does."""
        self._accepts, self._path_is_others = True, False
        while self._waiting:
            listener, sock = self._waiting.pop()
            await listener.start(sock)
        while self._given:
            self._given.popitem()[1].close()

    def give(self) -> dict[str, int]:
        """Return the descriptors on which another supervisor will listen, by address."""
        return {where: listener.fileno() for where, listener in self._listeners.items() if listener.fileno() >= 0}

    def leave(self, taken: str) -> None:
        """Stop accepting; the receiver of what `give` returned accepts. The control socket stays if its path is
        `taken`.
        """
        for listener in self._listeners.values():
            listener.close()
        if self._socket_path is not None and control_name(self._socket_path) == taken:
            self._path_is_others = True

    async def stop(self) -> None:
        """Stop serving and remove the control socket."""
        await asyncio.gather(*(listener.stop() for listener in self._listeners.values()))
        for sock in (*self._given.values(), *(sock for _, sock in self._waiting)):
            sock.close()
        if self._socket_path is not None and not self._path_is_others:
            with contextlib.suppress(FileNotFoundError):
                self._socket_path.unlink()


def control_name(path: Path) -> str:
    """Return the name by which a supervisor and its successor identify a control socket; the path may be relative."""
    return str(path.absolute())


def _open_control(path: Path, is_chosen: bool) -> socket.socket:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if (why := unsafe_folder(path)) and not is_chosen:
            raise ListenError(unsafe_folder_refusal(path, why))
        if why:
            log.warning(chosen_folder_warning(path, why))
        return _control_socket(path)
    except OSError as exc:
        raise ListenError(f"control socket {path}: {(exc.strerror or str(exc)).lower()}") from exc


def _control_socket(path: Path) -> socket.socket:
    try:
        return bind_unix(path, 0o600)
    except FileExistsError as exc:
        raise ListenError(f"control socket {path}: it exists and is not a socket") from exc
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        raise ListenError(f"a daemon is running already: it answers on {path} (see `spectrum status`)") from exc


class MetricsActor(Actor):
    """Serves the metrics from the start on; another address requires a restart.

    Args:
        admin: The servers.
        app: What is served.
    """

    def __init__(self, admin: AdminServer, app: web.Application) -> None:
        self._admin = admin
        self._app = app

    async def prepare(self, change: Change) -> None:
        """Listen on the address.

        Raises:
            RolloutError: If the address is not available.
        """
        if change.is_first and change.after.config.metrics:
            try:
                await self._admin.serve_metrics(self._app, change.after.config.metrics.listen)
            except ListenError as exc:
                raise RolloutError(str(exc)) from exc
