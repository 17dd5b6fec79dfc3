import pytest

from spectrum.core.features import compile_app
from spectrum.core.tcp_options import TcpOptions
from tests.core.configuration.checking import TCP, UDP, app, faults

BBR = {"client": {"congestion_control": "bbr"}}


def test_what_it_comes_to():
    given = {"client": {"congestion_control": "bbr", "fast_open": True}, "origin": {"notsent_lowat": "128KiB"}}
    settings = compile_app("a", app(*TCP, tcp=given))
    assert (settings.client_tcp, settings.origin_tcp) == (TcpOptions("bbr", 0, True), TcpOptions("", 131072))
    assert compile_app("a", app(*TCP)).client_tcp == TcpOptions()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"client": {"congestion_control": "BBR"}}, "'BBR' is not an algorithm; write bbr or cubic"),
        ({"client": {"congestion_control": "a" * 16}}, "is not an algorithm"),
        ({"origin": {"notsent_lowat": 4095}}, "between 4KiB and 1GiB"),
        ({"origin": {"fast_open": True}}, "fast_open"),
    ],
)
def test_invalid_settings(given, message):
    with pytest.raises(ValueError, match=message):
        app(*TCP, tcp=given)


@pytest.mark.parametrize(
    ("apps", "paths"),
    [
        ({"a": app(*UDP, tcp=BBR)}, [("apps", "a", "tcp")]),
        ({"a": app(*TCP, tcp=BBR, sni=["a.example"]), "b": app(*TCP, tcp=BBR, sni=["b.example"])}, []),
        (
            {"a": app(*TCP, tcp=BBR, sni=["a.example"]), "b": app(*TCP, sni=["b.example"])},
            [("apps", "b", "tcp", "client")],
        ),
        (
            {
                "a": app(*TCP, tcp={"origin": {"congestion_control": "bbr"}}, sni=["a.example"]),
                "b": app(*TCP, sni=["b.example"]),
            },
            [],
        ),
    ],
)
def test_faults(apps, paths):
    assert [fault.path for fault in faults(apps)] == paths
