"""PROXY headers as nearly all proxies send them, read in few steps.

What is unusual (TLVs, LOCAL, UNKNOWN, a part of a header, a fault) is left to `spectrum.wire.parse`, which takes ten
times as long: 13 µs, where a whole session costs 110.
"""

from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct

_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21"
_INET = Struct("!4s4sHH")
_INET6 = Struct("!16s16sHH")
# Version and command aside: family and transport, and the length of the addresses without a TLV behind them.
_PLAIN_INET = b"\x11\x00\x0c"
_PLAIN_INET6 = b"\x21\x00\x24"
_FAMILIES = {b"TCP4": AF_INET, b"TCP6": AF_INET6}
# Section 2.1: the longest line, with its end.
_MAX_V1_BYTES = 107

# client, client port, edge, edge port, length of the header
Told = tuple[bytes, int, bytes, int, int]


def read_plain(data: bytes) -> Told | None:
    """Return what a TCP connection's header tells; None where it is none of the two plain forms, or not whole."""
    if data.startswith(_V2):
        kind = data[13:16]
        if kind == _PLAIN_INET and len(data) >= 28:
            client, edge, client_port, edge_port = _INET.unpack_from(data, 16)
            return client, client_port, edge, edge_port, 28
        if kind == _PLAIN_INET6 and len(data) >= 52:
            client, edge, client_port, edge_port = _INET6.unpack_from(data, 16)
            return client, client_port, edge, edge_port, 52
        return None
    end = data.find(b"\r\n", 0, _MAX_V1_BYTES)
    words = data[:end].split(b" ") if end > 0 else ()
    if len(words) != 6 or words[0] != b"PROXY" or words[1] not in _FAMILIES:
        return None
    _, family, client_text, edge_text, *ports = words
    try:
        client = inet_pton(_FAMILIES[family], client_text.decode("ascii"))
        edge = inet_pton(_FAMILIES[family], edge_text.decode("ascii"))
    except (OSError, ValueError):
        return None
    numbers = [int(port) for port in ports if port.isdigit() and len(port) < 6 and port[:1] != b"0"]
    if len(numbers) != 2 or max(numbers) > 0xFFFF:
        return None
    return client, numbers[0], edge, numbers[1], end + 2
