import re
from ipaddress import ip_address

import pytest

from spectrum.core.address import (
    OriginAddress,
    PortRange,
    Protocol,
    SocketAddress,
    is_name,
    parse_address,
    parse_local_address,
    parse_origin,
    parse_ports,
    parse_protocol,
    parse_reachable_address,
    parse_socket_address,
)


@pytest.mark.parametrize(
    ("text", "ports"), [("22", PortRange(22, 22)), (22, PortRange(22, 22)), ("1-65535", PortRange(1, 65535))]
)
def test_ports(text, ports):
    assert parse_ports(text) == ports


@pytest.mark.parametrize("text", ["", "0", "65536", "9-8", "1-", "-1", "a", "1-2-3", "١"])
def test_no_ports(text):
    with pytest.raises(ValueError):
        parse_ports(text)


def test_port_range():
    assert len(PortRange(8000, 8009)) == 10
    assert 8005 in PortRange(8000, 8009)
    assert 8010 not in PortRange(8000, 8009)
    assert str(PortRange(1, 1)) == "1"


@pytest.mark.parametrize("text", ["tcp/22", "tcp/8000-8009", "udp/53"])
def test_protocol(text):
    assert str(parse_protocol(text)) == text
    assert isinstance(parse_protocol(text), Protocol)


@pytest.mark.parametrize("text", ["tcp", "22", "tcp:22", "sctp/22", "tcp/"])
def test_no_protocol(text):
    with pytest.raises(ValueError):
        parse_protocol(text)


@pytest.mark.parametrize("text", ["tcp://192.0.2.1:22", "tcp://[2001:db8::1]:3000-4000"])
def test_origin(text):
    assert str(parse_origin(text)) == text


def test_origin_is_unmapped():
    assert parse_origin("tcp://[::ffff:192.0.2.1]:1") == OriginAddress("tcp", ip_address("192.0.2.1"), PortRange(1, 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.0.2.1:22", "tcp://"),
        ("tcp://192.0.2.1", "no port"),
        ("tcp://2001:db8::1:22", "in brackets"),
        ("tcp://[192.0.2.1]:22", "in brackets"),
        ("tcp://example.org:22", "origin_dns"),
        ("tcp://192.0.2.1:0", "between 1 and 65535"),
        ("tcp://0.0.0.0:22", "is not reachable"),
        ("tcp://[::ffff:0.0.0.0]:22", "is not reachable"),
        ("tcp://192.0.2.300:22", "not an IP address"),
    ],
)
def test_no_origin(text, says):
    with pytest.raises(ValueError, match=says):
        parse_origin(text)


@pytest.mark.parametrize("text", ["127.0.0.1:9090", "[::1]:9090"])
def test_socket_address(text):
    assert str(parse_socket_address(text)) == text
    assert isinstance(parse_socket_address(text), SocketAddress)


def test_socket_address_is_unmapped():
    assert str(parse_socket_address("[::ffff:127.0.0.1]:9090")) == "127.0.0.1:9090"


@pytest.mark.parametrize("text", ["9090", "localhost:9090", "127.0.0.1:", "127.0.0.1:1-2"])
def test_no_socket_address(text):
    with pytest.raises(ValueError):
        parse_socket_address(text)


def test_address():
    assert parse_address("::ffff:1.2.3.4") == ip_address("1.2.3.4")
    with pytest.raises(ValueError, match="not an IP address"):
        parse_address("1.2.3")


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (
            parse_address,
            "fe80::5%d0",
            "'fe80::5%d0': addresses with a zone (%d0) are not supported; write another address",
        ),
        (parse_address, "2001:db8::1%2", "addresses with a zone (%2)"),
        (parse_address, "fe80::5%", "'fe80::5%' is not an IP address"),
        (parse_origin, "tcp://[fe80::5%d0]:22", "'fe80::5%d0': addresses with a zone"),
        (parse_origin, "udp://[fe80::5]:22", "'fe80::5': link-local IPv6 addresses are not supported"),
        (parse_socket_address, "[fe80::5%d0]:22", "'fe80::5%d0': addresses with a zone"),
        (parse_socket_address, "[fe80::5]:22", "'fe80::5': link-local IPv6 addresses"),
        (parse_local_address, "fe80::5", "'fe80::5': link-local IPv6 addresses"),
        (parse_reachable_address, "febf::5", "'febf::5': link-local IPv6 addresses"),
        (parse_reachable_address, "0.0.0.0", "'0.0.0.0': 0.0.0.0 is not reachable"),
        (parse_reachable_address, "ff02::1", "ff02::1 is not reachable"),
    ],
)
def test_addresses_of_one_link(parse, text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text)


def test_clients_may_be_link_local_and_ipv4_has_no_zones():
    assert parse_address("fe80::5") == ip_address("fe80::5")
    assert parse_reachable_address("169.254.0.1") == ip_address("169.254.0.1")
    assert parse_local_address("0.0.0.0") == ip_address("0.0.0.0")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("localhost", True),
        ("a.example.", True),
        ("_sip._tcp.x", True),
        ("-a", False),
        ("1.2.3.4", False),
        ("a" * 64, False),
        ("", False),
    ],
)
def test_is_name(text, valid):
    assert is_name(text) is valid
