"""An HTTP connection: uvicorn's, with deadlines for the client, a limit of connections, and errors as JSON."""

import asyncio
import logging
import socket
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from spectrum.api.envelope import ErrorDetail, failure
from spectrum.kernel.peers import Peer
from spectrum.log import RareWarning

log = logging.getLogger(__name__)

# Deadline of the headers, from the first byte of the request; nginx's is a minute.
HEADERS_S = 10.0
# Deadline of the body, from the end of the headers: 1 MiB at 300 kbit/s.
BODY_S = 30.0
# The client reads nothing of an answer for this time; nginx's send_timeout.
TAKE_S = 60.0
# Idle time before and between requests; nginx's keepalive_timeout. Official clients keep connections for less, and
# Chromium what it connected in advance for 10 s: a request on such a connection that the server closes just then is
# not sent again.
IDLE_S = 75
# Size of all headers: nginx's large_client_header_buffers.
MAX_HEADER_BYTES = 32 * 1024
BAD_REQUEST = 6003
TOO_SLOW = 6008
# Codes of Cloudflare's edge at its limits.
WARNING_INTERVAL_S = 10.0
_many = RareWarning(log, WARNING_INTERVAL_S)


class StrictConnection(h11.Connection):
    """h11's connection, which also refuses requests that other servers may parse differently (RFC 9112, 6.1, 11.2)."""

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            h11.RemoteProtocolError: If the input is not a valid request.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("a body with two lengths")
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("another version of HTTP")
        return event


class Connection(H11Protocol):
    """A connection of a client.

    The application finds in `scope["state"]`: `peer`, the process at the other end of a UNIX socket, or None.

    Attributes:
        most: The limit of open connections, for local clients and for others each. Beyond it, the connection that has
            been idle for longest is closed; if none is idle, the new one is refused.
    """

    most = 200

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the limit is reached."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self.conn = StrictConnection(h11.SERVER, MAX_HEADER_BYTES)
        self._idle_since = self.loop.time()
        super().connection_made(transport)
        if len(self.connections) > self.most and not self._close_another():
            _many.say("more than %d connections: %s is turned away", self.most, self.client or "a local client")
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        is_local = sock is not None and sock.family == socket.AF_UNIX
        self.app_state = {**self.app_state, "peer": Peer.from_socket(sock) if is_local else None}
        self._limit(IDLE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._limit(None)
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed received bytes to the parser."""
        if self._is_silent:
            self._limit(HEADERS_S)
        super().data_received(data)

    def handle_events(self) -> None:
        """Handle parsed events, then start the deadline of what the client has to send next."""
        before = self.conn.their_state
        super().handle_events()
        after = self.conn.their_state
        if after is not h11.IDLE and after is not h11.SEND_BODY:
            self._limit(None)
        elif after is h11.SEND_BODY and before is not h11.SEND_BODY:
            self._limit(BODY_S)
        elif after is h11.IDLE and self._deadline is None and self.conn.trailing_data[0]:
            self._limit(HEADERS_S)

    def pause_writing(self) -> None:
        """Start a deadline for a client that does not read."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """Stop that deadline: the client has read nearly everything."""
        super().resume_writing()
        self._wait_no_longer()

    def _await_taking(self) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        self._taking = self.loop.call_later(TAKE_S, self._judge_taking, waiting_bytes)

    def _judge_taking(self, before_bytes: int) -> None:
        """Start another deadline if the client has read something since, or close the connection."""
        if self.transport.get_write_buffer_size() < before_bytes:
            self._await_taking()
        else:
            self.transport.abort()

    def _wait_no_longer(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def _is_silent(self) -> bool:
        """Whether the client has sent nothing of its next request."""
        return self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    @property
    def _is_idle(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing()

    def _close_another(self) -> bool:
        """Close the connection that has been idle for longest; return whether there was one."""
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self and one._is_idle]
        if not others:
            return False
        min(others, key=lambda one: one._idle_since).transport.abort()
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP, and close: the next request cannot be found in the input (RFC 9112, 9.6)."""
        self._refuse(400, BAD_REQUEST, "Invalid HTTP request")

    def _limit(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        if self._is_silent:
            self.transport.close()
            return
        what = "headers" if self.conn.their_state is h11.IDLE else "body"
        self._refuse(408, TOO_SLOW, f"The request's {what} did not come in time")

    def _refuse(self, status: int, code: int, message: str) -> None:
        """Answer in place of the application, unless it has begun to answer, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = failure(status, [ErrorDetail(code, message)])
            headers = [*response.raw_headers, (b"connection", b"close")]
            parts: list[Any] = [
                h11.Response(status_code=status, headers=headers, reason=b""),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ]
            for part in parts:
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()
