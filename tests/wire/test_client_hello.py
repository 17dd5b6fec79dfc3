"""ClientHellos of OpenSSL, whole and in every part; records that are split; and what is none."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.wire.client_hello import (
    MAX_HELLO_BYTES,
    ClientHello,
    ClientHelloError,
    ClientHelloTooLong,
    HelloReader,
    parse,
)


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


@given(st.lists(st.integers(1, 60), max_size=20), st.lists(st.integers(1, 200), max_size=20))
def test_a_reader_finds_the_same_in_any_pieces_and_asks_for_what_is_missing(sizes, pieces):
    data = records(HELLO, sizes)
    reader, there = HelloReader(), 0
    for piece in [*pieces, len(data)]:
        there = min(len(data), there + piece)
        found = reader.read(data[:there])
        if found is None:
            assert there < reader.needs <= len(data)
            # Less tells nothing more.
            assert reader.read(data[: reader.needs - 1]) is None
    assert found == parse(data)


@given(st.lists(st.integers(1, 60), max_size=20))
def test_a_reader_that_waits_for_what_it_needs_looks_twice_for_each_record(sizes):
    data = records(HELLO, sizes)
    reader, looks = HelloReader(), 1
    while reader.read(data[: reader.needs]) is None:
        looks += 1
    assert looks <= 3 + 2 * (len(sizes) + 1)


@pytest.mark.parametrize(("size", "in_each"), [(MAX_HELLO_BYTES + 1, 16384), (MAX_HELLO_BYTES, 8)])
def test_what_is_too_long(size, in_each):
    message = b"\x01" + size.to_bytes(3, "big") + bytes(size)
    parts = [message[i : i + in_each] for i in range(0, len(message), in_each)]
    data = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)
    with pytest.raises(ClientHelloTooLong):
        parse(data[:30_000])


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
