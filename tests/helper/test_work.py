"""What the helper does with a request, in a network namespace of its own: all of it, or nothing."""

import pytest

from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

BEGIN = """
import os, sys
from ipaddress import ip_network
from pathlib import Path
from spectrum.helper.work import RequestHandler
from spectrum.core.filter_rules import FilterRule, SetTerm
from spectrum.kernel.filter.drops import Drops, pack_drops, pack_prefixes
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.rules import pack_rule
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.pins import PinError
from spectrum.link.helper import *

filesystem = Path(sys.argv[1])
work = RequestHandler(filesystem)

def do(request, kind, work=work):
    answer, descriptors = work.do(request, [])
    assert isinstance(answer, kind), answer
    return answer, descriptors

def refused(request):
    return do(request, NotDone)[0].why

def drops(guard="::1/128", rules=(), **lists):
    rule = pack_rule(FilterRule(protocol=(17, 17)))
    packed = {name: pack_prefixes(map(ip_network, prefixes)) for name, prefixes in lists.items()}
    return Drops(pack_prefixes([ip_network(guard)]), packed, dict.fromkeys(rules, rule))

def found():
    with PinnedFilter(filesystem) as one:
        guarded = len(list(one.maps["guarded"].items()))
        rules = [name for name in one.places() if name.startswith("rule ")]
        lists = {name: sorted(map(str, prefixes)) for name, prefixes in one.blocked().items()}
        return one.interfaces(), one.settings(), lists, guarded, rules
"""
ALL_OR_NOTHING = """
slow, fast = FilterSettings(packets_per_second=1000, burst=50), FilterSettings(dry_run=True, sample_one_in=10)
_, descriptors = do(SetFilter(["lo"], slow, drops(a=["192.0.2.0/24"], rules=["r"])), Filtered)
assert descriptors == []
counts = do(ShowCounts("filter"), Counted)[0].counts
assert {"list a", "rule r", "passed"} < counts.keys() and counts["list a"] == (0, 0), counts
before = found()
assert before == (["lo"], slow, {"a": ["192.0.2.0/24"]}, 1, ["rule r"]), before

answer, (ring,) = do(SetFilter(["lo"], fast, drops("2001:db8:9::/64", b=["2001:db8::/32"], rules=["s", "t"])), Filtered)
assert {"list b", "rule s", "rule t"} < set(answer.places) and os.fstat(ring)
assert found() == (["lo"], fast, {"b": ["2001:db8::/32"]}, 1, ["rule s", "rule t"]), found()
answer, descriptors = do(UndoFilter(), Filtered)
assert ("list a" in answer.places, descriptors, found()) == (True, [], before)
assert "no change" in refused(UndoFilter())

# Each step fails in turn, the last one done or half done.
for name in ("guard", "configure", "rule", "block"):
    original = getattr(PinnedFilter, name)
    def fail(self, *args, original=original):
        original(self, *args)
        raise PinError("no room")
    setattr(PinnedFilter, name, fail)
    assert refused(SetFilter(["lo"], fast, drops("2001:db8:9::/64", rules=["s"], b=["2001:db8::/32"]))) == "no room"
    setattr(PinnedFilter, name, original)
    assert found() == before, name

assert refused(SetFilter(["lo", "nowhere"], fast, drops("2001:db8:9::/64"))) == "there is no interface nowhere"
assert found() == before
do(SetFilter(["lo"], fast, drops()), Filtered)
do(KeepFilter(), Done)
assert "no change" in refused(UndoFilter()), "it is kept"
assert do(RemoveFilter(), Done)[0].found and not do(RemoveFilter(), Done)[0].found
do(SetFilter(["lo"], slow, drops()), Filtered)
do(UndoFilter(), Filtered)
assert not list(filesystem.glob("spectrum-*")), "there was none before"
"""
DETECTION = """
from spectrum.core.ddos.served import ServedPlace
from spectrum.kernel.filter.detection import PinnedDetection, pack_served
from spectrum.kernel.looks import Looks
served = pack_served([ServedPlace(17, ip_network("::/0"), 53, 0)])
assert do(SetDetection(0, 0, b""), Detecting)[0].places == {}  # there is no filter, and it is off
assert "not loaded" in refused(SetDetection(1, 1, served)) and "32 bytes each" in refused(SetDetection(1, 1, b"x"))
do(SetFilter(["lo"], FilterSettings(), drops(a=["192.0.2.0/24"])), Filtered)
answer, (ring,) = do(SetDetection(10, 100, served), Detecting)
assert {"list a", "passed", "looks_lost"} < set(answer.places)
with Looks(ring) as looks:
    assert looks.read() == b""
def settings():
    with PinnedDetection(filesystem) as one:
        return one.settings()
assert (settings().idle_one_in, settings().used_one_in, settings().served) == (10, 100, served)

# The filter changes, or its helper does: it is looked on.
do(SetFilter(["lo"], FilterSettings(dry_run=True), drops()), Filtered)
do(UndoFilter(), Filtered)
do(SetFilter(["lo"], FilterSettings(), drops()), Filtered, RequestHandler(filesystem))
assert settings().served == served and list(filesystem.glob("*/sent_link_lo"))
assert do(SetDetection(0, 0, b""), Detecting)[1] == [] and not list(filesystem.glob("*/sent_*"))
assert settings().served == b""
do(SetDetection(1, 0, served), Detecting)
do(RemoveFilter(), Done)
assert not list(filesystem.glob("spectrum-*"))
"""
OWNERS = """
plain = FilterSettings()
assert refused(SetDrops("ddos", drops())).startswith("the filter is off")
do(SetFilter(["lo"], plain, drops(a=["192.0.2.0/24"], rules=["r"])), Filtered)
do(SetDrops("ddos", drops("::2/128", a=["192.0.2.0/24", "198.51.100.0/24"], rules=["flood"])), Filtered)
do(SetDrops("api", drops("::3/128", b=["203.0.113.0/24"])), Filtered)
everything = {"a": ["192.0.2.0/24"], "api/b": ["203.0.113.0/24"], "ddos/a": ["198.51.100.0/24"]}
assert found()[2:] == (everything, 3, ["rule ddos/flood", "rule r"]), found()

# The file's goes: what another one has listed too is still dropped, and still there for a helper that knows nothing.
do(SetFilter(["lo"], plain, drops()), Filtered)
rest = {"api/b": ["203.0.113.0/24"], "ddos/a": ["192.0.2.0/24", "198.51.100.0/24"]}
assert found()[2:] == (rest, 3, ["rule ddos/flood"]), found()
do(SetFilter(["lo"], plain, drops("::4/128", c=["127.9.0.0/16"], rules=["x"])), Filtered, RequestHandler(filesystem))
assert found()[2:] == ({"c": ["127.9.0.0/16"], **rest}, 3, ["rule ddos/flood", "rule x"]), found()

# Rules with sets: a helper that knows nothing reads them back.
def flood(*values):
    return pack_drops(rules={"flood": FilterRule(sets=(SetTerm("ttl", frozenset(values)),), expires_ns=1 << 62)})

def held(owner="ddos"):
    with PinnedFilter(filesystem) as one:
        return one.held()[owner]

do(SetDrops("ddos", flood(1, 2)), Filtered)
before = held()
assert before.sets == flood(1, 2).sets
do(SetDrops("api", pack_drops([ip_network("::5/128")])), Filtered, RequestHandler(filesystem))
assert held() == before and held("api").guard == pack_prefixes([ip_network("::5/128")])

# What is set between a change of the file and its undo stays; the list of the file is put back.
plain_lists = held("file").lists
do(SetFilter(["lo"], FilterSettings(dry_run=True), drops("::6/128", d=["127.1.0.0/16"])), Filtered)
do(SetDrops("ddos", flood(3, 4)), Filtered)
do(UndoFilter(), Filtered)
assert (held("file").lists, held().sets, found()[1]) == (plain_lists, flood(3, 4).sets, plain)
assert "no change" in refused(UndoFilter())
do(SetFilter(["lo"], plain, drops("::6/128", d=["127.1.0.0/16"])), Filtered)
do(KeepFilter(), Done)
do(SetDrops("ddos", flood(5)), Filtered)
assert "no change" in refused(UndoFilter()), "it is kept"

# What cannot be written changes nothing, and lists are not looked at for the sake of rules.
before = held()
original = PinnedFilter.rule
def fail(self, *args):
    original(self, *args)
    raise PinError("no room")
PinnedFilter.rule, PinnedFilter.block = fail, None
assert refused(SetDrops("ddos", flood(6))) == "no room"
PinnedFilter.rule = original
assert held() == before
do(SetDrops("ddos", flood(7)), Filtered)
do(SetDrops("ddos", Drops()), Filtered)
assert "rule ddos/flood" not in found()[4]
"""
MALFORMED = """
plain = FilterSettings()
for wrong in ("", "..", ".", "a/b", "../x", "eth 0", "a:b", "a" * 16, "\\n"):
    assert repr(wrong) in refused(SetFilter([wrong], plain, drops())), wrong
assert "1 to 256" in refused(SetFilter([], plain, drops()))
assert "malformed" in refused(SetFilter(["lo"], FilterSettings(packets_per_second=-1, burst=1), drops()))
assert "malformed" in refused(SetFilter(["lo"], FilterSettings(burst=2**70, packets_per_second=1), drops()))
for odd in (
    Drops(b"x"),
    Drops(b"\\xff" * 20),
    Drops(lists={"a": bytes(19)}),
    Drops(lists={"": b""}),
    Drops(lists={"a" * 64: b""}),
    Drops(lists={"ddos/a": b""}),
    Drops(rules={"api/a": bytes(208)}),
    Drops(rules={"a": bytes(207)}),
    Drops(rules={str(n): bytes(208) for n in range(65)}),
):
    refused(SetFilter(["lo"], plain, odd))
    if not any("/" in name for name in (*odd.lists, *odd.rules)):
        refused(SetDrops("ddos", odd))
assert "no owner" in refused(SetDrops("file", drops())) and "no owner" in refused(SetDrops("me", drops()))
assert "does not do that" in refused(OpenLine())
assert not list(filesystem.glob("spectrum-*")), "nothing has been done"
"""

