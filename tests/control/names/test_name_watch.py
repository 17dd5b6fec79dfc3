import asyncio
import time

import pytest

from spectrum.control.configuration.watch import FilesRead
from spectrum.control.names import name_watch as module
from spectrum.control.names.name_watch import NamesActor, NameWatch, OwnListeners
from spectrum.control.names.resolver import Answer, LookupFailure, Resolver
from spectrum.core.names import NameSettings
from tests.control.dns_server import DnsServer
from tests.control.keepers import until
from tests.control.plans import change, plan


class Scripted:
    """Gives the answer that it is told to give; the real resolver has tests of its own, and is used below."""

    paths = ()

    def __init__(self, *addresses, ttl_s=600.0):
        self.files = FilesRead()
        self.answer = Answer(addresses, ttl_s)
        self.asked = 0

    async def look_up(self, name, kind):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def make():
    """A function that returns a watch and the list of what it told."""
    made = []

    def build(resolver, refuse=lambda *_: None):
        changes = []
        made.append(NameWatch(changes.append, refuse, resolver))
        return made[-1], changes

    yield build
    for watch in made:
        await watch.stop()


def a_name(name="x", kind="", ttl_s=0.01, port=22):
    return NameSettings(name, kind, ttl_s, port, port)


KEY = "ANY x tcp 22-22"


async def test_names_are_followed(make, caplog):
    caplog.set_level("INFO")
    resolver = Scripted("192.0.2.1")
    watch, changes = make(resolver)
    await watch.watch(frozenset([a_name()]))
    assert changes == [{KEY: ("192.0.2.1",)}]
    resolver.answer = Answer(("192.0.2.2", "192.0.2.1"), 600)
    await until(lambda: len(changes) == 2)
    resolver.answer = Answer(("192.0.2.1", "192.0.2.2"), 600)  # another order is no change
    asked = resolver.asked
    await until(lambda: resolver.asked > asked + 2)
    assert len(changes) == 2
    resolver.answer = LookupFailure("no such name", "no_name")
    await until(lambda: watch.failures)
    assert watch.addresses[KEY] == ("192.0.2.2", "192.0.2.1")  # the last good answer stays
    assert "origin name x: no such name; addresses in use: 192.0.2.2, 192.0.2.1" in caplog.text
    [watched] = watch.watched()
    assert (watched.result, watched.failure, watched.addresses) == (
        "no_name",
        "no such name",
        ("192.0.2.1", "192.0.2.2"),
    )
    resolver.answer = Answer(("192.0.2.9",), 600)
    await until(lambda: len(changes) == 3)
    assert (watch.failures, watched.failure) == ({}, "")
    assert watched.results["no_name"] >= 1
    assert watched.age_s < 5
    assert "origin name x: answered again: 192.0.2.9" in caplog.text
    await watch.watch(frozenset())
    assert (watch.addresses, watch.watched()) == ({}, [])
    asked = resolver.asked
    await asyncio.sleep(0.05)
    assert resolver.asked == asked


@pytest.mark.parametrize(
    ("bound_s", "answer", "least_s", "most_s"),
    [
        (600, Answer(("192.0.2.1",), 30), 30, 30),
        (600, Answer(("192.0.2.1",), 0), 1, 1),
        (600, Answer(("192.0.2.1",), 86400), 600, 600),
        (600, Answer(("192.0.2.1",), float("inf")), 600, 600),
        (5, LookupFailure("no such name", "no_name", 3600), 5, 5),
        (600, LookupFailure("no such name", "no_name", 300), 300, 300),
        (600, LookupFailure("no answer", "no_answer"), 1, 1),
    ],
)
async def test_when_it_is_looked_up_again(make, bound_s, answer, least_s, most_s):
    resolver = Scripted()
    resolver.answer = answer
    watch, _ = make(resolver)
    await watch.watch(frozenset([a_name(ttl_s=bound_s)]))
    assert least_s <= await watch._look(module.WatchedName("x", "", frozenset([a_name(ttl_s=bound_s)]))) <= most_s


async def test_failures_are_tried_later_each_time_and_success_begins_again(make):
    resolver = Scripted()
    resolver.answer = LookupFailure("no answer", "no_answer")
    watch, _ = make(resolver)
    await watch.watch(frozenset([a_name(ttl_s=20)]))
    [watched] = watch.watched()
    assert [await watch._look(watched) for _ in range(6)] == [2, 4, 8, 16, 20, 20]
    resolver.answer = Answer(("192.0.2.1",), 5)
    assert await watch._look(watched) == 5
    resolver.answer = LookupFailure("no answer", "no_answer")
    assert await watch._look(watched) == 1


async def test_a_look_up_that_fails_in_an_unforeseen_way_is_tried_again(make, caplog):
    resolver = Scripted()
    resolver.answer = ZeroDivisionError("oh")
    watch, changes = make(resolver)
    await watch.watch(frozenset([a_name()]))
    assert watch.failures == {KEY: "the look-up itself failed: oh"}
    resolver.answer = Answer(("192.0.2.1",), 5)
    await until(lambda: changes)
    assert "look-up of x" in caplog.text


