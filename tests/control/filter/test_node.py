"""What the file says of the filter, in the kernel, in a network namespace of its own."""

import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.control.filter.node import FilterActor, filter_faults, filter_paths
from spectrum.control.http.resource import ResourceRequest
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"
SCRIPT = """
import asyncio, socket, sys
from pathlib import Path
from spectrum.control.configuration.actor import Change, Plan
from spectrum.control.filter.node import FilterActor, NodeFilter
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.snapshot import Snapshot
from spectrum.control.configuration.loader import load_text
from spectrum.core.filter_rules import FilterRule
from spectrum.kernel.filter.drops import Drops, pack_drops
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.pins import PinError

filesystem, node = Path(sys.argv[1]), NodeFilter(helper := Helper(Path(sys.argv[1])))
drop = filesystem.parent / "drop.txt"
drop.write_text("198.51.100.0/24 # a line\\\\n203.0.113.7\\\\n")

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}"

def config(more):
    return load_text(f"kernel: {{bpffs: {filesystem}}}\\\\n{APPS}\\\\n{more}", "f")

def found():
    with PinnedFilter(filesystem) as one:
        return one.interfaces(), one.settings(), {k: sorted(map(str, v)) for k, v in one.blocked().items()}

node.apply(config(""))
node.remove()
lists = f"lists: {{a: {{file: {drop}}}, b: {{prefixes: ['2001:db8::/32']}}}}"
full = f"filter: {{interfaces: [lo], guard: ['::1/128'], {lists}, packets_per_second: 1000, burst: 50}}"
node.apply(config(full))
blocked = {"a": ["198.51.100.0/24", "203.0.113.7/32"], "b": ["2001:db8::/32"]}
assert found() == (["lo"], FilterSettings(1000, 50, syn_cookies=True), blocked)
given = config(full)
drop.write_text("nothing\\\\n")
try:
    node.apply(given)
    raise SystemExit("a list that is none was taken")
except PinError as exc:
    assert f"{drop}:1: 'nothing'" in str(exc), exc
assert found()[2]["a"] == ["198.51.100.0/24", "203.0.113.7/32"]
rules = "rules: {r: {protocol: udp, destination_port: 53}}"
other = "lists: {c: {prefixes: ['2001:db8:1::/48']}}"
undo = node.apply(config(f"filter: {{interfaces: [lo], guard: ['::/64'], sample_one_in: 5, {rules}, {other}}}"))
assert found()[2] == {"c": ["2001:db8:1::/48"]} and node.sampler is not None
undo()
assert found() == (["lo"], FilterSettings(1000, 50, syn_cookies=True), blocked)
assert node.sampler is None

node.apply(config("filter: {interfaces: [lo], guard: ['::1/128'], dry_run: true}"))
assert found() == (["lo"], FilterSettings(syn_cookies=True, dry_run=True), {})

# Another owner's rules: in samples by their names at once.
node.apply(config("filter: {interfaces: [lo], guard: ['::1/128'], sample_one_in: 1}"))
node.set_drops("ddos", pack_drops(rules={"flood": FilterRule(protocol=(17, 17), destination_port=(9, 9))}))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(b"x", ("127.0.0.1", 9))
assert [one["verdict"] for one in node.samples(["verdict"], 9, 9)] == ["rule ddos/flood"]
node.set_drops("ddos", Drops())
node.apply(config("filter: {interfaces: [lo], guard: ['::1/128'], dry_run: true}"))

# In a rollout: what is prepared, and what is removed at the commit, is put back.
def change(before, after):
    return Change(Plan(before, Snapshot(1, (), 0, True), {}, b""), Plan(after, Snapshot(2, (), 0, True), {}, b""))

async def rollouts():
    actor = FilterActor(node, KernelCounts(helper, 'filter'))
    dry = config("filter: {interfaces: [lo], guard: ['::1/128'], dry_run: true}")
    wet = config(f"filter: {{interfaces: [lo], guard: ['::1/128'], {rules}}}")
    await actor.prepare(change(dry, wet))
    await actor.commit(change(dry, wet))
    assert found()[1] == FilterSettings(syn_cookies=True)
    families = {family.name: family for family in await actor.metrics()}
    results = {(s.labels["result"], s.labels["name"]) for s in families["spectrum_filter_packets"].samples}
    assert {("rule", "r"), ("passed", ""), ("too_many", "")} < results, results
    await actor.abort(change(dry, wet))
    assert found()[1] == FilterSettings(syn_cookies=True, dry_run=True)
    off = change(dry, config(""))
    await actor.prepare(off)
    assert found()[1] == FilterSettings(syn_cookies=True, dry_run=True)
    await actor.abort(off)
    await actor.prepare(off)
    await actor.commit(off)
    assert node.state == "off"
    (active,) = await actor.metrics()
    assert active.samples[0].value == 0
    await actor.abort(off)
    assert found()[1] == FilterSettings(syn_cookies=True, dry_run=True)
    # The thread goes on to its end: what it did is undone.
    task = asyncio.ensure_future(actor.prepare(change(dry, wet)))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        assert found()[1] == FilterSettings(syn_cookies=True)
    await actor.abort(change(dry, wet))
    assert found()[1] == FilterSettings(syn_cookies=True, dry_run=True)

asyncio.run(rollouts())
node.apply(config(""))
try:
    found()
    raise SystemExit("it is still there")
except PinError:
    pass
print("ok")
"""


