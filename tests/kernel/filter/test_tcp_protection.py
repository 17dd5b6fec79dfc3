"""TCP protection in the kernel: sockets of a network namespace, and flows that it forwards."""

import pytest

from spectrum.core.tcp_protection.policy import Policies, Policy
from spectrum.kernel.filter.tcp_protection import TCP_MAPS, TcpPolicies, pack_policies
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

BEGIN = """
import socket, subprocess, sys, time
from pathlib import Path
from spectrum.core.tcp_protection.policy import Policies, Policy
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import MAPS, PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.filter.tcp_protection import PinnedTcpProtection, TcpPolicies, pack_policies
from spectrum.kernel.outgrown import load_over
from spectrum.kernel.pins import folder_of
from tests.kernel.filter.tcp_frames import ACK, DROP, FIN, PASS, PSH, RST, SYN, TX, Judge, policies

filesystem = Path(sys.argv[1])
load([], filesystem)
judge = Judge(load_over(PROGRAM, folder_of(filesystem), MAPS).program("filter"), PinnedFilter(filesystem))
tcp = PinnedTcpProtection(filesystem)
"""

LOCAL = (
    BEGIN
    + """
# Nothing comes back from there.
for line in ("link add away type veth peer name beyond", "link set away up", "link set beyond up",
             "addr add 192.0.2.1/24 dev away", "-6 addr add 2001:db8::1/64 dev away nodad"):
    subprocess.run(["ip", *line.split()], check=True)
away = {socket.AF_INET: ("192.0.2.1", "192.0.2.9"), socket.AF_INET6: ("2001:db8::1", "2001:db8::9")}
for family, host, client in ((socket.AF_INET, "127.6.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "::1")):
    tcp.hold(TcpPolicies())
    listener = socket.create_server((host, 0), family=family, backlog=2)
    port = listener.getsockname()[1]
    here = socket.create_connection((host, port), source_address=(client, 0))
    there = listener.accept()[0]
    ours, other = (here.getsockname()[1], port), (5, port)

    # Off: nothing is judged.
    assert not tcp.is_on
    for _ in range(20):
        assert judge(client, host, other, RST) == (PASS, "passed")

    # A few strays pass, then none does; the session, which was there before, is not concerned.
    tcp.hold(policies())
    assert tcp.is_on
    strays = [judge(client, host, other, ACK, 7, 9) for _ in range(12)]
    assert (PASS, "tcp_passed not_found") in strays and strays[-1] == (DROP, "tcp_dropped not_found")
    for flags in (RST, FIN, FIN | ACK, PSH | ACK, RST | ACK):
        assert judge(client, host, other, flags) == (DROP, "tcp_dropped not_found")
        assert judge(client, host, ours, flags) == (PASS, "passed")

    # SYN-ACKs that nobody waits for; one for a session whose ACK was lost is known.
    answers = [judge(client, host, other, SYN | ACK) for _ in range(12)]
    assert answers[0] == (PASS, "tcp_passed unexpected") and answers[-1] == (DROP, "tcp_dropped unexpected")
    assert judge(client, host, ours, SYN | ACK) == (PASS, "passed")
    nowhere = [judge(client, host, (80, 9), SYN | ACK) for _ in range(12)]
    assert nowhere[-1] == (DROP, "tcp_dropped challenge_needed")

    # SYNs beyond the rate: the kernel has room in its queue, and wants no cookies yet.
    syns = [judge(client, host, (n, port), SYN) for n in range(1, 12)]
    assert syns[-1] == (PASS, "tcp_passed challenge_needed"), syns
    Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("2")
    assert judge(client, host, other, SYN) == (TX, "tcp_dropped challenge_needed")
    Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("1")
    # Where nothing listens nothing can be answered.
    assert judge(client, host, (5, 9), SYN) == (DROP, "tcp_dropped challenge_needed")

    # An answer that is waited for passes; the address of an open connection is found in the other direction.
    waiting = socket.socket(family, socket.SOCK_STREAM)
    own, gone = away[family]
    waiting.bind((own, 0))
    waiting.setblocking(False)
    waiting.connect_ex((gone, 99))
    mine = waiting.getsockname()[1]
    for flags in (SYN | ACK, SYN):
        assert judge(gone, own, (99, mine), flags) == (PASS, "passed")
    waiting.close()

    # Monitoring counts, and drops nothing.
    tcp.hold(policies("monitoring"))
    assert judge(client, host, other, ACK) == (PASS, "tcp_monitored not_found")
    assert judge(client, host, other, SYN) == (PASS, "tcp_monitored challenge_needed")
    assert judge(client, host, other, SYN | ACK) == (PASS, "tcp_monitored unexpected")

    # A dry run of the whole filter.
    tcp.hold(policies())
    judge.pinned.configure(FilterSettings(dry_run=True))
    assert judge(client, host, other, ACK) == (PASS, "tcp_dropped not_found")
    judge.pinned.configure(FilterSettings())

    # Closing: what belongs to a session that is in TIME_WAIT is known.
    there.close()  # it closes first, and has to wait
    assert here.recv(1) == b""
    here.close()
    assert judge(client, host, ours, ACK) == (PASS, "passed")
print("done")
"""
)

