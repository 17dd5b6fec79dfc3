"""What the file says of the offload, in the kernel, in a network namespace of its own."""

import asyncio
import os
import signal

import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.control.offload import NodeOffload, OffloadActor
from spectrum.control.processes import helper as processes
from spectrum.control.processes.helper import Helper
from spectrum.control.usage import Usage
from spectrum.core.offload import UdpOffload
from spectrum.link.messages import Offloading
from spectrum.tasks import Tasks
from tests.control.plans import change, first, plan
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

APPS = "apps: {x: {protocol: udp/80, origin_direct: ['udp://192.0.2.1:80']}}\n"
SCRIPT = """
import sys
from pathlib import Path
from spectrum.control.processes.helper import Helper
from spectrum.control.offload import NodeOffload
from spectrum.control.processes.helper import Helper
from spectrum.core.offload import UdpOffload
from spectrum.kernel.offload import TUPLE, WAY, PinnedOffload, remove

filesystem = Path(sys.argv[1])
node = NodeOffload(Helper(filesystem), 5, 2)
node.apply(None)
assert (node.state, node.places, node.descriptors) == ("off", 0, [])
node.apply(UdpOffload())
assert (node.state, node.places, len(node.descriptors)) == ("on: lo", 10, 3)
with PinnedOffload(filesystem) as one:
    for number in range(2):
        one.set("flows", TUPLE.pack(bytes(16), bytes(16), number, 2), bytes(WAY.size))
def flows():
    with PinnedOffload(filesystem) as one:
        return one.status().flows
before = node.descriptors
node.apply(UdpOffload(interfaces=("lo",)))
assert (flows(), node.descriptors) == (1, before)
version = node.version
remove(filesystem)  # by hand
node.apply(UdpOffload(interfaces=("lo",)))
assert (flows(), node.version) == (0, version + 1), "there are other tables"
after = NodeOffload(Helper(filesystem), 5, 2)
with PinnedOffload(filesystem) as one:
    for number in range(2):
        one.set("flows", TUPLE.pack(bytes(16), bytes(16), number, 2), bytes(WAY.size))
after.apply(UdpOffload(interfaces=("lo",)))
assert flows() == 1, "workers of the daemon before go on"
after.apply(UdpOffload(interfaces=("lo",)), is_empty=True)
assert flows() == 0
after.apply(UdpOffload(interfaces=("lo", "nowhere")))
assert after.state.startswith("off: there is no interface nowhere") and after.places == 0
assert not list(filesystem.glob("spectrum-*"))
print("ok")
"""


def test_the_kernel_has_what_the_file_says(filesystem):
    assert isolated(SCRIPT, filesystem) == "ok\n"


def test_for_too_many_workers_it_is_off(filesystem):
    node = NodeOffload(Helper(filesystem), 5, 257)
    node.apply(UdpOffload(interfaces=("lo",)))
    assert node.state == "off: it is for 256 workers at most"


@pytest.mark.parametrize(
    ("given", "interfaces"), [("true", ()), ("{}", ()), ("{interfaces: [lo]}", ("lo",)), ("false", None)]
)
def test_switches(given, interfaces):
    found = load_text(f"{APPS}udp_offload: {given}", "f").udp_offload
    assert (found and found.interfaces) == interfaces


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "udp_offload: {interface: [lo]}",
            'udp_offload.interface: unknown key "interface"; did you mean "interfaces"?',
        ),
        ("udp_offload: yes", "udp_offload: "),
    ],
)
def test_faults_have_their_places(given, says):
    with pytest.raises(ConfigError) as caught:
        load_text(f"{APPS}{given}", "f")
    assert says in str(caught.value)


async def test_a_helper_that_hangs_delays_nothing_else(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(processes, "ANSWER_TIMEOUT_S", 0.5)
    helper = Helper(tmp_path)
    helper.start()
    helper.leave_root()
    os.kill(int(helper.state.removeprefix("on: pid ")), signal.SIGSTOP)
    node, on = NodeOffload(helper, 5, 1), f"{APPS}udp_offload: {{interfaces: [lo]}}\n"
    preparing = Tasks().start(OffloadActor(node, lambda: False, int).prepare(change(APPS, on)), "prepare")
    await asyncio.sleep(0.01)
    assert not preparing.done(), "it waits for the helper, and the loop goes on"
    await preparing
    assert node.state.startswith("off: there is no helper (pid ") and "it does not answer" in caplog.text
    helper.close()


async def test_a_rollout_takes_settings_and_gives_them_back():
    """In order: a start, a reload that is undone; without the kernel, which the test above has."""
    applied = []

    class Applied:
        def apply(self, settings, is_empty=False):
            applied.append((settings is not None, is_empty))

    on = f"{APPS}udp_offload: true\n"
    actor = OffloadActor(Applied(), lambda: False, int)
    await actor.prepare(first(on))
    await actor.abort(first(on))  # what workers of a daemon before this one have stays
    await actor.prepare(change(APPS, on))
    await actor.abort(change(APPS, on))
    await OffloadActor(Applied(), lambda: True, int).prepare(first(on))
    assert applied == [(True, True), (True, False), (False, False), (True, False)]


async def test_status_and_messages_to_workers(filesystem):
    node = NodeOffload(Helper(filesystem), 5, 1)
    actor, told = OffloadActor(node, lambda: False, lambda: 3), []

    class Worker:
        def tell(self, message, descriptors):
            told.append((message, list(descriptors)))

    assert await actor.status() == {"kernel": {"udp_offload": "off"}}
    assert [family.samples[0].value for family in await actor.metrics()] == [3]
    assert await actor.usage() == ()
    actor.tell(Worker())
    node.descriptors, node.version = list(os.pipe()), 2  # as tables would be
    actor.tell(Worker())
    assert await actor.usage() == (Usage("offloaded_flows", "node", 3, 5, "max_flows"),)
    assert told == [(Offloading(0, 0), []), (Offloading(2, 10), node.descriptors)]
    await actor.restore(plan(APPS))
    assert (node.descriptors, node.state) == ([], "off")
    await actor.drain()
