import errno
import socket

import pytest

from spectrum.probes.target import ProbeFailure, connect, datagram_header, translated
from tests.probes.servers import closed_port, serving, silent, target


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (OSError("odd"), "odd"),
        (EOFError(), "closed before it answered"),
    ],
)
def test_errors_become_failures(error, reason):
    with pytest.raises(ProbeFailure, match=reason), translated():
        raise error


async def test_connecting():
    async with serving(silent) as port:
        sock, rtt_s = await connect(target(port, type="tcp"))
        with sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert 0 < rtt_s < 1
    with pytest.raises(ConnectionRefusedError):
        await connect(target(closed_port(), type="tcp"))


def test_no_header_over_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        assert datagram_header(target(9, type="udp_icmp"), sock) == b""
        assert target(address="::1", type="tcp").family == socket.AF_INET6