BINDINGS = """
import socket
from spectrum.kernel.bindings import Binding, Bindings

def listed():
    with Bindings(filesystem) as bindings:
        return list(map(str, bindings.all())), sorted(bindings.services().items())

def set_bindings(services, bindings, *sockets):
    labels = [label for label, _ in sockets]
    descriptors = [sock if isinstance(sock, int) else sock.fileno() for _, sock in sockets]
    return work.do(SetBindings(services, bindings, labels), descriptors)

assert do(ShowBindings(), Bound)[0].document["bindings"] == []
assert do(ShowCounts("bindings"), Counted)[0].counts == {}
assert "counts nothing" in refused(ShowCounts("offload"))
with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
    mine = [("a", "tcp"), ("b", "tcp")]
    first = ("a", "tcp", "127.9.0.0/16", 0)
    assert set_bindings(mine, [first], ("a", one)) == (Done(), [])
    do(ChangeBinding(True, ("x", "udp", "127.8.0.0/16", 53)), Done)
    do(ChangeBinding(True, ("y", "tcp", "127.7.0.0/16", 0)), Done)
    socket.create_connection(("127.9.1.1", 4711), 1).close()
    assert do(ShowCounts("bindings"), Counted)[0].counts["lookups"][0] > 0
    before = listed()
    assert before[0] == ["a tcp 127.9.0.0/16 0", "x udp 127.8.0.0/16 53", "y tcp 127.7.0.0/16 0"], before

    # Others' stay, and what cannot be done changes nothing.
    wanted = [first, ("b", "tcp", "127.6.0.0/16", 0)]
    for sockets, bindings, why in (
        ([("b", other)], [*wanted, ("b", "tcp", "127.7.0.0/16", 0)], "127.7.0.0/16 port any is bound to y"),
        ([("b", other), ("a", os.open("/dev/null", 0))], wanted, "socket operation on non-socket"),
        ([("b", other)], [*wanted, ("b", "icmp", "127.6.0.0/16", 0)], "malformed"),
        ([("b", other)], [*wanted, ("b", "tcp", "127.6.0.1/16", 0)], "malformed"),
        ([("b", other)], [*wanted, ("b", "tcp", "127.6.0.0/16", 65536)], "malformed"),
        ([("b", other)], [*wanted, ("b" * 63, "tcp", "127.6.0.0/16", 1)], "a label is 1 to 62 bytes"),
    ):
        answer, _ = set_bindings(mine, bindings, *sockets)
        assert why in answer.why, answer
        assert listed() == before
    answer, _ = work.do(SetBindings(mine, wanted, ["a", "b"]), [one.fileno()])
    assert "malformed" in answer.why
    original = Bindings.apply
    def fail(self, *args):
        original(self, *args)
        raise PinError("no room")
    Bindings.apply = fail
    answer, _ = set_bindings(mine, [wanted[1]], ("b", other))
    assert (answer.why, listed()) == ("no room", before)
    Bindings.apply = original
    assert set_bindings(mine, wanted, ("b", other))[0] == Done()
    document = do(ShowBindings(), Bound)[0].document
    assert [one["label"] for one in document["bindings"]] == ["a", "b", "x", "y"]
    do(ChangeBinding(False, ("x", "udp", "127.8.0.0/16", 53)), Done)
    assert "there is no binding" in refused(ChangeBinding(False, ("x", "udp", "127.8.0.0/16", 53)))
    assert "bound to y" in refused(ChangeBinding(True, ("x", "tcp", "127.7.0.0/16", 0)))
"""

