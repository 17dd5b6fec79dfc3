from spectrum.core.tls.objects import EdgeTls, OriginTls
from spectrum.core.tls.settings import CertificateSettings, chosen, compile_tls, resumption_name


def test_modes():
    edge, origin = EdgeTls(), OriginTls()
    assert compile_tls("off", edge, origin) is None
    assert compile_tls("flexible", edge, origin).origin is None
    assert compile_tls("full", edge, origin).origin.verifies is False
    assert compile_tls("strict", edge, origin).origin.verifies is True


def test_everything_is_passed_on():
    edge = EdgeTls.model_validate(
        {
            "certificates": ["b"],
            "unknown_names": "refuse",
            "min_version": 1.3,
            "alpn": ["h2"],
            "client_ca": "/ca.pem",
            "client_certificate": "optional",
            "handshake_timeout": "3s",
        }
    )
    origin = OriginTls.model_validate(
        {"server_name": "db", "ca": "/own.pem", "certificate": "me", "alpn": ["x"], "max_version": 1.2}
    )
    tls = compile_tls("strict", edge, origin)
    assert tuple(getattr(tls.edge, field) for field in tls.edge.__struct_fields__) == (
        ("b",),
        True,
        ("1.3", "1.3"),
        ("h2",),
        "/ca.pem",
        False,
        3,
    )
    assert tuple(getattr(tls.origin, field) for field in tls.origin.__struct_fields__) == (
        True,
        ("1.2", "1.2"),
        ("x",),
        "db",
        "/own.pem",
        "me",
    )


def test_sessions_are_resumed_only_where_the_same_would_be_checked():
    plain = compile_tls("flexible", EdgeTls(), OriginTls()).edge
    asking = compile_tls("flexible", EdgeTls.model_validate({"client_ca": "/a"}), OriginTls()).edge
    optional = EdgeTls.model_validate({"client_ca": "/a", "client_certificate": "optional"})
    lenient = compile_tls("flexible", optional, OriginTls()).edge
    names = [
        resumption_name("a", plain, b""),
        resumption_name("b", plain, b""),
        resumption_name("a", asking, b"x"),
        resumption_name("a", asking, b"y"),
        resumption_name("a", lenient, b"x"),
    ]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {32}
    assert resumption_name("a", plain, b"") == names[0]


def test_the_certificates_of_an_app():
    a, b = (CertificateSettings(name, b"", b"", b"", (name,)) for name in "ab")
    assert repr(a) == "CertificateSettings('a')"  # and no key
    assert chosen((a, b), None) == (a, b)
    assert chosen((a, b), ("b", "a")) == (b, a)
    assert chosen((a, b), ("b",)) == (b,)
