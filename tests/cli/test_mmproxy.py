"""The configuration that it makes; that it serves is in tests/e2e/test_mmproxy.py."""

import socket
from pathlib import Path

import pytest

from spectrum.cli.mmproxy import source
from spectrum.core.configuration.changes import changes
from tests.cli.harness import spectrum


def made(listen=("0.0.0.0:2222",), to=("127.0.0.1:22",), allow=("10.0.0.0/8", "::/0"), transports=("tcp",), **more):
    return source(listen, to, allow, transports, Path("/run/x.sock"), **more)


def test_it_is_one_that_is_served():
    given = made(
        ("0.0.0.0:2222", "[::]:2222"), ("127.0.0.1:22", "[::1]:22"), transports=("tcp", "udp"), metrics="127.0.0.1:9"
    )
    config = given.read().config
    assert list(config.apps) == ["tcp", "udp"]
    for transport, app in config.apps.items():
        assert str(app.protocol) == f"{transport}/2222"
        assert [str(origin) for origin in app.origin_direct] == [
            f"{transport}://127.0.0.1:22",
            f"{transport}://[::1]:22",
        ]
        assert (app.source, len(app.accept_proxy_protocol.trusted), len(app.addresses)) == ("client", 2, 2)
    assert config.seccomp
    assert config.metrics.listen.port == 9
    assert (given.name, given.path) == ("the command line", None)
    assert changes(config, given.read().config) == []


@pytest.mark.parametrize(
    ("more", "faults"),
    [
        ({"allow": ("10.0.0.1/8",), "transports": ("tcp", "udp")}, ["--allow: '10.0.0.1/8' is not a prefix"]),
        ({"to": ("127.0.0.1:2222",)}, ["--to: 127.0.0.1:2222 is this app's own listener: a loop"]),
        ({"listen": ("127.0.0.1:22", "127.0.0.1:22"), "to": ("[::1]:23",)}, ["--listen: 127.0.0.1:22 is listed twice"]),
        ({"user": "nobody-of-this-name"}, ["--user: there is no user 'nobody-of-this-name'"]),
        ({"metrics": "9"}, ["--metrics: "]),
    ],
)
def test_faults_speak_of_options(more, faults):
    revision = made(**more).read()
    assert revision.config is None
    assert len(revision.faults) == len(faults)
    for fault, begins in zip(revision.faults, faults, strict=True):
        assert fault.startswith(begins)


def test_one_port(tmp_path):
    with pytest.raises(ValueError, match="one port for all addresses"):
        made(("0.0.0.0:2222", "[::]:2223"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing option '--listen'"),
        (["--listen", "0.0.0.0:1", "--to", "127.0.0.1:22"], "Missing option '--allow'"),
        (["--listen", "2222", "--to", "127.0.0.1:22", "--allow", "::/0"], "--listen: "),
        (
            ["--listen", "0.0.0.0:1", "--to", "127.0.0.1:22", "--allow", "10.0.0.1/8"],
            "--allow: '10.0.0.1/8' is not a prefix",
        ),
    ],
)
def test_wrong_command_lines(tmp_path, options, message):
    done = spectrum("mmproxy", *options, "--socket", tmp_path / "x.sock")
    assert done.exit_code == 2
    assert message in done.output
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_written(tmp_path, monkeypatch):
    """Not even through a link, which the user that root becomes could leave for the next start."""
    served = []
    monkeypatch.setattr("spectrum.cli.mmproxy.examine", lambda config: [])
    monkeypatch.setattr("spectrum.cli.mmproxy.serve", lambda *given: served.append(given))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    (victim := tmp_path / "victim").write_text("precious")
    (folder := tmp_path / "mmproxy-2222").mkdir()
    (folder / "control.yaml").symlink_to(victim)
    for options in ([], ["--succeed", str(socket.socket(socket.AF_UNIX).detach())]):
        done = spectrum("mmproxy", "--listen", "0.0.0.0:2222", "--to", "127.0.0.1:22", "--allow", "::/0", *options)
        assert done.exit_code == 0, done.output
    assert victim.read_text() == "precious"
    assert [path.name for path in folder.iterdir()] == ["control.yaml"]
    assert [(given[0].path, given[4] is None) for given in served] == [(None, True), (None, False)]
    assert served[0][1].control.socket == str(folder / "control.sock")
    served[1][4].refuse([])
