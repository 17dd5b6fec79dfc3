"""Sinks that send each record as a message: to a syslog server, to the local one, and to systemd's journal."""

import os
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from termios import TIOCOUTQ

from spectrum.core.records.formats import FormattedRecord, RecordFormat
from spectrum.core.records.journal import Batch

# Deadline for a connection, for a message when the buffer is full, and for the acknowledgement by the peer's kernel.
TIMEOUT_S = 10.0
FIRST_LOOK_S = 0.0005
MAX_LOOK_S = 0.05

# Makes a message of a record.
Pack = Callable[[FormattedRecord], bytes]


class SocketSink(ABC):
    """Sends the records of each batch as messages over a socket, which is opened on demand.

    Args:
        form: The format of records.
        pack: Makes the messages.
    """

    def __init__(self, form: RecordFormat, pack: Pack) -> None:
        self._form = form
        self._pack = pack
        self._socket: socket.socket | None = None

    def deliver(self, batches: Sequence[Batch]) -> None:
        """Send the records of batches.

        Raises:
            OSError: If they cannot be sent, or the acknowledgement does not come in time.
        """
        sock = self._connected()
        try:
            self._send(sock, (self._pack(one) for batch in batches for one in self._form.each(batch)))
        except OSError:
            self.close()
            raise

    def flush(self) -> None:  # noqa: B027, no sink of this kind has more to do
        """Do nothing: what was delivered is acknowledged, or cannot be tracked."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @abstractmethod
    def _connected(self) -> socket.socket:
        """Return the socket, opened if necessary."""

    @abstractmethod
    def _send(self, sock: socket.socket, messages: Iterable[bytes]) -> None:
        """Send messages."""


class DatagramSink(SocketSink):
    """Sends a datagram for each record, over UDP, which does not confirm arrival, or to a UNIX socket.

    Args:
        form: The format of records.
        pack: Makes the messages.
        address: A path, or a host and a port.
    """

    def __init__(self, form: RecordFormat, pack: Pack, address: Path | tuple[str, int]) -> None:
        super().__init__(form, pack)
        self._address = address

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        family: int = socket.AF_UNIX
        where: object = str(self._address)
        if not isinstance(self._address, Path):
            family, _, _, _, where = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.settimeout(TIMEOUT_S)
            sock.connect(where)  # type: ignore[arg-type]
        except OSError:
            sock.close()
            raise
        self._socket = sock
        return sock

    def _send(self, sock: socket.socket, messages: Iterable[bytes]) -> None:
        for message in messages:
            sock.send(message)


class StreamSink(SocketSink):
    """Sends messages over TCP or TLS, and waits until the receiver's kernel has acknowledged them.

    Syslog has no acknowledgement (RFC 6587, section 5; RFC 5425): messages that the receiver's kernel has, and its
    program does not read before it ends, are lost.

    Args:
        form: The format of records.
        pack: Makes the messages, each with its length.
        host, port: Of the receiver.
        tls: How its certificate is checked; None for plain text.
    """

    def __init__(
        self,
        form: RecordFormat,
        pack: Pack,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(form, pack)
        self._host, self._port = host, port
        self._tls = tls

    def _connected(self) -> socket.socket:
        if self._socket is not None and not _has_ended(self._socket):
            return self._socket
        self.close()
        sock = socket.create_connection((self._host, self._port), TIMEOUT_S)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                # Read for each connection: certificates are replaced.
                sock = self._tls().wrap_socket(sock, server_hostname=self._host)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        return sock

    def _send(self, sock: socket.socket, messages: Iterable[bytes]) -> None:
        sock.sendall(b"".join(messages))
        _wait_acknowledged(sock)


def tls_context(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Return the TLS context for a receiver.

    Args:
        ca: A file of trusted authorities; "" for those of the system.
        cert, key: Files of the client certificate; "" for none.

    Raises:
        OSError: If a file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca or None)
    if cert:
        context.load_cert_chain(cert, key or None)
    return context


def _has_ended(sock: socket.socket) -> bool:
    """Return whether the receiver has closed a connection: it never sends anything else that would be read here."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(0)
        try:
            # Tickets and the close_notify are read.
            return sock.recv(1) == b""
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                sock.settimeout(TIMEOUT_S)
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _wait_acknowledged(sock: socket.socket) -> None:
    """Wait until everything that was sent is acknowledged (tcp(7), SIOCOUTQ)."""
    deadline, pause_s = time.monotonic() + TIMEOUT_S, FIRST_LOOK_S
    while int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), "little"):
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        if time.monotonic() > deadline:
            raise TimeoutError("the receiver does not acknowledge what was sent")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_LOOK_S)
    # A connection that was reset has no unsent data, either.
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))