def test_the_kernel_has_what_the_file_says(filesystem):
    assert isolated(SCRIPT.replace("\\\\", "\\"), filesystem) == "ok\n"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("interfaces: [], guard: ['::/0']", "filter.interfaces: "),
        ("interfaces: [lo]", "filter.guard: "),
        ("interfaces: [lo], guard: []", "filter.guard: "),
        ("interfaces: [lo], guard: ['::/0'], lists: {a: {}}", "filter.lists.a: a list needs either prefixes or a file"),
        ("interfaces: [lo], guard: ['::/0'], lists: {a: {file: /none}}", "filter.lists.a.file: /none: cannot be read"),
        ("interfaces: [lo], guard: ['::/0'], packets_per_second: 0", "filter.packets_per_second: "),
    ],
)
def test_faults_have_their_places(given, says):
    with pytest.raises(ConfigError) as caught:
        load_text(f"{APPS}filter: {{{given}}}", "f")
    assert says in str(caught.value)


def test_files_and_faults(tmp_path):
    path = tmp_path / "list"
    path.write_text("192.0.2.0/24\n\n; a comment\n192.0.2.1/24\nx\n")
    text = f"{APPS}filter: {{interfaces: [lo], guard: ['::/0'], lists: {{a: {{file: {path}}}}}}}"
    with pytest.raises(ConfigError, match=r"list:4: .*\n.*list:5: "):
        load_text(text, "f")
    path.write_text("192.0.2.0/24\n")
    config = load_text(text, "f")
    assert filter_paths(config) == [path]
    assert filter_faults(config) == filter_faults(load_text(APPS, "f")) == filter_paths(load_text(APPS, "f")) == []


class Sampled:
    state = "off"

    def samples(self, keys, seconds, count):
        if keys != ["source"]:
            raise ValueError("no such key")
        if count < 1:
            raise OverflowError("no count")
        return [{"source": "192.0.2.1", "packets_per_second": seconds * count}]


async def test_samples_are_asked_for():
    actor = FilterActor(Sampled(), None)
    (resource,) = actor.resources()
    assert await actor.status() == {"kernel": {"filter": "off"}}
    top = await resource.answer(ResourceRequest({"by": "source", "seconds": "2.5", "count": "2"}))
    assert top == {"top": [{"source": "192.0.2.1", "packets_per_second": 5.0}]}
    for wrong in ({"by": "colour"}, {"by": "source", "seconds": "x"}, {"by": "source", "count": "0"}):
        with pytest.raises(ValueError):
            await resource.answer(ResourceRequest(wrong))
