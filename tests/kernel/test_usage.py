import mmap
import os
import subprocess
import sys
import time

import pytest

from spectrum.kernel import usage
from spectrum.kernel.usage import usage_of


def test_a_process():
    begun = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        before = usage_of(process.pid)
        assert begun - 2 < before.started_at < begun + 60
        process.stdin.close()
    assert usage_of(process.pid) is None


def test_this_process():
    spent = time.process_time()
    before = usage_of(os.getpid())
    kept = mmap.mmap(-1, 50_000_000)  # new memory, whatever this process has freed and could use again
    kept.write(b"x" * len(kept))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    after = usage_of(os.getpid())
    for descriptor in opened:
        os.close(descriptor)
    assert after.descriptors - before.descriptors == 20
    assert after.resident_bytes - before.resident_bytes > 30_000_000 and len(kept)
    assert after.virtual_bytes > after.resident_bytes
    assert after.max_descriptors >= after.descriptors
    assert abs(before.cpu_s - spent) < 5


@pytest.mark.parametrize(
    ("limits", "found"), [(b"Max open files            1024    4096    files\n", 1024), (b"", None)]
)
def test_limits_of_descriptors(limits, found):
    assert usage._max_descriptors(limits) == found
    assert usage._max_descriptors(b"Max open files            unlimited    unlimited    files\n") is None


def test_descriptors_that_cannot_be_seen():
    assert usage._descriptors(0) is None
