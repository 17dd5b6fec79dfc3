"""The TLS ClientHello: its server name and ALPN protocols (RFC 8446 section 4.1.2, RFC 6066).

It is read, not answered: its content determines where TLS is terminated.
"""

from dataclasses import dataclass

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16
# RFC 8446 section 5.1: the limit of a record.
_MAX_RECORD_BYTES = 16384
_RECORD_HEADER_BYTES, _MESSAGE_HEADER_BYTES = 5, 4
# Limit of a ClientHello. With post-quantum key shares they have about 2 kB, with a ticket that contains a long client
# certificate 10 kB and more. HAProxy (tune.bufsize) and nginx (preread_buffer_size) read 16 kB by default.
MAX_HELLO_BYTES = 16384
# The same with the headers of its records, which may be short.
MAX_WIRE_BYTES = 24576


class ClientHelloError(ValueError):
    """The bytes cannot be the begin of a ClientHello."""


class ClientHelloTooLong(ClientHelloError):
    """A ClientHello longer than the limit."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The properties of a ClientHello.

    Attributes:
        server_name: The name in the server_name extension, in lower case; "" without one.
        alpn: The protocols that the client offers.
    """

    server_name: str = ""
    alpn: tuple[str, ...] = ()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self.data):
            raise ClientHelloError("a part is longer than what holds it")
        self._at += count
        return self.data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> "_Reader":
        """Return the bytes after a length of `size` bytes."""
        return _Reader(self.take(self.number(size)))

    @property
    def more(self) -> bool:
        return self._at < len(self.data)


class HelloReader:
    """Reads the ClientHello at the start of a connection whose bytes arrive over time.

    Bytes are parsed once: a client that sends byte by byte causes no more work than one that sends all at once.

    Attributes:
        needs: The number of bytes that must be there before another `read` can succeed.
    """

    __slots__ = ("_at", "_found", "_head", "needs")

    def __init__(self) -> None:
        self.needs = 1
        # The offset of the first incomplete record, and of the message in the records before it: its length, and its
        # header.
        self._at = 0
        self._found = 0
        self._head = b""

    def read(self, data: bytes) -> ClientHello | None:
        """Return the ClientHello at the start of a connection's bytes, or None when more bytes are needed.

        Args:
            data: All received bytes, at least as many as at the last call.

        Raises:
            ClientHelloTooLong: If it is a ClientHello longer than the limit.
            ClientHelloError: If no continuation of `data` could be a ClientHello.
        """
        if data and data[0] != _HANDSHAKE:
            raise ClientHelloError("not TLS")
        while True:
            body = self._at + _RECORD_HEADER_BYTES
            if len(data) < body:
                self.needs = body + 1 if data else 1  # records are not empty
                return None
            kind, version, length = data[self._at], data[self._at + 1], int.from_bytes(data[body - 2 : body], "big")
            if kind != _HANDSHAKE or version != 3 or not 0 < length <= _MAX_RECORD_BYTES:
                raise ClientHelloError("not a handshake record")
            missing = _MESSAGE_HEADER_BYTES - len(self._head)
            head = self._head + data[body : body + min(missing, length)]
            if head and head[0] != _CLIENT_HELLO:
                raise ClientHelloError("not a ClientHello")
            size = int.from_bytes(head[1:], "big") if len(head) == _MESSAGE_HEADER_BYTES else None
            if size is not None:
                missing = _MESSAGE_HEADER_BYTES + size - self._found
            self.needs = body + min(missing, length)
            if (size or 0) > MAX_HELLO_BYTES or self.needs > MAX_WIRE_BYTES:
                raise ClientHelloTooLong(f"a ClientHello of more than {MAX_HELLO_BYTES} bytes")
            if size is not None and missing <= length and len(data) >= self.needs:
                return _read(_Reader(_message(data, size)))
            if len(data) < body + length:
                return None
            self._at, self._found, self._head = body + length, self._found + length, head


def parse(data: bytes) -> ClientHello | None:
    """Return the ClientHello at the start of a connection's bytes, or None when more bytes are needed.

    Raises:
        ClientHelloTooLong: If it is a ClientHello longer than the limit.
        ClientHelloError: If no continuation of `data` could be a ClientHello.
    """
    return HelloReader().read(data)


def _message(data: bytes, size: int) -> bytes:
    """Return the body of the first handshake message, which may span several records."""
    parts, at, missing = [], 0, _MESSAGE_HEADER_BYTES + size
    while missing > 0:
        length = int.from_bytes(data[at + 3 : at + _RECORD_HEADER_BYTES], "big")
        at += _RECORD_HEADER_BYTES
        parts.append(data[at : at + min(length, missing)])
        at += length
        missing -= length
    return b"".join(parts)[_MESSAGE_HEADER_BYTES:]


def _read(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)  # version and random
    hello.block(1)  # session id
    hello.block(2)  # cipher suites
    hello.block(1)  # compression methods
    server_name = ""
    alpn: tuple[str, ...] = ()
    extensions = hello.block(2) if hello.more else hello
    while extensions.more:
        kind, body = extensions.number(2), extensions.block(2)
        if kind == _SERVER_NAME and body.more:
            server_name = _server_name(body.block(2))
        elif kind == _ALPN:
            alpn = tuple(_protocols(body.block(2)))
    return ClientHello(server_name, alpn)


def _server_name(names: _Reader) -> str:
    while names.more:
        kind, name = names.number(1), names.block(2)
        if kind == 0:
            if not name.data.isascii():
                raise ClientHelloError("a name that is not ASCII")
            return name.data.decode("ascii").lower().rstrip(".")
    return ""


def _protocols(names: _Reader) -> list[str]:
    found = []
    while names.more:
        found.append(names.block(1).data.decode("latin-1"))
    return found
