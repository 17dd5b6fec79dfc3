"""Contexts made from snapshots, and what origins are told."""

import pytest

from spectrum.core.tls.settings import CertificateSettings
from spectrum.plane.tls import Tls, told_of
from spectrum.wire import Tlv, TlvType
from spectrum.wire.proxy_protocol import SslClient, SslPart, pack_tlvs, unpack_tlvs
from tests.certificates import Authority
from tests.plane.parts import Parts

AUTHORITY = Authority()
FACTS = (b"TLSv1.3", b"TLS_AES_256_GCM_SHA384", b"h2", b"a.example", False, b"alice", b"RSA-SHA256", b"RSA2048")


@pytest.fixture
def load(tmp_path):
    parts, tls = Parts(), Tls()

    def take(apps, **issued):
        lines = ["certificates:"]
        for name, one in issued.items():
            chain, key = one.write(tmp_path, name)
            lines.append(f"  {name}: {{certificate: {chain}, key: {key}}}")
        (tmp_path / "ca").write_bytes(AUTHORITY.pem)
        lines.append("apps:")
        for port, (name, more) in enumerate(apps.items(), 7000):
            body = f"protocol: tcp/{port}, origin_direct: ['tcp://192.0.2.9:22'], {more}"
            lines.append(f"  {name}: {{{body.replace('CA', str(tmp_path / 'ca'))}}}")
        snapshot = parts.compile("\n".join(lines))
        tls.take(snapshot)
        return {app.name: tls.contexts_of(app) for app in snapshot.apps}

    return take


ONE, RSA, OTHER = (
    AUTHORITY.issue("a.example"),
    AUTHORITY.issue("a.example", kind="rsa"),
    AUTHORITY.issue("b.example"),
)
APPS = {
    "off": "tls: off",
    "flexible": "tls: flexible",
    "full": "tls: full, edge_tls: {unknown_names: refuse}",
    "strict": "tls: strict, edge_tls: {client_ca: CA}, origin_tls: {ca: CA, certificate: one}",
    "same": "tls: strict, origin_tls: {ca: CA, certificate: one}",
}


def test_contexts_by_mode(load):
    found = load(APPS, one=ONE, other=OTHER)
    assert found["off"] == (None, None)
    assert found["flexible"][0] is not None and found["flexible"][1] is None
    assert found["full"][1].verifies is False
    assert found["strict"][1].verifies is True
    assert found["same"][1] is found["strict"][1]  # origins of both are spoken to alike
    assert len({id(server) for server, _ in found.values()}) == len(APPS)  # sessions of one app are none of another's


def test_what_did_not_change_stays_and_what_did_does_not(load):
    before = load(APPS, one=ONE, other=OTHER)
    assert load(APPS, one=ONE, other=OTHER) == before
    after = load(APPS, one=RSA, other=OTHER)  # the content of a file, which no setting shows
    assert after["off"] == before["off"]
    for name in ("flexible", "full", "strict"):
        assert after[name][0] is not before[name][0]
    assert after["full"][1] is before["full"][1]
    assert after["strict"][1] is not before["strict"][1]


def test_there_is_something_to_choose_or_not():
    tls = Tls()

    def settings(*issued):
        found = []
        for i, one in enumerate(issued):
            kind = one.certificate.public_key_algorithm_oid.dotted_string
            names = ("a.example",) if one is not OTHER else ("b.example",)
            found.append(CertificateSettings(str(i), one.chain, one.key, b"", names, kind))
        return tuple(found)

    class Edge:
        refuses_unknown = False

    for issued, chooses in (((ONE,), False), ((ONE, RSA), False), ((ONE, OTHER), True), ((OTHER, ONE, RSA), True)):
        given = settings(*issued)
        tls._certificates = {one: one.name for one in given}
        find = tls._finder(Edge, given)
        assert (find is not None) == chooses
        if find:
            assert find("b.example") == (str(issued.index(OTHER)),)
            assert find("c.example") == ()
    Edge.refuses_unknown = True
    assert find is not None and tls._finder(Edge, given)("c.example") is None


def test_headers_to_origins():
    front = [
        Tlv(TlvType.SSL, bytes(5)),  # of the hop before
        Tlv(TlvType.AUTHORITY, b"front.example"),
        Tlv(0xE0, b"custom"),
    ]
    found = {tlv.type: tlv.value for tlv in unpack_tlvs(told_of(FACTS, pack_tlvs(front)))}
    ssl = found.pop(TlvType.SSL)
    assert found == {TlvType.ALPN: b"h2", TlvType.AUTHORITY: b"a.example", 0xE0: b"custom"}
    assert ssl[:5] == bytes([7, 0, 0, 0, 0])
    assert {tlv.type: tlv.value for tlv in unpack_tlvs(ssl[5:])} == {
        SslPart.VERSION: b"TLSv1.3",
        SslPart.COMMON_NAME: b"alice",
        SslPart.CIPHER: b"TLS_AES_256_GCM_SHA384",
        SslPart.SIGNATURE: b"RSA-SHA256",
        SslPart.KEY: b"RSA2048",
    }


@pytest.mark.parametrize(
    ("name", "resumed", "client", "verified"),
    [
        (None, False, SslClient.SSL, False),
        (b"", False, SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS, True),
        (b"alice", True, SslClient.SSL | SslClient.CERT_SESS, True),
    ],
)
def test_who_showed_a_certificate(name, resumed, client, verified):
    facts = (*FACTS[:2], b"", b"", resumed, name, *FACTS[6:])
    (tlv,) = unpack_tlvs(told_of(facts, b""))
    assert tlv.value[:5] == bytes([client, 0, 0, 0, 0 if verified else 1])
