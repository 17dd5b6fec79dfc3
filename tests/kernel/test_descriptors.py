import os
import subprocess
import sys
from itertools import combinations

import pytest

from spectrum.kernel.descriptors import close_all, memory_file

SCRIPT = """
import os, sys
from spectrum.kernel.descriptors import open_standard
open_standard()
assert all(os.get_inheritable(number) for number in range(3))
assert os.open("/", os.O_RDONLY) >= 3
print("out", sys.stdin.read(), flush=True)
print("err", file=sys.stderr, flush=True)
sys.exit(5)
"""


@pytest.mark.parametrize("closed", [some for size in range(4) for some in combinations((0, 1, 2), size)])
def test_what_is_closed_is_opened(closed):
    closings = " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", f'exec {closings} "$@"', "sh", sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, input="in", timeout=20)
    assert done.returncode == 5, done.stderr
    expected = "out " + ("" if 0 in closed else "in") + "\n"
    assert (done.stdout, done.stderr) == ("" if 1 in closed else expected, "" if 2 in closed else "err\n")


def test_all_are_closed():
    pair = os.pipe()
    close_all(pair)
    for descriptor in pair:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_memory_file():
    descriptor = memory_file("test", b"content")
    assert os.pread(descriptor, 100, 0) == b"content"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