async def test_addresses_that_lead_back_to_us_are_left_out(make):
    resolver = Scripted("127.0.0.1", "192.0.2.1")
    watch, changes = make(resolver, lambda name, address: "a loop" if address == "127.0.0.1" else None)
    await watch.watch(frozenset([a_name()]))
    assert changes == [{KEY: ("192.0.2.1",)}]
    resolver.answer = Answer(("127.0.0.1",), 600)
    await until(lambda: watch.failures)
    assert watch.failures == {KEY: "a loop"}


async def test_one_look_up_for_all_who_use_a_name(make):
    resolver = Scripted("127.0.0.1")
    watch, changes = make(resolver, lambda name, address: "a loop" if name.first_port == 80 else None)
    await watch.watch(frozenset([a_name(port=22, ttl_s=60), a_name(port=80, ttl_s=90)]))
    assert resolver.asked == 1
    assert watch.addresses == {KEY: ("127.0.0.1",)}
    assert watch.failures == {"ANY x tcp 80-80": "a loop"}
    await watch.watch(frozenset([a_name(port=22, ttl_s=60), a_name(port=443, ttl_s=90)]))  # a new one need not wait
    assert changes[-1] == {"ANY x tcp 443-443": ("127.0.0.1",)}
    assert watch.failures == {}
    assert resolver.asked == 1
    await watch.watch(frozenset([a_name(port=22, ttl_s=0.01)]))  # a shorter ttl counts at once
    await until(lambda: resolver.asked > 1)


async def test_the_ports_of_services_are_those_of_their_records(make):
    resolver, refused = Scripted("10 1 5060 127.0.0.1", "10 1 5061 192.0.2.1"), []

    def refuse(name, address):
        refused.append((name.first_port, name.last_port, address))
        return "a loop" if name.first_port == 5060 else None

    watch, changes = make(resolver, refuse)
    await watch.watch(frozenset([NameSettings("x", "SRV", 60, 0, 0)]))
    assert refused == [(5060, 5060, "127.0.0.1"), (5061, 5061, "192.0.2.1")]
    assert changes == [{"SRV x tcp 0-0": ("10 1 5061 192.0.2.1",)}]


# --- with real look-ups -----------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    (tmp_path / "hosts").write_text("")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30\n")
    return tmp_path / "resolv.conf", tmp_path / "hosts"


async def test_dead_names_delay_nothing_else(make, files, monkeypatch, caplog):
    """However many there are: each has one look-up, and those without an answer have room of their own.

    No look-up of theirs ends in this test: that takes `MAX_LOOKUP_S`, more than `until` waits.
    """
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.1)
    records = {"*": None, ("good.test.", "A"): ["192.0.2.1"]}
    async with DnsServer(records, ttl=1).running() as server:
        watch, changes = make(Resolver(*files, server.port))
        dead = [a_name(f"dead{i}.test", "A", 600) for i in range(200)]
        await watch.watch(frozenset([*dead, a_name("good.test", "A", 1)]))
        assert "some names of origins have no address yet" in caplog.text
        await until(lambda: changes)
        records["good.test.", "A"] = ["192.0.2.2"]
        await until(lambda: len(changes) == 2)
        await asyncio.wait_for(watch.stop(), 10)
        assert [one.name for one in watch.watched() if one.results] == ["good.test"]


async def test_names_that_take_long_keep_no_room_from_others(make, files, monkeypatch):
    monkeypatch.setattr(module, "MAX_LOOKUPS", 2)
    monkeypatch.setattr(module, "MAX_DOUBTFUL_LOOKUPS", 1)
    monkeypatch.setattr(module, "HASTE_S", 0.1)
    async with DnsServer({"*": None, ("good.test.", "A"): ["192.0.2.1"]}).running() as server:
        watch, changes = make(Resolver(*files, server.port))
        waiting = asyncio.get_running_loop().create_task(
            watch.watch(frozenset([*(a_name(f"dead{i}.test", "A", 600) for i in range(8)), a_name("good.test", "A")]))
        )
        await until(lambda: changes)
        assert not waiting.done()
        watch.stop_waiting()
        await waiting


async def test_a_slow_answer_is_waited_for(make, files, monkeypatch):
    monkeypatch.setattr(module, "HASTE_S", 0.1)
    async with DnsServer({"*": ["192.0.2.1"]}, delay_s=0.3).running() as server:
        watch, changes = make(Resolver(*files, server.port))
        await watch.watch(frozenset([a_name("slow.test", "A", 600)]))
        assert len(changes) == 1


async def test_so_many_at_once(make, files, monkeypatch):
    monkeypatch.setattr(module, "MAX_LOOKUPS", 5)
    async with DnsServer({"*": ["192.0.2.1"]}, delay_s=0.02).running() as server:
        watch, changes = make(Resolver(*files, server.port))
        await watch.watch(frozenset(a_name(f"a{i}.test", "A", 600) for i in range(40)))
        assert (len(changes), server.most) == (40, 5)


