"""TCP options of a session's sockets, as compiled for workers."""

import msgspec


class TcpOptions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Options of one side of an app's sessions, clients or origins.

    Attributes:
        congestion_control: The algorithm (tcp(7), TCP_CONGESTION); "" for the machine's default.
        notsent_lowat: Limit of unsent bytes in the kernel (TCP_NOTSENT_LOWAT); 0 for the machine's default, usually no
            limit.
        fast_open: Clients may send data with their SYN (RFC 7413).
    """

    congestion_control: str = ""
    notsent_lowat: int = 0
    fast_open: bool = False
