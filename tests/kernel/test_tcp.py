import socket

import pytest

from spectrum.core.tcp_options import TcpOptions
from spectrum.kernel.sockets import open_listeners
from spectrum.kernel.tcp import (
    FAST_OPEN_QUEUE,
    TCP_NOTSENT_LOWAT,
    accepts_fast_open,
    allowed_congestion_controls,
    congestion_controls,
    default_congestion_control,
    tune_listener,
)


def of(sock):
    """Return the options of a socket."""
    algorithm = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).split(b"\0")[0].decode()
    return algorithm, *(
        sock.getsockopt(socket.IPPROTO_TCP, option) for option in (TCP_NOTSENT_LOWAT, socket.TCP_FASTOPEN)
    )


def test_accepted_sockets_inherit_them_and_they_can_be_taken_back(free_port):
    port = free_port()
    (listener,) = open_listeners("127.0.0.1", port, 1)
    with listener:
        before = of(listener)
        tune_listener(listener, TcpOptions("reno", 65536, True), default_congestion_control())
        assert of(listener) == ("reno", 65536, FAST_OPEN_QUEUE)
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            with accepted:
                assert of(accepted)[:2] == ("reno", 65536)
        tune_listener(listener, TcpOptions(), default_congestion_control())
        assert of(listener) == before
        with pytest.raises(OSError, match="No such file"):
            tune_listener(listener, TcpOptions("none_such"), default_congestion_control())


def test_what_the_kernel_has():
    assert default_congestion_control() in allowed_congestion_controls()
    assert set(allowed_congestion_controls()) <= set(congestion_controls())
    assert accepts_fast_open() in (True, False)
