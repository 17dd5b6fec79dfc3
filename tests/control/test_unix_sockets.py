import os

import pytest

from spectrum.control.unix_sockets import folder_warnings, socket_faults, socket_refusals
from spectrum.core.configuration.config import Config

NOBODY = 65534
CONTROL = "/run/x/control.sock"


def config(*listen, control=CONTROL):
    return Config.model_validate({"api": {"listen": list(listen)}, "control": {"socket": control}})


@pytest.mark.parametrize(
    ("listen", "what"),
    [
        (CONTROL, "is the control socket"),
        ("/run/x/../x/control.sock", "is the control socket"),
        ("/run/x/api.sock", "is the API's own socket beside the control socket, for commands without a token"),
        ("/run/x/other.sock", ""),
        ("/run/y/api.sock", ""),
    ],
)
def test_a_path_is_that_of_one_socket(listen, what):
    found = list(socket_faults(config(f"unix:{listen}", "127.0.0.1:8787")))
    assert [(fault.path, fault.message) for fault in found] == (
        [(("api", "listen"), f"unix:{listen} {what}; write another path")] if what else []
    )


def test_a_path_may_be_written_in_two_ways(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (fault,) = socket_faults(config(f"unix:{tmp_path}/a", f"unix:{tmp_path}/link/a"))
    assert fault.message == f"unix:{tmp_path}/link/a is the same as unix:{tmp_path}/a; write another path"


def test_the_socket_beside_the_control_socket_may_be_too_long():
    (fault,) = socket_faults(config("127.0.0.1:8787", control=f"/{'x' * 103}.y"))
    assert fault.path == ("control", "socket")
    assert fault.message.endswith("is too long: write a path of at most 98 bytes")
    assert not list(socket_faults(config("127.0.0.1:8787", control=f"/{'x' * 95}.y")))
    assert not list(socket_faults(Config.model_validate({"control": {"socket": f"/{'x' * 103}.y"}})))


def test_only_sockets_are_replaced(tmp_path):
    one = config(f"unix:{tmp_path}/a", f"unix:{tmp_path}/b", control=f"{tmp_path}/control.sock")
    assert list(socket_refusals(one)) == []
    for name in ("a", "api.sock", "control.sock"):
        (tmp_path / name).touch()
    places = [fault.path for fault in socket_refusals(one)]
    assert places == [("control", "socket"), ("api",), ("api", "listen")]
    assert f"{tmp_path}/a exists and is not a socket; remove it" in list(socket_refusals(one))[-1].message


def test_the_folder_of_the_control_socket_where_nobody_chose_it(tmp_path, monkeypatch):
    (folder := tmp_path / "run").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    assert list(socket_refusals(Config())) == []
    folder.chmod(0o777)
    (fault,) = socket_refusals(Config())
    assert fault.message == (
        f"control socket {folder}/control.sock: {folder} can be written by other users (mode 0777); remove it, or set "
        "control.socket"
    )
    folder.chmod(0o700)
    os.chown(folder, NOBODY, NOBODY)  # systemd's, of a daemon with DynamicUser=
    assert list(socket_refusals(Config())) == []
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY - 1)
    (fault,) = socket_refusals(Config())
    assert "belongs to another user" in fault.message


def test_a_chosen_folder_that_others_can_write(tmp_path):
    one = config("127.0.0.1:8787", control=f"{tmp_path}/control.sock")
    assert folder_warnings(one) == []
    tmp_path.chmod(0o777)
    assert list(socket_refusals(one)) == []
    (line,) = folder_warnings(one)
    assert line.endswith("(mode 0777), and could answer in place of this daemon")
    assert folder_warnings(Config()) == []
