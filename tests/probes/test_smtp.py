import asyncio

import pytest
from aiosmtpd.smtp import SMTP

from spectrum.probes import smtp
from spectrum.probes.target import ProbeFailure
from tests.probes.servers import saying, serving, target


async def test_a_real_server():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(object(), loop=loop), "127.0.0.1", 0)
    async with server:
        result = await smtp.probe(target(server.sockets[0].getsockname()[1], type="smtp"))
        await asyncio.sleep(0.05)
    assert (result.ok, result.code) == (True, 221)


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        ((b"220-one\r\n220 two\r\n", b"250-x\r\n250 y\r\n", b"221 bye\r\n"), None),
        ((b"554 go away\r\n",), ("greeting: 554 go away", 554)),
        ((b"220 x\r\n", b"501 no\r\n"), ("HELO: 501 no", 501)),
        ((b"220 x\r\n", b"250 y\r\n", b"500 stay\r\n"), ("QUIT: 500 stay", 500)),
        ((b"SSH-2.0-x\r\n",), ("greeting: b'SSH-2.0-x\\r\\n' is no reply of SMTP", 0)),
        ((b"220-" + b"x" * 9000,), ("greeting: a line without an end", 0)),
        ((b"220-x\r\n" * 60,), ("greeting: more than 50 lines", 0)),
    ],
)
async def test_conversations(words, failure):
    async with serving(saying(*words, keep=True)) as port:
        if failure is None:
            assert (await smtp.probe(target(port, type="smtp"))).ok
            return
        with pytest.raises(ProbeFailure) as caught:
            await smtp.probe(target(port, type="smtp"))
        assert (str(caught.value), caught.value.code) == failure


async def test_closed_in_the_middle():
    async with serving(saying(b"220 x\r\n")) as port:
        with pytest.raises(EOFError):
            await smtp.probe(target(port, type="smtp"))
