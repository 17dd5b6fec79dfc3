import asyncio
import socket

import pytest

from spectrum.control import names
from spectrum.control.names import LookupFailure, NameWatch, look_up
from spectrum.core.names import NameSettings


async def test_localhost():
    assert await look_up(NameSettings("localhost", "A", 1, 22, 22)) == ("127.0.0.1",)
    assert "127.0.0.1" in await look_up(NameSettings("localhost", "", 1, 22, 22))


async def test_no_such_name():
    with pytest.raises(LookupFailure):
        await look_up(NameSettings("nowhere.invalid", "", 1, 22, 22))


async def test_no_answer(monkeypatch):
    monkeypatch.setattr(names, "LOOKUP_TIMEOUT_S", 0.01)

    async def silent(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    with pytest.raises(LookupFailure, match="no answer within"):
        await look_up(NameSettings("x", "", 1, 22, 22))


class Resolver:
    """Answers as it is told; the real one is asked in the tests above."""

    def __init__(self, monkeypatch):
        self.answer = ("192.0.2.1",)
        self.asked = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self)

    async def __call__(self, name, *_, **__):
        self.asked += 1
        if not self.answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.answer]


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a test has no event to wait for
            await asyncio.sleep(0.001)


async def test_names_are_followed_on_their_ttl(monkeypatch, caplog):
    resolver, changes = Resolver(monkeypatch), []
    watch = NameWatch(changes.append, lambda *_: None)
    name = NameSettings("x", "", 0.01, 22, 22)
    await watch.watch(frozenset([name]))
    assert changes == [{"ANY x tcp 22-22": ("192.0.2.1",)}]
    resolver.answer = ("192.0.2.2", "192.0.2.1")
    await until(lambda: len(changes) == 2)
    resolver.answer = ("192.0.2.1", "192.0.2.2")  # another order is no change
    asked = resolver.asked
    await until(lambda: resolver.asked > asked + 2)
    assert len(changes) == 2
    resolver.answer = ()
    await until(lambda: watch.failures)
    assert watch.addresses["ANY x tcp 22-22"] == ("192.0.2.2", "192.0.2.1")  # the last good answer stays
    assert "addresses in use: 192.0.2.2, 192.0.2.1" in caplog.text
    resolver.answer = ("192.0.2.9",)
    await until(lambda: len(changes) == 3)
    assert watch.failures == {}
    await watch.watch(frozenset())
    asked = resolver.asked
    await asyncio.sleep(0.05)
    assert resolver.asked == asked
    await watch.stop()


async def test_the_start_does_not_wait_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(names, "START_TIMEOUT_S", 0.01)

    async def silent(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    watch = NameWatch(lambda _: None, lambda *_: None)
    await watch.watch(frozenset([NameSettings("x", "", 1, 22, 22)]))
    assert "no address yet" in caplog.text
    await watch.stop()


async def test_mapped_addresses_are_ipv4_ones(monkeypatch):
    resolver, changes, asked = Resolver(monkeypatch), [], []
    resolver.answer = ("::ffff:192.0.2.1", "2001:db8::1", "192.0.2.1")
    watch = NameWatch(changes.append, lambda name, address: asked.append(address))
    await watch.watch(frozenset([NameSettings("x", "AAAA", 1, 22, 22)]))
    assert changes == [{"AAAA x tcp 22-22": ("192.0.2.1", "2001:db8::1")}]
    assert asked == ["192.0.2.1", "2001:db8::1"]
    await watch.stop()


async def test_addresses_that_lead_back_to_us_are_left_out(monkeypatch):
    resolver, changes = Resolver(monkeypatch), []
    resolver.answer = ("127.0.0.1", "192.0.2.1")
    watch = NameWatch(changes.append, lambda name, address: "a loop" if address == "127.0.0.1" else None)
    await watch.watch(frozenset([NameSettings("x", "", 0.01, 22, 22)]))
    assert changes == [{"ANY x tcp 22-22": ("192.0.2.1",)}]
    resolver.answer = ("127.0.0.1",)
    await until(lambda: watch.failures)
    assert watch.failures == {"ANY x tcp 22-22": "a loop"}
    await watch.stop()
