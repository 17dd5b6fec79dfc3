import os

import pytest

from spectrum.kernel.transparent import NetworkError, may_be_transparent, run


def test_root_may():
    assert may_be_transparent() == (os.geteuid() == 0)


def test_commands(require):
    require("ip")
    assert "lo" in run(("ip", "link", "show"))


def test_failures_are_told(require):
    require("ip")
    with pytest.raises(NetworkError, match="table"):
        run(("ip", "route", "show", "table", "54321x"))
    with pytest.raises(NetworkError, match="nothing-such is not installed; on Debian: apt-get install nothing-such"):
        run(("nothing-such",))


def test_what_comes_on_standard_input():
    assert run(("cat",), "text") == "text"
