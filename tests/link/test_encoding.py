import subprocess
import sys

import msgspec
import pytest

from spectrum.link.encoding import encode

# The same with `encoder.encode` ends by SIGSEGV.
SCRIPT = """
import resource, sys
import msgspec
from spectrum.link.encoding import encode

encoder, value = msgspec.{format}.Encoder(), ["x" * 50] * 2_000_000
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), -1))
try:
    encode(encoder, value)
except MemoryError:
    sys.exit(7)
"""


@pytest.mark.parametrize("module", [msgspec.msgpack, msgspec.json])
@pytest.mark.parametrize("value", [{}, ["x" * 100_000], list(range(1000))])
def test_what_is_encoded_is_what_the_encoder_gives(module, value):
    assert encode(module.Encoder(), value) == module.encode(value)


@pytest.mark.parametrize("format", ["msgpack", "json"])
def test_without_memory_it_is_an_error(format):
    done = subprocess.run([sys.executable, "-c", SCRIPT.replace("{format}", format)], timeout=60)
    assert done.returncode == 7