OFFLOAD = """
from spectrum.kernel import offload
from spectrum.kernel.descriptors import close_all

assert not do(RemoveOffload(), Done)[0].found
answer, tables = do(SetOffload(["lo"], 5), Offloaded)
assert (answer.fresh, len(tables), offload.may_use(tables)) == (True, 3, True)
again, same = do(SetOffload(["lo"], 5), Offloaded)
assert not again.fresh
with offload.PinnedOffload(filesystem) as one:
    one.set("leases", bytes(4), bytes(range(8)))
close_all([*tables, *same])
for wrong in ([], ["nowhere"], ["../lo"]):
    refused(SetOffload(wrong, 5))
for flows in (0, -1, 2**40):
    assert "flows" in refused(SetOffload(["lo"], flows))
assert offload.is_loaded(filesystem), "nothing has changed"
assert do(RemoveOffload(), Done)[0].found and not list(filesystem.glob("spectrum-*"))
"""

QUEUES = """
import socket
from spectrum.kernel.sockets import RECEIVE_BUFFER_BYTES

def size(sock):
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as two:
    assert work.do(EnlargeQueues(), [one.fileno(), two.fileno()]) == (Done(), [])
    assert size(one) == size(two) == 2 * RECEIVE_BUFFER_BYTES  # the kernel doubles it (socket(7))
with socket.socket() as other:
    before = size(other)
    for wrong in (other.fileno(), os.open("/dev/null", 0)):
        answer, _ = work.do(EnlargeQueues(), [wrong])
        assert isinstance(answer, NotDone), answer
    assert size(other) == before
"""


