import asyncio
import os
import socket
from contextlib import contextmanager

import msgspec
import pytest

from spectrum.kernel.descriptors import memory_file
from spectrum.link.api import (
    DECODER,
    MAX_ASKS,
    ApiAnswer,
    ApiAsk,
    ApiBeat,
    ApiClient,
    ApiReady,
    ApiServing,
    ApiTold,
    LinkLost,
)
from spectrum.link.bodies import MAX_INLINE_BYTES, body_of, send
from spectrum.link.channel import Channel
from tests.control.keepers import until


class Supervisor:
    """The other end of an `ApiClient`: answers with what it was asked."""

    def __init__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.asked, self.said, self.told, self.lost = [], [], [], asyncio.Event()
        self.answers = True
        self.channel = Channel(ours, DECODER, self._received, lambda: None)
        self.client = ApiClient(theirs, lambda *given: self.told.append(given), self.lost.set)

    def _received(self, message, descriptors):
        if not isinstance(message, ApiAsk):
            self.said.append(message)
            return
        self.asked.append((message, body_of(message, descriptors)))
        if self.answers:
            self.answer(*self.asked[-1])

    def answer(self, ask, body):
        send(self.channel, ApiAnswer(ask.id, 200, body or b"null"))


@contextmanager
def linked():
    supervisor = Supervisor()
    try:
        yield supervisor
    finally:
        supervisor.client.close()
        supervisor.channel.close()


@pytest.mark.parametrize("size", [0, 10, MAX_INLINE_BYTES + 1, 3_000_000])
async def test_bodies_of_any_size_go_and_come(size):
    with linked() as supervisor:
        before = len(os.listdir("/proc/self/fd"))
        body = "x" * size if size else None
        assert await supervisor.client.ask("POST", "/a", {"k": "v"}, body) == (200, body)
        (ask, _), *rest = supervisor.asked
        assert (ask.method, ask.path, ask.query, rest) == ("POST", "/a", {"k": "v"}, [])
        send(supervisor.channel, ApiTold("news", msgspec.json.encode(body)))
        await until(lambda: supervisor.told)
        assert supervisor.told == [("news", body)]
        assert len(os.listdir("/proc/self/fd")) == before


async def test_what_it_says_of_itself():
    with linked() as supervisor:
        supervisor.client.ready()
        supervisor.client.serving()
        supervisor.channel.send(ApiBeat(7))
        await until(lambda: len(supervisor.said) == 3)
        assert supervisor.said == [ApiReady(), ApiServing(), ApiBeat(7)]


async def test_more_than_so_many_wait_their_turn():
    with linked() as supervisor:
        supervisor.answers = False
        asking = [asyncio.ensure_future(supervisor.client.ask("GET", f"/{n}")) for n in range(MAX_ASKS + 3)]  # noqa: TID251
        await until(lambda: len(supervisor.asked) == MAX_ASKS)
        await asyncio.sleep(0.02)
        assert len(supervisor.asked) == MAX_ASKS
        supervisor.answers = True
        for ask in supervisor.asked[:]:
            supervisor.answer(*ask)
        assert [answer for answer, _ in await asyncio.gather(*asking)] == [200] * (MAX_ASKS + 3)


async def test_a_supervisor_that_is_silent_or_gone():
    with linked() as supervisor:
        supervisor.answers = False
        with pytest.raises(LinkLost, match=r"has not answered GET /x within 0.01 s"):
            await supervisor.client.ask("GET", "/x", timeout_s=0.01)
        await until(lambda: supervisor.asked)
        supervisor.answer(*supervisor.asked[0])  # nobody waits for it
        asking = asyncio.ensure_future(supervisor.client.ask("GET", "/y"))  # noqa: TID251
        await until(lambda: len(supervisor.asked) == 2)
        supervisor.channel.close()
        with pytest.raises(LinkLost, match="gone"):
            await asking
        await asyncio.wait_for(supervisor.lost.wait(), 5)
        with pytest.raises(LinkLost, match="gone"):
            await supervisor.client.ask("GET", "/z")


async def test_descriptors_come_with_an_answer():
    with linked() as supervisor:
        supervisor.answers = False
        before = len(os.listdir("/proc/self/fd"))
        for body in (b'"short"', b'"' + b"x" * MAX_INLINE_BYTES + b'"'):
            asking = asyncio.ensure_future(supervisor.client.ask_files("GET", "/"))  # noqa: TID251
            await until(lambda: supervisor.asked)
            ask, _ = supervisor.asked.pop()
            file = memory_file("given", b"content")
            send(supervisor.channel, ApiAnswer(ask.id, 200, body, files=1), [file])
            os.close(file)
            answer = await asking
            assert (answer.status, answer.body) == (200, msgspec.json.decode(body))
            (given,) = answer.files
            assert os.pread(given, 100, 0) == b"content"
            os.close(given)
        assert len(os.listdir("/proc/self/fd")) == before


async def test_descriptors_that_nobody_takes_are_closed():
    with linked() as supervisor:
        supervisor.answers = False
        before = len(os.listdir("/proc/self/fd"))
        file = memory_file("given", b"")
        with pytest.raises(LinkLost):
            await supervisor.client.ask_files("GET", "/", timeout_s=0.01)
        await until(lambda: supervisor.asked)
        send(supervisor.channel, ApiAnswer(supervisor.asked.pop()[0].id, 200, b"1", files=1), [file])
        plain = asyncio.ensure_future(supervisor.client.ask("GET", "/"))  # noqa: TID251
        await until(lambda: supervisor.asked)
        send(supervisor.channel, ApiAnswer(supervisor.asked.pop()[0].id, 200, b"1", files=1), [file])
        assert await plain == (200, 1)
        lacking = asyncio.ensure_future(supervisor.client.ask("GET", "/"))  # noqa: TID251
        await until(lambda: supervisor.asked)
        send(supervisor.channel, ApiAnswer(supervisor.asked.pop()[0].id, 200, b"1", files=2), [file])
        with pytest.raises(LinkLost, match="incomplete: 2 descriptors are given, 1 came"):
            await lacking
        os.close(file)
        assert len(os.listdir("/proc/self/fd")) == before
