"""The kernel's TCP: congestion control algorithms, and options of listening sockets that accepted ones inherit."""

import socket
from pathlib import Path

from spectrum.core.tcp_options import TcpOptions

_SETTINGS = Path("/proc/sys/net/ipv4")
# linux/tcp.h; Python 3.11's socket module has no name for it.
TCP_NOTSENT_LOWAT = 25
# Queue of Fast Open handshakes that are not accepted yet; beyond it clients get an ordinary one (tcp(7), TCP_FASTOPEN).
FAST_OPEN_QUEUE = 1024
# Bit of net.ipv4.tcp_fastopen: listeners may take data in a SYN (linux/Documentation/networking/ip-sysctl.rst).
_FAST_OPEN_SERVER = 2
_NAME_BYTES = 16


def congestion_controls() -> list[str]:
    """Return the algorithms that this kernel has loaded."""
    return _words("tcp_available_congestion_control")


def allowed_congestion_controls() -> list[str]:
    """Return those that a process without CAP_NET_ADMIN, such as a worker, may choose."""
    return _words("tcp_allowed_congestion_control")


def default_congestion_control() -> str:
    """Return the algorithm of sockets that choose none."""
    return _words("tcp_congestion_control")[0]


def accepts_fast_open() -> bool:
    """Return whether listeners may take data in a SYN."""
    return any(int(word) & _FAST_OPEN_SERVER for word in _words("tcp_fastopen"))


def tune_listener(sock: socket.socket, options: TcpOptions, default: str) -> None:
    """Set options on a listening socket, which accepted sockets inherit.

    Other options are reset to the machine's values, the algorithm to `default`. The algorithm is set only if it
    differs: a socket with an explicit one ignores that of its route (ip-route(8), congctl).

    Raises:
        OSError: If the kernel does not have the algorithm, or not for this process.
    """
    wanted = options.congestion_control or default
    found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES).split(b"\0")[0].decode()
    if found != wanted:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, wanted.encode())
    _set(sock, TCP_NOTSENT_LOWAT, options.notsent_lowat)
    _set(sock, socket.TCP_FASTOPEN, FAST_OPEN_QUEUE if options.fast_open else 0)


def _set(sock: socket.socket, option: int, value: int) -> None:
    if sock.getsockopt(socket.IPPROTO_TCP, option) != value:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _words(name: str) -> list[str]:
    return (_SETTINGS / name).read_text(encoding="ascii").split()