@pytest.mark.parametrize("script", [ALL_OR_NOTHING, DETECTION, OWNERS, MALFORMED, BINDINGS, OFFLOAD, QUEUES])
def test_requests(filesystem, script):
    assert isolated(f"{BEGIN}{script}\nprint('ok')", filesystem) == "ok\n"


FLOW_PROGRAMS = """
import struct
from spectrum.core.flow_programs.places import JudgedPlace
from spectrum.kernel.filter.flow_programs import COSTS, FlowProgramCode, FlowPrograms, pack_places

def programs(**some):
    packed = {name: FlowProgramCode(b"".join(struct.pack("=BBhi", *one) for one in code), False)
              for name, code in some.items()}
    places = [JudgedPlace(ip_network("192.0.2.1"), 9000 + n, n + 1) for n in range(len(some))]
    return SetFlowPrograms(FlowPrograms(packed, pack_places(places)))

fine, hostile = [(0xb7, 0, 0, 1), (0x95, 0, 0, 0)], [(0x85, 0, 0, 6), (0x95, 0, 0, 0)]
assert do(programs(), Filtered)[0].places == {} and do(ShowCounts(COSTS), Counted)[0].counts == {}
assert "the filter is off" in refused(programs(a=fine))
do(SetFilter(["lo"], FilterSettings(), drops()), Filtered)
assert "flow_dropped a" in do(programs(a=fine), Filtered)[0].places
assert do(ShowCounts(COSTS), Counted)[0].counts == {"a": (0, 0)}
for request, why in (
    (programs(a=hostile), "flow program a, instruction 0: it calls the kernel's helper 6"),
    (programs(a=fine, b=[(0x05, 0, -1, 0)]), "flow program b, instruction 0: the kernel does not take it: "),
    (SetFlowPrograms(FlowPrograms({}, b"x")), "places at most"),
):
    assert refused(request).startswith(why) or why in refused(request), refused(request)
    assert "flow_dropped b" not in do(SetFilter(["lo"], FilterSettings(), drops()), Filtered)[0].places
assert "flow_dropped a" not in do(programs(), Filtered)[0].places
do(RemoveFilter(), Done)
"""


def test_flow_programs(filesystem):
    isolated(BEGIN + FLOW_PROGRAMS, filesystem)
