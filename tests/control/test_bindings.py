"""What the file says of apps' bindings, in the kernel, in a network namespace of its own."""

import pytest

from spectrum.control.bindings import BindingsActor
from spectrum.control.http.resource import ResourceRequest
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

SCRIPT = """
import asyncio, socket, sys
from ipaddress import ip_network
from pathlib import Path
from spectrum.control.bindings import BindingsActor, BoundApps, parse_binding
from spectrum.control.configuration.actor import Change, Plan, RolloutError
from spectrum.control.processes.helper import Helper
from spectrum.control.listeners import ListenerBank
from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.kernel.bindings import COUNTS, Binding, Bindings, is_loaded
from spectrum.kernel.pins import PinError, folder_of, unload

filesystem, bank, bound = Path(sys.argv[1]), ListenerBank(), BoundApps(Helper(Path(sys.argv[1])))

def snapshot(**prefixes):
    body = "protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80'], bindings: [{prefix: PREFIX, port: 0}]"
    apps = ", ".join(f"{name}: {{{body.replace('PREFIX', repr(prefix))}}}" for name, prefix in prefixes.items())
    made = compile_snapshot(load_text(f"apps: {{{apps}}}", "f"), 1)
    bank.open(made.apps, 3)
    return made

def listed():
    with Bindings(filesystem) as bindings:
        return list(map(str, bindings.all()))

class Plain:
    apps = ()

bound.apply(Plain, bank)  # nothing is wanted, so nothing is loaded
try:
    listed()
    raise SystemExit("loaded without need")
except PinError:
    pass
bound.apply(snapshot(a="127.9.0.0/16", b="fd00::/64"), bank)
assert listed() == ["a tcp 127.9.0.0/16 0", "b tcp fd00::/64 0"]
for host in ("127.9.1.1", "fd00::7"):
    socket.create_connection((host, 4711), 1).close()  # somebody of the three took it
with Bindings(filesystem) as bindings:
    bindings.bind(Binding("other", "tcp", ip_network("127.8.0.0/16"), 0))
try:
    bound.apply(snapshot(a="127.8.0.0/16"), bank)
    raise SystemExit("took another's")
except PinError as exc:
    assert str(exc) == "127.8.0.0/16 port any is bound to other"
assert listed() == ["a tcp 127.9.0.0/16 0", "b tcp fd00::/64 0", "other tcp 127.8.0.0/16 0"]
bound.apply(snapshot(b="127.9.0.0/16"), bank)
assert listed() == ["b tcp 127.9.0.0/16 0", "other tcp 127.8.0.0/16 0"]

async def rollouts():
    one = Change(
        Plan(None, snapshot(b="127.9.0.0/16"), {}, b""), Plan(None, snapshot(a="127.7.0.0/16", b="fd00::/64"), {}, b"")
    )
    actor = BindingsActor(bound, bank, None)
    await actor.prepare(one)
    assert listed() == ["a tcp 127.7.0.0/16 0", "b tcp fd00::/64 0", "other tcp 127.8.0.0/16 0"]
    await actor.abort(one)
    assert listed() == ["b tcp 127.9.0.0/16 0", "other tcp 127.8.0.0/16 0"]
    try:
        await actor.prepare(Change(one.before, Plan(None, snapshot(a="127.8.0.0/16"), {}, b"")))
        raise SystemExit("took another's")
    except RolloutError as exc:
        assert str(exc) == "in the kernel: 127.8.0.0/16 port any is bound to other"
    await actor.abort(one)
    assert listed() == ["b tcp 127.9.0.0/16 0", "other tcp 127.8.0.0/16 0"]

asyncio.run(rollouts())
bound.apply(Plain, bank)
assert listed() == ["other tcp 127.8.0.0/16 0"]
bank.close(bank.keys())

# By hand, without any app: the program is loaded for it.
unload(folder_of(filesystem))
by_hand, one = BoundApps(Helper(filesystem)), parse_binding("web", "udp", "2001:db8::/32", "53")
for _ in range(2):
    assert by_hand.show() == {"bindings": [], "services": [], "counts": dict.fromkeys(COUNTS, 0)}
    try:
        by_hand.change(False, one)
        raise SystemExit("undid what is not there")
    except PinError:
        pass
    assert not is_loaded(filesystem), "that loads nothing"
    folder_of(filesystem).mkdir(exist_ok=True)  # of the filter, say
by_hand.change(True, one)
shown = by_hand.show()
assert shown["bindings"] == [{"label": "web", "protocol": "udp", "prefix": "2001:db8::/32", "port": 53}], shown
assert shown["services"] == [{"label": "web", "protocol": "udp", "bindings": 1, "sockets": []}], shown
by_hand.change(False, one)
assert by_hand.show()["bindings"] == [] and by_hand.state == "off"
for wrong in (("web", "udp", "2001:db8::1/32", "53"), ("web", "udp", "::/0", "x"), ("web", "icmp", "::/0", "1")):
    try:
        parse_binding(*wrong)
        raise SystemExit(f"{wrong} was taken")
    except ValueError:
        pass
print("ok")
"""


def test_apps_have_what_the_file_says_and_others_keep_theirs(filesystem):
    assert isolated(SCRIPT, filesystem) == "ok\n"


class Bound:
    state = "off"
    is_on = False

    def __init__(self):
        self.bindings = []

    def show(self):
        return {"bindings": [str(one) for one in self.bindings]}

    def change(self, binds, binding):
        if not binds and binding not in self.bindings:
            raise PinError("there is no such binding")
        (self.bindings.append if binds else self.bindings.remove)(binding)


class Counts:
    async def read(self):
        return {"lookups": (9, 0), "misses": (3, 0), "no_socket": (1, 0), "bad_socket": (0, 0)}


async def test_what_became_of_packets_that_were_looked_up():
    bound = Bound()
    actor = BindingsActor(bound, None, Counts())
    assert list(await actor.metrics()) == []
    bound.is_on = True
    (family,) = await actor.metrics()
    counted = {sample.labels["result"]: sample.value for sample in family.samples}
    assert counted == {"found": 5, "misses": 3, "no_socket": 1, "bad_socket": 0}


async def test_by_hand():
    actor = BindingsActor(Bound(), None, Counts())
    show, bind, unbind = actor.resources()
    assert [one.method for one in (show, bind, unbind)] == ["GET", "POST", "DELETE"]
    assert await actor.status() == {"kernel": {"bindings": "off"}}
    web = {"label": "web", "protocol": "tcp", "prefix": "192.0.2.0/24", "port": 0}
    assert await bind.answer(ResourceRequest({}, web)) == {"bindings": ["web tcp 192.0.2.0/24 0"]}
    assert await show.answer(ResourceRequest({})) == {"bindings": ["web tcp 192.0.2.0/24 0"]}
    for wrong, why in (
        (web | {"protocol": "sctp"}, "'sctp' is not a protocol; write tcp or udp"),
        ([1], "are required"),
        ({"label": "web"}, "label, protocol, prefix and port are required: 'protocol'"),
    ):
        with pytest.raises(ValueError, match=why):
            await bind.answer(ResourceRequest({}, wrong))
    assert await unbind.answer(ResourceRequest({}, web)) == {"bindings": []}
    with pytest.raises(ValueError, match="there is no such binding"):
        await unbind.answer(ResourceRequest({}, web))
