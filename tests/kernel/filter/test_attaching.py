"""On which interfaces the program is; what it does there is in test_pinned.py."""

import pytest

from spectrum.kernel.filter.attaching import attached, load, remove
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

ATTACHED = """
import subprocess, sys
from pathlib import Path
from spectrum.kernel.filter.attaching import attached, detect, load, remove
from spectrum.kernel.filter.detection import EGRESS, Detection
from spectrum.kernel.pins import folder_of, linked_interfaces

filesystem = Path(sys.argv[1])
subprocess.run(["ip", "link", "add", "v0.1", "type", "veth", "peer", "v1"], check=True)
for interfaces in (["lo"], ["lo", "v0.1"], ["v0.1"], []):
    load(interfaces, filesystem)
    assert attached(filesystem) == interfaces
load(["lo"], filesystem)

# The program at egress comes and goes with detection, and follows the filter.
def sees():
    return linked_interfaces(folder_of(filesystem), EGRESS)

assert sees() == []
detect(Detection(100, 1000), filesystem)
assert sees() == ["lo"]
load(["lo", "v0.1"], filesystem)
assert sees() == ["lo", "v0.1"]
detect(Detection(), filesystem)
assert sees() == []
detect(Detection(100), filesystem)
assert remove(filesystem) and attached(filesystem) == sees() == [] and not remove(filesystem)
print("ok")
"""


def test_it_is_attached_to_exactly_these(filesystem):
    assert isolated(ATTACHED, filesystem) == "ok\n"


def test_what_is_no_interface(filesystem):
    with pytest.raises(PinError, match="there is no interface nowhere0"):
        load(["nowhere0"], filesystem)
    assert attached(filesystem) == []
    assert remove(filesystem)
