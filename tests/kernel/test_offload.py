"""The offload program on the interfaces of a network namespace; what it does is shown in e2e/test_offload.py."""

import subprocess

import pytest

from spectrum.kernel.offload import MAPS, PinnedOffload, ethernet_interfaces, load
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from spectrum.kernel.offload import TUPLE, WAY, PinnedOffload, ethernet_interfaces, load, remove
from spectrum.kernel.pins import PinError

filesystem = Path(sys.argv[1])
subprocess.run(["ip", "link", "add", "v0.1", "type", "veth", "peer", "v1"], check=True)
subprocess.run(["ip", "tuntap", "add", "t0", "mode", "tun"], check=True)
assert sorted(ethernet_interfaces()) == ["lo", "v0.1", "v1"], ethernet_interfaces()
load(["lo", "v0.1"], 10, filesystem)
for name in ("ipv4/conf/lo/forwarding", "ipv4/conf/lo/accept_local", "ipv4/conf/lo/route_localnet",
             "ipv6/conf/lo/forwarding"):
    assert Path("/proc/sys/net", name).read_text() == "1\\n", name
one = PinnedOffload(filesystem)
assert (one.status().interfaces, one.status().flows) == (["lo", "v0.1"], 0)
key = TUPLE.pack(bytes(16), bytes(16), 1, 2)
one.set("flows", key, WAY.pack(bytes(16), bytes(16), 3, 4, 5, 6, 1, 38, b"header"))
for number in range(19):
    one.set("flows", TUPLE.pack(bytes(16), bytes(16), 2, number), bytes(WAY.size))
try:
    one.set("flows", TUPLE.pack(bytes(16), bytes(16), 3, 1), bytes(WAY.size))
    raise SystemExit("there is room for more")
except PinError as exc:
    assert "too long" in str(exc), exc  # E2BIG
assert one.status().flows == 10

# Another program, and other interfaces; what is known stays.
load(["lo", "v1"], 10, filesystem)
assert one.status().interfaces == ["lo", "v1"] and one.maps["flows"].get(key)

# An interface that went away, and another one with its name.
subprocess.run(["ip", "link", "delete", "v1"], check=True)
subprocess.run(["ip", "link", "add", "v1", "type", "veth", "peer", "v2"], check=True)
load(["v1"], 10, filesystem)
assert one.status().interfaces == ["v1"]
one.close()

# For more flows the tables begin anew.
load(["lo"], 20, filesystem)
with PinnedOffload(filesystem) as one:
    assert (one.status().interfaces, one.status().flows) == (["lo"], 0)
for wrong in ("nowhere", "t0"):
    try:
        load(["lo", wrong], 20, filesystem)
        raise SystemExit(f"{wrong} was taken")
    except PinError as exc:
        assert str(exc) == f"there is no interface {wrong}, or its packets have no Ethernet header", exc
assert remove(filesystem) and not remove(filesystem)

# By classic filters, on one interface beside a qdisc that is somebody's.
def filters(interface):
    shown = subprocess.run(["tc", "filter", "show", "dev", interface, "ingress"], capture_output=True, text=True)
    return shown.stdout.count("direct-action")

for command in ("tc qdisc add dev v1 clsact", "ip link add d0 type veth peer d1"):
    subprocess.run(command.split(), check=True)
for _ in range(2):
    load(["lo", "v1"], 20, filesystem, by_links=False)
    with PinnedOffload(filesystem) as one:
        assert one.status().interfaces == ["lo", "v1"]
    assert (filters("lo"), filters("v1")) == (1, 1)
load(["v1", "d0"], 20, filesystem, by_links=False)
assert (filters("lo"), filters("d0")) == (0, 1)
subprocess.run(["ip", "link", "delete", "d0"], check=True)
assert remove(filesystem) and filters("v1") == 0
assert "clsact" in subprocess.check_output(["tc", "qdisc", "show", "dev", "v1"], text=True)
print("ok")
"""


def test_interfaces_and_tables(filesystem):
    assert isolated(SCRIPT, filesystem) == "ok\n"


def test_where_it_is_not_loaded(filesystem):
    with pytest.raises(PinError, match="not loaded"):
        PinnedOffload(filesystem)
    assert "lo" in ethernet_interfaces()
    with pytest.raises(PinError, match="there is no interface nowhere"):
        load(["nowhere"], 1, filesystem)


def test_the_layout_is_the_programs(tmp_path):
    """Keys and values are as long as the C structs that the program and the engine have."""
    source = tmp_path / "sizes.c"
    header = __file__.replace("tests/kernel/test_offload.py", "spectrum/kernel/bpf/offload.h")
    structs = ("tuple", "way", "tally")
    printed = "".join(f'printf("%zu ", sizeof(struct offload_{name}));' for name in structs)
    source.write_text(f'#include <stdio.h>\n#include "{header}"\nint main(void) {{ {printed} return 0; }}')
    subprocess.run(["cc", "-o", tmp_path / "sizes", source], check=True)
    sizes = [int(size) for size in subprocess.check_output([tmp_path / "sizes"]).split()]
    assert sizes == [*MAPS["flows"], MAPS["tallies"][1]]