async def test_other_files_are_looked_at_at_once(make, files):
    async with DnsServer({"*": ["192.0.2.1"]}).running() as server:
        watch, changes = make(Resolver(*files, server.port))
        await watch.watch(frozenset([a_name(kind="A", ttl_s=600)]))
        files[1].write_text("192.0.2.99 x\n")
        await until(lambda: len(changes) == 2)
        assert changes == [{"A x tcp 22-22": ("192.0.2.1",)}, {"A x tcp 22-22": ("192.0.2.99",)}]


async def test_the_addresses_of_the_supervisor_before_hold_until_there_is_an_answer(make):
    resolver = Scripted()
    resolver.answer = LookupFailure("no answer", "no_answer")
    other = a_name("y", port=23)
    watch, changes = make(resolver, refuse=lambda _, address: "a loop" if address == "192.0.2.9" else None)
    watch.remember({KEY: ("192.0.2.1", "192.0.2.9"), "ANY y tcp 23-23": ("192.0.2.9",), "ANY z tcp 1-1": ("::1",)})
    began = time.monotonic()
    await watch.watch(frozenset([a_name(), other]))
    # What this configuration makes a loop is not taken, and what nobody asks for is not there.
    assert watch.addresses == {KEY: ("192.0.2.1",)}
    await watch.watch(frozenset([a_name()]))
    assert time.monotonic() - began < module.START_TIMEOUT_S
    await until(lambda: watch.failures)
    assert watch.addresses == {KEY: ("192.0.2.1",)}
    resolver.answer = Answer(("192.0.2.3",), 600)
    await until(lambda: changes)
    assert watch.addresses == {KEY: ("192.0.2.3",)}


def apps(port):
    return f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"


def test_addresses_that_are_of_no_use(free_port):
    port = free_port()
    own = OwnListeners(plan(apps(port)).config)
    name = a_name("a.example", port=port)
    assert own.refuse(name, "192.0.2.1") is None
    assert own.refuse(name, "127.0.0.1") == f"127.0.0.1 port {port} is the listener of app x: a loop"
    assert "0.0.0.0 is not reachable" in own.refuse(name, "0.0.0.0")
    assert "link-local IPv6 addresses are not supported" in own.refuse(name, "fe80::5")


async def test_names_of_both_configurations_are_looked_up_until_one_is_served(make):
    def text(origin, port):
        return f"apps: {{x: {{protocol: tcp/{port}, origin_dns: {{name: {origin}}}, origin_port: {port}}}}}\n"

    one = change(text("a.test", 22), text("b.test", 23))
    own = OwnListeners(one.before.config)
    watch, _ = make(Scripted("192.0.2.1"), own.refuse)
    actor = NamesActor(watch, own)
    await watch.watch(one.before.snapshot.names())

    def names():
        return {watched.name for watched in watch.watched()}

    await actor.prepare(one)
    assert names() == {"a.test", "b.test"}
    assert own.refuse(a_name(port=23), "127.0.0.1") and not own.refuse(a_name(port=22), "127.0.0.1")
    await actor.abort(one)
    assert names() == {"a.test"}
    assert own.refuse(a_name(port=22), "127.0.0.1") and not own.refuse(a_name(port=23), "127.0.0.1")
    await actor.prepare(one)
    await actor.release(one)
    assert names() == {"b.test"}


async def test_a_name_that_cannot_be_looked_up_is_reported(make):
    resolver = Scripted("192.0.2.1")
    watch, _ = make(resolver)
    actor = NamesActor(watch, OwnListeners(plan(apps(2222)).config))
    await watch.watch(frozenset([a_name("a.test", "A", 600)]))
    assert list(actor.troubles()) == []
    resolver.answer = LookupFailure("no answer", "no_answer")
    await watch.watch(frozenset([a_name("b.test", "A", 600)]))
    await until(lambda: [one.facts["name"] for one in actor.troubles()] == ["b.test"])
    (trouble,) = actor.troubles()
    assert (trouble.kind, trouble.severity, trouble.facts["addresses"]) == ("name_unresolved", "failed", [])
    assert "no answer" in trouble.facts["why"]


async def test_listeners_are_indexed_again_only_where_they_differ(make, monkeypatch):
    def text(port, idle):
        origin = "origin_direct: [tcp://192.0.2.1:1]"
        return f"apps: {{x: {{protocol: tcp/{port}, {origin}, timeouts: {{idle: {idle}}}}}}}\n"

    own = OwnListeners(change(text(22, 60), text(22, 60)).before.config)
    taken = []
    monkeypatch.setattr(own, "take", taken.append)
    watch, _ = make(Scripted("192.0.2.1"), own.refuse)
    actor = NamesActor(watch, own)
    same, other = change(text(22, 60), text(22, 90)), change(text(22, 60), text(23, 60))
    assert same.difference and other.difference
    await actor.prepare(same)
    await actor.abort(same)
    assert taken == []
    await actor.prepare(other)
    await actor.abort(other)
    assert taken == [other.after.config, other.before.config]
