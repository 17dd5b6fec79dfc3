"""The first steps of a process of the daemon."""

import os
import subprocess
import sys

BEGINS = """
import os, signal, sys
from pathlib import Path
from spectrum.child import begin_child, forbid_rings
if len(sys.argv) > 1:
    from spectrum.kernel import installation
    os.environ[installation.CODE_VARIABLE] = sys.argv[1]
begin_child("the thing", "spectrum-thing")
forbid_rings()
os.kill(os.getpid(), signal.SIGINT)
os.kill(os.getpid(), signal.SIGTERM)
print(Path("/proc/self/comm").read_text().strip(), signal.SIGTERM in signal.sigpending())
import ctypes
library = ctypes.CDLL(None, use_errno=True)
print(library.syscall(425, 1, None), ctypes.get_errno())
"""


def begun(*arguments):
    command = [sys.executable, "-c", BEGINS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})


def test_it_is_named_and_its_signals_are_held():
    done = begun()
    assert done.stdout.split() == ["spectrum-thing", "True", "-1", "1"], done


def test_another_version_of_the_package_does_not_start():
    done = begun("0" * 64)
    assert done.returncode == 1 and "ERROR the thing does not start: " in done.stderr, done
