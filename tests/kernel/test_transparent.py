import os
import subprocess
import sys

import pytest

from spectrum.kernel.transparent import NetworkError, is_installed, may_be_transparent, run


def test_root_may():
    assert may_be_transparent() == (os.geteuid() == 0)


def test_commands(require):
    require("ip")
    assert "lo" in run(("ip", "link", "show"))


def test_failures_are_reported(require):
    require("ip")
    with pytest.raises(NetworkError, match="table"):
        run(("ip", "route", "show", "table", "54321x"))
    with pytest.raises(NetworkError, match="nothing-such is not installed; on Debian: apt-get install nothing-such"):
        run(("nothing-such",))


def test_what_comes_on_standard_input():
    assert run(("cat",), "text") == "text"


@pytest.mark.parametrize("path", ["", None])
def test_without_a_path_nothing_is_run_from_the_current_folder(tmp_path, path):
    """An empty entry of PATH is the current folder."""
    (tmp_path / "nft").write_text("#!/bin/sh\necho hostile\n")
    (tmp_path / "nft").chmod(0o755)
    script = (
        "from spectrum.kernel.transparent import NetworkError, run\n"
        "try:\n    print(run(('nft', '--version')))\nexcept NetworkError as exc:\n    print(exc)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PATH"}
    if path is not None:
        environment["PATH"] = path
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert "hostile" not in done.stdout


def test_a_command_that_does_not_end_is_reported(monkeypatch):
    monkeypatch.setattr("spectrum.kernel.transparent.COMMAND_TIMEOUT_S", 0.1)
    with pytest.raises(NetworkError, match=r"sleep 9 did not end within 0\.1 s"):
        run(("sleep", "9"))


def test_what_is_installed():
    assert is_installed("cat") and not is_installed("nothing-such")
