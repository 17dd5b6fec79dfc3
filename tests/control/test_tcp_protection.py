"""What a configuration says of TCP protection, in the kernel, in a network namespace of its own."""

from spectrum.control.tcp_protection import packets_by_reason
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

SCRIPT = """
import asyncio, dataclasses, sys
from pathlib import Path
from spectrum.control.configuration.actor import Change, ConfigDifference, Plan, RolloutError
from spectrum.control.configuration.loader import load_text
from spectrum.control.filter.node import NodeFilter
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.control.tcp_protection import TcpProtectionActor
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.filter.tcp_protection import PinnedTcpProtection

filesystem = Path(sys.argv[1])
node = NodeFilter(helper := Helper(filesystem))
actor = TcpProtectionActor(helper, KernelCounts(helper, "filter"))

def plan(more, has_filter=True, generation=1):
    filter = "filter: {interfaces: [lo], guard: ['192.0.2.1']}" if has_filter else ""
    apps = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}"
    config = load_text(f"kernel: {{bpffs: {filesystem}}}\\n{apps}\\n{filter}\\n{more}", "f")
    return Plan(config, Snapshot(generation, (), 0, True), {}, b"")

def judged():
    with PinnedTcpProtection(filesystem) as one:
        return one._settings()[2:6]

nothing = plan("", generation=0)
SYN = "tcp_rules: {s: {component: syn_protection, mode: enabled, rate_sensitivity: high}}"
FLOW = "tcp_rules: {f: {component: tcp_flow_protection, mode: monitoring}}"
MORE = ("\\ntcp_filters: {o: {component: syn_protection, mode: disabled, expression: tcp.dstport eq 25}}"
        "\\ntcp_prefixes: {p: {prefix: 10.0.0.0/8}}\\ntcp_allowlist: {a: {prefix: 192.0.2.7}}")

async def rollout(before, after):
    change = Change(before, after)
    await asyncio.to_thread(node.apply, after.config)
    await actor.prepare(change)
    await actor.commit(change)
    return change

async def modes():
    return [sample.value for family in await actor.metrics() for sample in family.samples]

async def main():
    shown, = (one.answer for one in actor.resources())
    assert not (await shown(ResourceRequest({})))["enabled"] and await modes() == []
    syn, flow = plan(SYN + MORE), plan(FLOW)
    await rollout(nothing, syn)
    assert judged() == (0b111, 0, 0b001, 0), judged()
    assert await modes() == [2, 0]
    found = await shown(ResourceRequest({}))
    assert found["enabled"] and found["allowlist"] == ["192.0.2.7/32"]
    assert found["components"] == {
        "syn_protection": {"mode": "enabled", "filters": {"disabled": 1}, "rule": "s", "scope": "global",
                           "place": "global", "packets_per_second": 500, "burst": 250, "mitigation_type": "challenge"},
        "tcp_flow_protection": {"mode": "disabled", "filters": {}},
    }, found
    assert found["packets"]["not_found"] == {"dropped": 0, "monitored": 0, "passed": 0}

    # Another one takes over; what is refused later is put back.
    change = await rollout(syn, flow)
    assert judged() == (0, 0, 1, 0) and await modes() == [0, 1]
    await actor.abort(change)
    assert judged() == (0b111, 0, 0b001, 0) and await modes() == [2, 0]

    # A change of objects that have nothing to do with it is none of its.
    other = dataclasses.replace(flow, since=ConfigDifference(syn.config, {"pools": ["x"]}))
    await actor.prepare(Change(syn, other))
    assert judged() == (0b111, 0, 0b001, 0)
    since = ConfigDifference(syn.config, {"tcp_rules": ["f"]})
    await actor.prepare(Change(syn, dataclasses.replace(flow, since=since)))
    assert judged() == (0, 0, 1, 0)

    # Switched off; without a filter there is nothing, and with one again all of it.
    await rollout(flow, plan(SYN + "\\ntcp_protection: {all: {enabled: false}}"))
    assert judged() == (0, 0, 0, 0) and await modes() == [0, 0]
    await rollout(flow, plan("", has_filter=False))
    await rollout(nothing, flow)
    assert judged() == (0, 0, 1, 0)
    await actor.restore(syn)
    assert judged() == (0b111, 0, 0b001, 0)

    # What the kernel does not take.
    await asyncio.to_thread(node.remove)
    try:
        await actor.prepare(Change(syn, flow))
    except RolloutError as exc:
        assert "TCP protection in the kernel" in str(exc)
    else:
        raise SystemExit("policies of a program that is not loaded were taken")

asyncio.run(main())
print("done")
"""


def test_what_a_configuration_says(filesystem):
    assert isolated(SCRIPT, filesystem) == "done\n"


def test_packets_by_reason():
    found = packets_by_reason({"tcp_dropped not_found": (7, 400), "tcp_passed unexpected": (1, 60), "passed": (9, 9)})
    assert found["not_found"] == {"dropped": 7, "monitored": 0, "passed": 0}
    assert found["unexpected"]["passed"] == 1 and len(found) == 6
