import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.link.succession import PACKET_BYTES, SupervisorSocket


@given(st.dictionaries(st.text(), st.text()), st.sampled_from([1, 7, PACKET_BYTES]))
def test_messages_arrive_as_they_were(message, packet):
    async def talk():
        ours, theirs = map(SupervisorSocket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        try:

            async def send():
                await ours.send(message)
                await ours.send({"next": "one"})

            async def receive():
                return [await theirs.receive() for _ in range(2)]

            assert (await asyncio.gather(receive(), send()))[0] == [(message, []), ({"next": "one"}, [])]
        finally:
            ours.close()
            theirs.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectrum.link.succession.PACKET_BYTES", packet)
        asyncio.run(talk())
