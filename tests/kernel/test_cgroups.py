import os

import pytest

from spectrum.kernel.cgroups import usable_processors


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("memberships", "files", "expected"),
    [
        ("0::/", {}, 64),
        ("0::/", {"cpu.max": "max 100000\n"}, 64),
        ("0::/", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/", {"cpu.max": "9900000 100000\n"}, 64),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}, 3),
        # The host's path, as a container sees it whose mount is its own group.
        ("0::/docker/0123", {"cpu.max": "400000 100000"}, 4),
        (
            "4:cpu,cpuacct:/x\n0::/",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "500000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            5,
        ),
        ("1:cpu:/docker/0123", {"cpu/cpu.cfs_quota_us": "600000", "cpu/cpu.cfs_period_us": "100000"}, 6),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("3:cpuset:/\n1:name=systemd:/\n0::/x", {"unified/x/cpu.max": "700000 100000"}, 7),
        ("0::/../../x", {"cpu.max": "200000 100000"}, 2),
    ],
)
def test_the_quota_counts(tmp_path, monkeypatch, memberships, files, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    root = tmp_path / "cgroup"
    for name, text in files.items():
        write(root / name, text)
    write(tmp_path / "memberships", memberships + "\n")
    assert usable_processors(root, tmp_path / "memberships") == expected


def test_no_control_groups(tmp_path):
    assert usable_processors(tmp_path, tmp_path / "none") == len(os.sched_getaffinity(0))


def test_this_machine():
    assert 1 <= usable_processors() <= len(os.sched_getaffinity(0))
