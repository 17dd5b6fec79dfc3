"""A process of its own gives up files: what it may open then."""

import ctypes
import errno
import os
import struct
import subprocess
import sys

import pytest

from spectrum.kernel import landlock

SCRIPT = """
import ctypes, os, sys
from pathlib import Path
from spectrum.kernel.landlock import limit_files

folder = Path(sys.argv[1])
for name in ("other", "readable", "writable", "own"):
    (folder / name).mkdir()
    (folder / name / "file").write_text("text")
kept = (folder / "other" / "file").open()
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
if not limit_files([folder / "readable", folder / "none"], [folder / "writable"], [folder / "own"]):
    print("no Landlock")
    sys.exit()

def done(work):
    try:
        work()
        return True
    except PermissionError:
        return False

def what(name):
    path = folder / name / "file"
    steps = path.read_text, lambda: path.write_text("x"), (folder / name / "new").mkdir, path.unlink
    return "".join(letter for letter, step in zip("rwmu", steps) if done(step))

print(*(what(name) or "-" for name in ("other", "readable", "writable", "own")), kept.read())
"""


def test_only_what_is_left_can_be_opened(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout in ("- r rw rwmu text\n", "no Landlock\n"), done.stderr


class Kernel:
    """Takes the three system calls, in place of a kernel that may have no Landlock, or an older one (landlock(7))."""

    def __init__(self, version, failing=0):
        self._version = version
        self._failing = failing
        self.handled, self.rules, self.restricted = 0, [], []
        self.ruleset, self._other = os.pipe()

    def syscall(self, number, *arguments):
        if number == self._failing:
            ctypes.set_errno(errno.EPERM)
            return -1
        match number, arguments:
            case 444, (None, _, 1):
                return self._version
            case 444, (attributes, size, 0):
                (self.handled,) = struct.unpack("=Q", attributes[: size.value])
                return self.ruleset
            case 445, (ruleset, 1, rule, 0):
                access, beneath = struct.unpack("=Qi", rule)
                self.rules.append((os.readlink(f"/proc/self/fd/{beneath}"), access))
                return ruleset - self.ruleset
            case 446, (ruleset, 0):
                self.restricted.append(ruleset)
                return 0
        raise AssertionError((number, arguments))

    def close(self):
        os.close(self._other)


@pytest.fixture
def kernel(monkeypatch):
    made = []

    def build(*options):
        made.append(Kernel(*options))
        monkeypatch.setattr(landlock, "_libc", made[-1])
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.mark.parametrize(("version", "truncate"), [(1, 0), (3, 1 << 14), (6, 1 << 14)])
def test_system_calls(kernel, tmp_path, version, truncate):
    told = kernel(version)
    for name in ("readable", "writable", "own"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    none = tmp_path / "none", tmp_path / "file"
    assert landlock.limit_files([tmp_path / "readable", *none], [tmp_path / "writable"], [tmp_path / "own"])
    everything = sum(1 << bit for bit in range(13) if bit != 3) | truncate
    assert told.handled == everything
    assert dict(told.rules) == {
        str(tmp_path / "readable"): 1 << 2,
        str(tmp_path / "writable"): 1 << 2 | 1 << 1 | truncate,
        str(tmp_path / "own"): everything,
    }
    assert told.restricted == [told.ruleset]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(told.ruleset)


@pytest.mark.parametrize("failing", [445, 446])
def test_a_kernel_that_refuses(kernel, tmp_path, failing):
    told = kernel(6, failing)
    with pytest.raises(PermissionError):
        landlock.limit_files([tmp_path], [], [])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(told.ruleset)


def test_a_kernel_without(kernel, tmp_path):
    told = kernel(-1)
    assert not landlock.limit_files([tmp_path], [], [])
    assert told.restricted == []
    os.close(told.ruleset)
