import pytest

from spectrum.core.server_names import ServerNames, server_name
from spectrum.wire.client_hello import ClientHello

NAMES = ServerNames(
    [
        (("a.example",), (), "a"),
        (("*.a.example", "b.example"), (), "below a"),
        (("*.x.a.example",), (), "below x"),
        (("b.example",), ("acme-tls/1",), "acme of b"),
        ((), ("acme-tls/1",), "acme"),
        ((), (), "the rest"),
    ]
)


@pytest.mark.parametrize(
    ("name", "alpn", "found"),
    [
        ("a.example", (), "a"),
        ("www.a.example", (), "below a"),
        ("very.www.a.example", (), "below a"),
        ("www.x.a.example", (), "below x"),
        ("x.a.example", (), "below a"),
        ("b.example", ("h2",), "below a"),
        ("b.example", ("h2", "acme-tls/1"), "acme of b"),
        ("c.example", ("acme-tls/1",), "acme"),
        ("c.example", (), "the rest"),
        ("", (), "the rest"),
        ("example", (), "the rest"),
    ],
)
def test_who_it_is_for(name, alpn, found):
    assert NAMES.find(ClientHello(name, alpn)) == found


def test_nobody():
    names = ServerNames([(("a.example",), (), 1), ((), ("h2",), 2)])
    assert names.find(ClientHello("b.example")) is None
    assert names.find(ClientHello()) is None
    assert names.find(ClientHello("", ("h2",))) == 2


def test_names():
    assert server_name("A.Example.") == "a.example"
    assert server_name("*.a.example") == "*.a.example"
    for wrong in ("", "*", "*.", "a.*.example", "*a.example", "a..example", "a example", "x" * 64, "192.0.2.1:443"):
        with pytest.raises(ValueError, match="is not a server name; write"):
            server_name(wrong)
