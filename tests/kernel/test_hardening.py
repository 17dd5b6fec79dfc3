import os

import pytest

from spectrum.kernel import hardening
from spectrum.kernel.hardening import SAME_USER, harden


def test_what_is_given_up(tmp_path, monkeypatch):
    given = []
    for name in ("become", "confine", "limit_files"):
        monkeypatch.setattr(hardening, name, lambda *some, name=name: given.append((name, *some)))
    monkeypatch.setattr(hardening.seccomp, "forbid", lambda calls: given.append(("forbid", "bpf" in calls)))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folders = [tmp_path / "made", tmp_path / "other"]
    harden("nobody", ["/usr"], folders, True)
    assert [one[0] for one in given] == ["become", "confine", "limit_files", "forbid"]
    assert given[0][1].pw_name == "nobody" and given[1][1] == () and given[3] == ("forbid", True)
    assert given[2][2:] == ((), folders) and folders[0].is_dir() and not folders[1].exists()
    given.clear()
    harden(SAME_USER, ["/usr"], folders, False)
    assert [one[0] for one in given] == ["confine", "limit_files"]


def test_a_user_that_is_not_there(tmp_path):
    with pytest.raises(KeyError):
        harden("nobody-of-that-name", [], [tmp_path], False)
