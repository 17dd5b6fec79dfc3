"""Flow programs in the filter of a network namespace, and what of them the helper refuses to load."""

import struct
from ipaddress import ip_network

import pytest

from spectrum.core.flow_programs.places import IN_USE, LOG, JudgedPlace
from spectrum.kernel.filter import flow_programs
from spectrum.kernel.filter.flow_programs import (
    FlowProgramCode,
    FlowPrograms,
    can_call,
    filter_constants,
    pack_places,
    refusal,
)
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

SETUP = """
import sys, struct
from ipaddress import ip_address, ip_network
from pathlib import Path
from spectrum.core.flow_programs.places import IN_USE, LOG, JudgedPlace
from spectrum.kernel.filter.attaching import load, remove
from spectrum.kernel.filter.detection import DETECTION_MAPS, SMALL_TABLES, Detection, PinnedDetection
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES
from spectrum.kernel.filter import flow_programs
from spectrum.kernel.filter.flow_programs import *
from spectrum.kernel.filter.pinned import MAPS, PinnedFilter
from spectrum.kernel.libbpf import Object, run_xdp
from spectrum.kernel.pins import PinError, folder_of, program_code
from tests.kernel.filter.test_program_trial import frame

filesystem = Path(sys.argv[1])
DROP, PASS = 1, 2
code = lambda *some, state=False: FlowProgramCode(b"".join(struct.pack("=BBhi", *one) for one in some), state)
says = lambda verdict: code((0xb7, 0, 0, verdict), (0x95, 0, 0, 0))
# Counts what its source sends, in its state, and drops the third and all behind.
counts = code((0x79, 0x21, 0, 0), (0x07, 1, 0, 1), (0x7b, 0x12, 0, 0), (0xb7, 0, 0, 0), (0xa5, 1, 1, 3),
              (0xb7, 0, 0, 1), (0x95, 0, 0, 0), state=True)
here = lambda how, port=9000, prefix="192.0.2.1": JudgedPlace(ip_network(prefix), port, how)

def hold(programs, *places):
    with PinnedFlowPrograms(filesystem) as one:
        one.hold(FlowPrograms(programs, pack_places(places)))

load([], filesystem)
with PinnedDetection(filesystem) as one:
    one.configure(Detection(2**31, 0, b""))
folder = folder_of(filesystem)
def begin():
    return Object(program_code("filter"), {name: folder / f"filter_{name}" for name in (*MAPS, *DETECTION_MAPS)},
                  SMALL_TABLES | SMALL_TCP_TABLES, filter_constants())
filtering = begin()
pinned = PinnedFilter(filesystem)

def sent(*of, **more):
    "Return the verdict on a datagram, and what it was counted as."
    before = pinned.counts()
    verdict, _ = run_xdp(filtering.program("filter"), frame(b"hello", *of, **more))
    (name,) = (name for name, one in pinned.counts().items() if one[0] > before.get(name, (0, 0))[0])
    return verdict, name
"""

JUDGED = """
assert sent() == (PASS, "passed")
hold({"a": says(1), "b": says(0)}, here(1), here(2, 9001))
assert sent() == (DROP, "flow_dropped a") and sent(ports=(1, 9001)) == (PASS, "flow_passed b")
assert sent(ports=(1, 9002)) == sent(to="192.0.2.2") == sent("2001:db8::7", "2001:db8::1") == (PASS, "passed")

# Only logged; what comes again passes; other numbers are as 0.
hold({"a": says(1), "b": says(2), "c": says(7)}, here(1 | LOG), here(2, 9001), here(3, 9002))
assert sent() == (PASS, "flow_monitored a") and sent(ports=(1, 9002)) == (PASS, "flow_passed c")
assert sent(ports=(1, 9001)) == (DROP, "flow_dropped b")
import time
deadline = time.monotonic() + 5
while sent(ports=(1, 9001)) == (DROP, "flow_dropped b"):
    assert time.monotonic() < deadline
    time.sleep(0.1)

# The longest prefix is what counts, also of those without a program; a port as well as all of them.
hold({"a": says(1)}, here(1, 0, "192.0.2.0/24"), here(0, 53, "192.0.2.1"), here(1, 9000, "2001:db8::/32"))
assert sent() == sent(to="192.0.2.9") == sent("2001:db8::7", "2001:db8:5::1") == (DROP, "flow_dropped a")
assert sent(ports=(1, 53)) == (PASS, "passed") and sent(ports=(1, 53), to="192.0.2.2") == (DROP, "flow_dropped a")
assert sent(to="198.51.100.1") == (PASS, "passed")

# A flow in use is judged only if that is asked for.
from spectrum.kernel.libbpf import Map
flows = Map.pinned(folder / "filter_flows", 40, 8)
flow = lambda source: struct.pack("=16s16sHHB3x", bytes(10) + b"\\xff\\xff" + ip_address(source).packed,
                                  bytes(10) + b"\\xff\\xff" + ip_address("192.0.2.1").packed, 40000, 9000, 17)
flows.set(flow("198.51.100.7"), struct.pack("=Q", 2**60))
hold({"a": says(1)}, here(1))
assert sent() == (PASS, "passed") and sent("198.51.100.8") == (DROP, "flow_dropped a")
hold({"a": says(1)}, here(1 | IN_USE))
assert sent() == (DROP, "flow_dropped a")
flows.delete(flow("198.51.100.7"))

# None without detection, which knows flows.
with PinnedDetection(filesystem) as one:
    one.configure(Detection())
assert sent() == (PASS, "passed")
with PinnedDetection(filesystem) as one:
    one.configure(Detection(2**31, 0, b""))

# A state of each source, which stays while the program does, and the filter is replaced.
hold({"c": counts}, here(1))
assert [sent()[0] for _ in range(4)] == [PASS, PASS, DROP, DROP] and sent("198.51.100.9")[0] == PASS
hold({"c": counts, "d": says(1)}, here(1), here(2, 9001))
load([], filesystem)
filtering.close()
filtering = begin()
assert sent()[0] == DROP and sent(ports=(1, 9001)) == (DROP, "flow_dropped d")
hold({"c": FlowProgramCode(says(0).code[:8] + counts.code, True)}, here(1))
assert sent()[0] == PASS, "another program begins anew"
assert sent(ports=(1, 9001)) == (PASS, "passed")

# One in 64 is measured.
run_xdp(filtering.program("filter"), frame(b"hello"), 130)
with PinnedFlowPrograms(filesystem) as one:
    (measured, ns), = one.costs().values()
assert 2 <= measured <= 5 and ns > 0, (measured, ns)
"""

