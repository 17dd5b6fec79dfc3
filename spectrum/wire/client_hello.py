"""The TLS ClientHello: which name a client asks for, and which protocols it offers (RFC 8446 section 4.1.2, RFC 6066).

It is read, never answered: what follows decides who terminates the TLS.
"""

from dataclasses import dataclass

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16
# RFC 8446 section 5.1: a record holds at most so much.
_MAX_RECORD_BYTES = 16384
# Of a ClientHello that is waited for; with post-quantum key shares they have about 2 kB.
MAX_HELLO_BYTES = 16384


class ClientHelloError(ValueError):
    """Bytes that no ClientHello begins with."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What it says.

    Attributes:
        server_name: The name in the server_name extension, in lower case; "" where there is none.
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
        """What follows a length of `size` bytes."""
        return _Reader(self.take(self.number(size)))

    @property
    def more(self) -> bool:
        return self._at < len(self.data)


def parse(data: bytes) -> ClientHello | None:
    """Return the ClientHello at the start of a connection's bytes, or None when more bytes are needed.

    Raises:
        ClientHelloError: If no continuation of `data` could be a ClientHello.
    """
    message = _handshake(data)
    if message is None:
        return None
    return _read(_Reader(message))


def _handshake(data: bytes) -> bytes | None:
    """The body of the first handshake message, which may lie in several records."""
    found, at = b"", 0
    while True:
        if len(data) - at < 5:
            if at == 0 and data and data[0] != _HANDSHAKE:
                raise ClientHelloError("not TLS")
            return None
        kind, version, length = data[at], data[at + 1], int.from_bytes(data[at + 3 : at + 5], "big")
        if kind != _HANDSHAKE or version != 3 or not 0 < length <= _MAX_RECORD_BYTES:
            raise ClientHelloError("not a handshake record")
        found += data[at + 5 : at + 5 + length]
        at += 5 + length
        if found and found[0] != _CLIENT_HELLO:
            raise ClientHelloError("not a ClientHello")
        if len(found) >= 4:
            size = int.from_bytes(found[1:4], "big")
            if size > MAX_HELLO_BYTES:
                raise ClientHelloError(f"a ClientHello of {size} bytes")
            if len(found) >= 4 + size:
                return found[4 : 4 + size]
        if at >= len(data):
            return None


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
