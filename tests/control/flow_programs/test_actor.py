"""What a configuration says of flow programs, in the kernel, in a network namespace of its own."""

from pathlib import Path

from spectrum.control.flow_programs.actor import told
from spectrum.control.flow_programs.reading import ReadProgram
from spectrum.core.flow_programs.elf import FlowCode
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

SOURCE = "#include <spectrum_flow.h>\nFLOW_PROGRAM(packet)\n{\n\treturn flow_u8(packet, 0) == 7;\n}\n"
TEXT = """
filter: {interfaces: [lo], guard: ['::1/128']}
ddos: {}
apps: {game: {protocol: udp/9000, edge_ips: [192.0.2.1], origin_direct: ['udp://192.0.2.9:1']}}
"""

SCRIPT = """
import asyncio, dataclasses, sys
from pathlib import Path
from spectrum.control.configuration.actor import Change, ConfigDifference, Plan, RolloutError
from spectrum.control.configuration.loader import load_text
from spectrum.control.filter.node import NodeFilter
from spectrum.control.flow_programs.actor import FlowProgramsActor
from spectrum.control.flow_programs.kept_objects import KeptObjects
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.filter.flow_programs import COSTS, PinnedFlowPrograms

filesystem = Path(sys.argv[1])
node = NodeFilter(helper := Helper(filesystem))
folder = filesystem.parent / "kept"
actor = FlowProgramsActor(node, KernelCounts(helper, "filter"), KernelCounts(helper, COSTS), KeptObjects(folder))
TEXT, SOURCE = sys.argv[2:]
game = filesystem.parent / "game.c"
game.write_text(SOURCE)

def plan(programs, text=TEXT, generation=1):
    config = load_text(f"kernel: {{bpffs: {filesystem}}}\\n{text}\\nflow_programs: {programs}", "f")
    return Plan(config, Snapshot(generation, (), 0, True), {}, b"")

def held():
    with PinnedFlowPrograms(filesystem) as one:
        return {name: value[0] for name, value in one._names().items()}, len(list(one.maps["judged_places"].items()))

def program(mode="log", path=game):
    return f"{{game: {{source: {path}, apps: [game], mode: {mode}}}}}"

async def rollout(before, after):
    change = Change(before, after)
    await asyncio.to_thread(node.apply, after.config)
    await actor.prepare(change)
    await actor.commit(change)
    return change

async def main():
    nothing, logged = plan("{}", generation=0), plan(program())
    shown, = (one.answer for one in actor.resources())
    assert await shown(ResourceRequest({})) == {"programs": {}}
    assert not await actor.metrics() and not await actor.status()
    change = await rollout(nothing, logged)
    assert held() == ({"game": 0}, 1), held()
    assert len(list(folder.glob("*.o"))) == 1
    found = (await shown(ResourceRequest({})))["programs"]
    assert found == (await actor.status())["flow_programs"] == {"game": {
        "mode": "log", "file": str(game), "apps": ["game"], "in_use": False, "judged": 0, "passed": 0, "would_drop": 0,
        "dropped": 0, "ns_per_datagram": None}}, found
    samples = {sample.name: sample.value for family in await actor.metrics() for sample in family.samples}
    assert samples == {"spectrum_flow_program_mode": 1, "spectrum_flow_program_measured_total": 0,
                       "spectrum_flow_program_seconds_total": 0}, samples

    # One that the verifier refuses leaves the former in force, and is told with its line.
    bad = filesystem.parent / "bad.c"
    bad.write_text(SOURCE.replace("flow_u8(packet, 0)", "packet->payload[flow_u16(packet, 0)]"))
    try:
        await actor.prepare(Change(logged, plan(program(path=bad))))
        raise SystemExit("it was taken")
    except RolloutError as exc:
        assert f"flow program game: {bad}:4: the kernel does not take it: " in str(exc), exc
    assert held() == ({"game": 0}, 1)

    # What is disabled judges nothing; what is refused later is put back.
    disabled = plan(program("disabled"))
    change = await rollout(logged, disabled)
    assert held() == ({}, 0) and len(list(folder.glob("*.o"))) == 1, "a start with it needs no compiler either"
    await actor.abort(change)
    assert held() == ({"game": 0}, 1)

    # A change of objects that have nothing to do with it is none of its; where apps are served is.
    other = dataclasses.replace(disabled, since=ConfigDifference(logged.config, {"pools": ["x"]}))
    await actor.prepare(Change(logged, other))
    assert held() == ({"game": 0}, 1)
    moved = plan(program(), TEXT.replace("192.0.2.1]", "192.0.2.1, 192.0.2.2]"))
    since = ConfigDifference(logged.config, {"apps": ["game"]})
    await actor.prepare(Change(logged, dataclasses.replace(moved, since=since)))
    assert held() == ({"game": 0}, 2)

    # Without a filter there is nothing, and with one again all of it.
    await asyncio.to_thread(node.remove)
    off = plan("{}", TEXT.replace("filter:", "#").replace("ddos: {}", ""))
    await actor.prepare(Change(moved, off))
    await asyncio.to_thread(node.apply, moved.config)
    await actor.restore(moved)
    assert held() == ({"game": 0}, 2)
    await asyncio.to_thread(node.remove)
    helper.close()

asyncio.run(main())
"""


def test_in_the_kernel(filesystem, require):
    require("clang")
    isolated(SCRIPT, filesystem, TEXT, SOURCE)


def test_what_is_of_no_program():
    assert told(PinError("the filter is off"), {}) == "the filter is off"
    read = ReadProgram(Path("/a.c"), FlowCode(b"", False), b"")
    assert told(PinError("flow program a, instruction 3: no"), {"a": read}) == "flow program a: /a.c: no"