FORWARDED = (
    BEGIN
    + """
def sh(line):
    subprocess.run(line.split(), check=True)

sh("ip link add west type veth peer name beyond")
sh("ip link set beyond up")
sh("ip link set west up")
sh("ip addr add 192.0.2.1/24 dev west")
sh("ip -6 addr add 2001:db8::1/64 dev west nodad")
for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
    Path("/proc/sys/net", path).write_text("1")

for client, host in (("203.0.113.5", "192.0.2.7"), ("2001:db8:1::5", "2001:db8::7")):
    ports = [1000, 22]

    def sent(flags, sequence=0, acknowledged=0, payload=b"", source=None):
        verdict, name = judge(source or client, host, tuple(ports), flags, sequence, acknowledged, payload)
        assert (verdict == DROP) == name.startswith("tcp_dropped"), (verdict, name)
        return name

    def flood():
        # Beyond the rate for strays: only what is known passes now.
        for n in range(10):
            judge(client, host, (50000 + n, 9), RST, 1)

    tcp.hold(TcpPolicies())
    tcp.hold(policies(flow=Policy("enabled", 0.001, 2)), 0)

    # New, open, closing; numbers wrap.
    first = 2**32 - 3
    assert sent(SYN, first) == "passed"
    flood()
    assert sent(ACK, first + 1, 500) == "passed"
    assert sent(ACK | PSH, first + 1, 500, b"x" * 100) == "passed"
    assert sent(ACK, first + 101, 900) == "passed"
    assert sent(ACK, first + 1, 500, b"x" * 100) == "passed"  # sent again
    assert sent(ACK, first + 1 + 2**27, 900) == "tcp_dropped out_of_sequence"
    assert sent(ACK, first + 101, 900 + 2**27) == "tcp_dropped out_of_sequence"
    assert sent(RST, first + 101 + 2**27) == "tcp_dropped out_of_sequence"
    assert sent(RST, first + 5000) == "passed"  # not exact: the host answers with a challenge ACK (RFC 5961)
    assert sent(ACK, first + 101, 900) == "passed"
    assert sent(FIN | ACK, first + 101, 900) == "passed"
    assert sent(ACK, first + 102, 950) == "passed"
    assert sent(RST, first + 102) == "passed"
    assert sent(ACK, first + 102, 950) == "tcp_dropped already_closed"

    # The same ports again, and the first ACK is lost: data comes next.
    assert sent(SYN, 70000) == "passed"
    flood()
    assert sent(ACK, 10**9, 3) == "tcp_dropped out_of_sequence"
    assert sent(ACK | PSH, 70001, 3, b"hello") == "passed"

    # A SYN to an open flow does not take its numbers away.
    assert sent(SYN, 123456789)[:10] != "tcp_dropped"
    assert sent(ACK, 70006, 3) == "passed"

    # Floods of packets without a flow.
    for n, flags in enumerate((ACK, RST, FIN, FIN | ACK, PSH | ACK, RST | ACK)):
        ports[0] = 3000 + n
        assert sent(flags, 10 * n, 20 * n) == "tcp_dropped not_found", flags

    # SYNs and SYN-ACKs beyond the rate have to come twice.
    for flags in (SYN, SYN | ACK):
        ports[0] = 4000 + flags
        for n in range(20):
            judge(client, host, (20000 + n, 9), flags, 1)
        assert sent(flags, 5) == "tcp_dropped challenge_needed"

    # A flow that began before is picked up while strays are few, and one of ours once its numbers went on.
    tcp.hold(policies(flow=Policy("enabled", 10**9, 10**9)), 0)
    host = host.replace("7", "8")
    ports[0] = 5000
    names = [sent(ACK | PSH, 1000 + 10 * n, 77, b"0123456789") for n in range(6)]
    assert names[:3] == ["tcp_passed not_found"] * 3 and names[-1] == "passed", names
    ports[0] = 5001  # nothing goes on: a replay
    assert [sent(ACK, 1000, 77) for n in range(6)] == ["tcp_passed not_found"] * 6
    tcp.hold(policies(flow=Policy("enabled", 0.001, 2)), 0)
    flood()
    assert sent(ACK, 1000, 77) == "tcp_dropped not_found"
    ports[0] = 5000
    assert sent(ACK, 1060, 77) == "passed"

    # While flows are learned all of them are.
    tcp.hold(TcpPolicies())
    tcp.hold(policies(flow=Policy("enabled", 0.001, 0)), 60)
    for n in range(20):
        ports[0] = 6000 + n
        assert sent(ACK, n, n) == "tcp_passed not_found"
    assert tcp.flows() > 20
    # No flow is learned of what is for this machine and has no socket.
    known = tcp.flows()
    for n in range(5):
        judge(client, host[:-1] + "1", (7000 + n, 9), ACK, n, n)
    assert tcp.flows() == known
print("done")
"""
)

