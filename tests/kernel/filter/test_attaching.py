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

# Tables take memory from when what needs them is switched on.
TABLES = """
import sys
from pathlib import Path
from spectrum.core.tcp_protection.policy import Policies, Policy
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.attaching import detect, load, protect, remove
from spectrum.kernel.filter.detection import DETECTION_MAPS, Detection, PinnedDetection
from spectrum.kernel.filter.pinned import MAPS
from spectrum.kernel.filter.tcp_protection import PinnedTcpProtection, TcpPolicies, pack_policies
from spectrum.kernel.outgrown import load_over
from spectrum.kernel.pins import PinError, folder_of

filesystem = Path(sys.argv[1])
SMALL, FULL = {"tcp_rates": 64, "tcp_flows": 64}, {"tcp_rates": 65536, "tcp_flows": 131072}
ON = pack_policies(Policies((Policy("enabled", 10, 1),), (1, 1), ({}, {}, {}, {})))

def room():
    with PinnedTcpProtection(filesystem) as one:
        return {name: one.maps[name].shape().entries for name in SMALL}

def flows():
    with PinnedDetection(filesystem) as one:
        return one.maps["flows"].shape().entries

def state():
    with PinnedTcpProtection(filesystem) as one:
        return one.is_on, one.flows()

def know(number):
    with PinnedTcpProtection(filesystem) as one:
        one.set("tcp_flows", bytes([number] * 36), bytes(24))

try:
    protect(ON, filesystem)
except PinError as exc:
    assert "not loaded" in str(exc)
else:
    raise SystemExit("without a program")

# Neither the filter alone nor detection gives them room, nor policies that judge nothing.
load(["lo"], filesystem)
detect(Detection(100), filesystem)
protect(TcpPolicies(), filesystem)
assert room() == SMALL and flows() == 262144
detect(Detection(), filesystem)
know(1)
protect(ON, filesystem)
assert room() == FULL and state() == (True, 1)

# They stay over a hot restart, and while it is off; so does what they know.
know(2)
load(["lo"], filesystem)
protect(ON, filesystem)
assert room() == FULL and state() == (True, 2)
protect(TcpPolicies(), filesystem)
load(["lo"], filesystem)
assert room() == FULL and state() == (False, 2)
protect(ON, filesystem)
assert state() == (True, 2)

# Other tables of this kind do not get room by it, nor lose theirs.
assert remove(filesystem)
load(["lo"], filesystem)
assert room() == SMALL and flows() == 64
protect(ON, filesystem)
assert room() == FULL and flows() == 64

# A version before has pinned all with room, without any need: nothing is lost.
assert remove(filesystem)
load_over(PROGRAM, folder_of(filesystem), (*MAPS, *DETECTION_MAPS)).close()
know(3)
load(["lo"], filesystem)
assert room() == FULL and state() == (False, 1)

# One before that had no such tables.
for name in SMALL:
    (folder_of(filesystem) / f"{PROGRAM}_{name}").unlink()
load(["lo"], filesystem)
assert room() == SMALL
assert remove(filesystem)
print("ok")
"""


@pytest.mark.parametrize("script", [ATTACHED, TABLES], ids=["interfaces", "tables"])
def test_in_the_kernel(filesystem, script):
    assert isolated(script, filesystem) == "ok\n"


def test_invalid_interfaces(filesystem):
    with pytest.raises(PinError, match="there is no interface nowhere0"):
        load(["nowhere0"], filesystem)
    assert attached(filesystem) == []
    assert remove(filesystem)
