"""The messages against RFC 792/1191 and RFC 4443, read back field by field."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.icmp import checksum, echo_request, packet_too_big, parse_echo_reply

CLIENT4, EDGE4 = b"\xc0\x00\x02\x01", b"\xc6\x33\x64\x01"
CLIENT6, EDGE6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02"


def test_ipv4():
    message = packet_too_big(CLIENT4, 40000, EDGE4, 53, 1372)
    kind, code, _, unused, mtu = struct.unpack("!BBHHH", message[:8])
    assert (kind, code, unused, mtu) == (3, 4, 0, 1400)
    assert checksum(message) == 0
    quoted = message[8:28]
    assert quoted[0] == 0x45
    assert quoted[9] == 17
    assert checksum(quoted) == 0
    assert (quoted[12:16], quoted[16:20]) == (CLIENT4, EDGE4)
    assert struct.unpack("!HH", message[28:32]) == (40000, 53)
    assert len(message) == 36


def test_ipv6():
    message = packet_too_big(CLIENT6, 40000, EDGE6, 53, 1352)
    assert struct.unpack("!BBHI", message[:8]) == (2, 0, 0, 1400)
    assert message[8] >> 4 == 6
    assert message[14] == 17
    assert (message[16:32], message[32:48]) == (CLIENT6, EDGE6)
    assert struct.unpack("!HH", message[48:52]) == (40000, 53)
    assert len(message) == 56


@given(st.sampled_from([(CLIENT4, EDGE4), (CLIENT6, EDGE6)]), st.integers(0, 65535))
def test_every_size_makes_a_message(addresses, size):
    message = packet_too_big(addresses[0], 1, addresses[1], 2, size)
    assert len(message) == (36 if len(addresses[0]) == 4 else 56)


@pytest.mark.parametrize(("data", "sum_"), [(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 0xFFFF - 0xDDF2), (b"", 0xFFFF)])
def test_checksum(data, sum_):
    """The example of RFC 1071, section 3."""
    assert checksum(data) == sum_


@given(
    st.booleans(), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 40).map(lambda pairs: bytes(2 * pairs))
)
def test_an_echo_comes_back(ipv6, identifier, sequence, data):
    request = echo_request(ipv6, identifier, sequence, data)
    kind, code, sum_, *numbers = struct.unpack("!BBHHH", request[:8])
    assert (kind, code, numbers) == (128 if ipv6 else 8, 0, [identifier, sequence])
    assert sum_ == 0 if ipv6 else checksum(request) == 0
    assert parse_echo_reply(request) is None
    reply = bytes([129 if ipv6 else 0]) + request[1:]
    assert parse_echo_reply(reply) == (identifier, sequence, data)
    assert parse_echo_reply(reply[:7]) is None
    assert parse_echo_reply(reply[:1] + b"\1" + reply[2:]) is None