FILTERS = (
    BEGIN
    + """
from spectrum.core.configuration.config import Config
from spectrum.core.tcp_protection.policies import compile_policies

def on(**sections):
    found = compile_policies(Config.model_validate(sections))
    hasty = tuple(Policy(one.mode, 0.001, 0) for one in found.policies)
    tcp.hold(pack_policies(Policies(hasty, found.components, found.tables)))

def flow(mode, expression="true"):
    return {"component": "tcp_flow_protection", "mode": mode, "expression": expression}

rule = {"a": {"component": "tcp_flow_protection", "mode": "enabled"}}
socket.create_server(("", 22))
on(tcp_rules=rule,
   tcp_prefixes={"a": {"prefix": "127.6.0.0/16"}, "b": {"prefix": "127.6.9.0/24", "excluded": True},
                 "c": {"prefix": "::1"}},
   tcp_allowlist={"x": {"prefix": "127.7.0.0/16"}},
   tcp_filters={"off": flow("disabled", "tcp.dstport eq 23 or ip.src in {127.8.1.0/24 ::2}"),
                "see": flow("monitoring", "tcp.srcport in {1000..1999} and ip.dst ne 127.6.0.2")})
for source, destination, ports, expected in (
    ("127.8.0.1", "127.6.0.1", (1, 22), "tcp_dropped not_found"),
    ("127.8.0.1", "127.6.9.1", (1, 22), "passed"),
    ("127.8.0.1", "127.5.0.1", (1, 22), "passed"),
    ("127.7.0.1", "127.6.0.1", (1, 22), "passed"),
    ("127.8.1.1", "127.6.0.1", (1, 22), "passed"),
    ("127.8.0.1", "127.6.0.1", (1, 23), "passed"),
    ("127.8.0.1", "127.6.0.1", (1500, 22), "tcp_monitored not_found"),
    ("127.8.0.1", "127.6.0.1", (1500, 23), "tcp_monitored not_found"),
    ("127.8.0.1", "127.6.0.2", (1500, 22), "tcp_dropped not_found"),
    ("127.8.0.1", "127.6.0.1", (2000, 22), "tcp_dropped not_found"),
    ("::2", "::1", (1, 22), "passed"),
    ("::3", "::1", (1, 22), "tcp_dropped not_found"),
):
    judge(source, destination, ports, ACK)
    assert judge(source, destination, ports, ACK)[1] == expected, (source, destination, ports)
    assert judge(source, destination, ports, SYN)[1] == "passed"
on(tcp_rules=rule)
assert judge("127.7.0.1", "127.6.0.1", (1, 22), ACK)[1] == "tcp_dropped not_found"
on()
assert judge("127.7.0.1", "127.6.0.1", (1, 22), ACK)[1] == "passed"
print("done")
"""
)


@pytest.mark.parametrize("script", [LOCAL, FORWARDED, FILTERS], ids=["sockets", "forwarded", "filters"])
def test_in_the_kernel(filesystem, script):
    assert isolated(script, filesystem) == "done\n"


def test_what_another_process_sent_is_checked():
    good = pack_policies(Policies((Policy("enabled", 10, 1),), (1, 0), ({(96, 0): 1}, {}, {}, {(16, 22): 1})))
    good.check()
    TcpPolicies().check()
    assert good.tables == 0b1001
    for bad in (
        TcpPolicies(policies=b"x"),
        TcpPolicies(policies=good.policies * 129),
        TcpPolicies(prefixes=b"x" * 39),
        TcpPolicies(prefixes=b"\xff" * 40),
        TcpPolicies(tables=16),
        TcpPolicies(components=(0, 0, 0, 2**64)),
    ):
        with pytest.raises(PinError):
            bad.check()


def test_sizes_of_maps():
    assert TCP_MAPS["tcp_terms"] == (24, 16) and TCP_MAPS["tcp_settings"][1] == 48