KEPT = """
hold({"a": says(1), "b": says(1)}, here(1), here(2, 9001))
wrong = code((0x79, 0x60, 0, 0), (0x95, 0, 0, 0))  # of a register that has nothing
for programs in ({"a": says(0), "b": wrong}, {"n": wrong}):
    try:
        hold(programs, here(1), here(len(programs), 9001))
        raise SystemExit("it was taken")
    except PinError as exc:
        assert refusal(str(exc))[1] == 0, exc
    assert sent() == (DROP, "flow_dropped a") and sent(ports=(1, 9001)) == (DROP, "flow_dropped b")

# Numbers are used again, and counters begin anew.
assert pinned.counts()["flow_dropped a"][0] > 0
hold({"c": says(0), "b": says(1)}, here(1), here(2, 9001))
assert pinned.counts()["flow_dropped b"][0] > 0 and "flow_dropped a" not in pinned.counts()
assert pinned.counts()["flow_dropped c"] == (0, 0) and sent() == (PASS, "flow_passed c")
hold({f"p{n}": says(n % 2) for n in range(16)}, *(here(n + 1, 9000 + n) for n in range(16)))
assert [sent(ports=(1, 9000 + n))[0] for n in range(16)] == [PASS, DROP] * 8
hold({})
assert sent() == (PASS, "passed") and sent(ports=(1, 9001)) == (PASS, "passed")

# What the filter is taken off with.
flow_programs.can_call = lambda: False
try:
    hold({"a": says(1)}, here(1))
    raise SystemExit("it was taken")
except PinError as exc:
    assert "cannot run on" in str(exc), exc
hold({})
filtering.close(); pinned.close()
assert remove(filesystem) and not folder.exists()
# The verifier takes the call out where the kernel could not have it.
load([], filesystem)
remove(filesystem)
"""


@pytest.mark.parametrize("script", [JUDGED, KEPT], ids=["judged", "kept"])
def test_in_the_kernel(filesystem, script):
    isolated(SETUP + script, filesystem)


def code(*instructions):
    return FlowProgramCode(b"".join(struct.pack("=BBhi", *one) for one in instructions), False)


FINE = code((0xB7, 0, 0, 0), (0x95, 0, 0, 0))
PLACE = pack_places([JudgedPlace(ip_network("192.0.2.0/24"), 9000, 1 | LOG | IN_USE)])


def test_what_is_taken():
    FlowPrograms().check()
    FlowPrograms({"a": FINE}, PLACE).check()


@pytest.mark.parametrize(
    ("programs", "why"),
    [
        (FlowPrograms({f"p{n}": FINE for n in range(17)}), "16 flow programs"),
        (FlowPrograms({"": FINE}), "the name"),
        (FlowPrograms({"a": code((0x85, 0, 0, 1), (0x95, 0, 0, 0))}), "flow program a, instruction 0: .*helper 1"),
        (FlowPrograms({"a": FlowProgramCode(b"x", False)}), "flow program a: a program must consist of whole"),
        (FlowPrograms({"a": FINE}, PLACE[:-1]), "places at most"),
        (FlowPrograms({}, PLACE), "a program that there is not"),
        (FlowPrograms({"a": FINE}, PLACE[:5] + b"\x05" + PLACE[6:]), "prefix"),
        (FlowPrograms({"a": FINE}, PLACE[:4] + b"\x06" + PLACE[5:]), "prefix"),
        (FlowPrograms({"a": FINE}, PLACE[:23] + b"\x01" + PLACE[24:]), "is no prefix"),
    ],
)
def test_what_is_not(programs, why):
    with pytest.raises(PinError, match=why):
        programs.check()


def test_whose_refusal_it_is():
    assert refusal("flow program a.b, instruction 7: no\nreason") == ("a.b", 7, "no\nreason")
    assert refusal("flow program a: no") == ("a", None, "no")
    assert refusal("the filter is off") is None


def test_what_kernels_can(monkeypatch):
    for machine, release, can in (
        ("x86_64", "5.10.0-30-amd64", True),
        ("aarch64", "5.10.0-30-arm64", False),
        ("aarch64", "6.1.0", True),
        ("riscv64", "6.12.1", False),
    ):
        monkeypatch.setattr(flow_programs.platform, "machine", lambda machine=machine: machine)
        monkeypatch.setattr(flow_programs.platform, "release", lambda release=release: release)
        assert can_call() == can and filter_constants() == struct.pack("=I", can)
