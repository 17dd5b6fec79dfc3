"""ClientHellos of OpenSSL, whole and in every part; records that are split; and what is none."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.client_hello import ClientHello, ClientHelloError, parse


def hello(name="a.example", alpn=("h2", "http/1.1"), version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version:
        context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("name", "alpn", "expected"),
    [
        ("a.example", ("h2", "http/1.1"), ClientHello("a.example", ("h2", "http/1.1"))),
        ("A.Example", (), ClientHello("a.example")),
        (None, ("acme-tls/1",), ClientHello("", ("acme-tls/1",))),
        (None, (), ClientHello()),
    ],
)
def test_openssl(name, alpn, expected, version):
    data = hello(name, alpn, version)
    assert parse(data) == expected
    assert parse(data + b"after") == expected
    assert [parse(data[:n]) for n in range(len(data))] == [None] * len(data)


def records(data, sizes):
    """The same handshake message in other records."""
    body, out = data[5:], b""
    for size in sizes:
        out += b"\x16\x03\x01" + min(size, len(body)).to_bytes(2, "big") + body[:size]
        body = body[size:]
    return out + (b"\x16\x03\x01" + len(body).to_bytes(2, "big") + body if body else b"")


@given(st.lists(st.integers(1, 60), max_size=6))
def test_a_message_in_several_records(sizes):
    data = records(HELLO, sizes)
    assert parse(data) == ClientHello("a.example", ("h2", "http/1.1"))
    assert all(parse(data[:n]) is None for n in range(0, len(data), 7))


HELLO = hello()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x80\x2e\x01\x03\x01",  # SSLv2
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x02\x01\x00\x05\x01\0\0\1\0",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        HELLO[:-1] + b"\xff" if HELLO[-1] != 0xFF else HELLO,
    ][:10],
)
def test_what_is_none(data):
    with pytest.raises(ClientHelloError):
        parse(data)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_nothing_else_is_raised(tail, cut):
    for data in (tail, HELLO[:cut] + tail, b"\x16\x03\x01" + tail):
        try:
            assert parse(data) is None or isinstance(parse(data), ClientHello)
        except ClientHelloError:
            pass
