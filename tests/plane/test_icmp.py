"""Real ICMP to a real socket: the kernel itself says whether it understood."""

import errno
import socket

import pytest

from spectrum.plane import icmp
from spectrum.plane.icmp import IcmpAnswers
from tests.engine.harness import eventually

IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO = 23, 2


# The kernel remembers for minutes what it is told of an address: one that nobody else uses, and a length that hurts
# nobody.
@pytest.mark.parametrize("host", ["127.77.77.77", "::1"])
def test_a_client_learns_that_its_datagram_was_too_big(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    answers = IcmpAnswers()
    with socket.socket(family, socket.SOCK_DGRAM) as client, socket.socket(family, socket.SOCK_DGRAM) as edge:
        edge.bind((host, 0))
        client.bind((host, 0))
        level, option, value = (
            (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
            if family == socket.AF_INET
            else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
        )
        client.setsockopt(level, option, value)
        client.connect(edge.getsockname())
        answers.tell(packed, client.getsockname()[1], packed, edge.getsockname()[1], 65_000)
        # The error of the answer is the socket's (ip(7): EMSGSIZE).
        eventually(lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE)
    answers.close()


def test_an_answer_that_cannot_be_sent_is_left_out():
    answers = IcmpAnswers()
    answers.tell(b"\xff\xff\xff\xff", 1, b"\x7f\0\0\1", 2, 1000)
    answers.close()


def test_without_the_capability_there_are_none(monkeypatch, caplog):
    def forbidden(*_):
        raise PermissionError

    monkeypatch.setattr(icmp.socket, "socket", forbidden)
    answers = IcmpAnswers()
    for _ in range(3):
        answers.tell(b"\x7f\0\0\1", 1, b"\x7f\0\0\1", 2, 1000)
    assert caplog.text.count("CAP_NET_RAW") == 1
    answers.close()
