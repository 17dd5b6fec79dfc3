import asyncio

from spectrum.control.tls.tickets import KEY_BYTES, KEYS_KEPT, TicketKeyRotation
from spectrum.engine.tls import KEY_BYTES as ENGINE_BYTES


def test_keys_are_known_before_they_encrypt_and_after():
    told = []
    tickets = TicketKeyRotation(told.append, 3600)
    first, second = tickets.keys
    for _ in range(5):
        before = tickets.keys
        tickets.rotate()
        assert tickets.keys[0] == before[1]
        assert tickets.keys[2] == before[0]
        assert len(tickets.keys) <= KEYS_KEPT
    assert told[0][0] == second and first in told[1] and first not in told[2]
    assert {len(key) for keys in told for key in keys} == {KEY_BYTES} == {ENGINE_BYTES}
    assert len({key for keys in told for key in keys}) == 7


async def test_they_rotate_by_themselves():
    told = asyncio.Queue()
    tickets = TicketKeyRotation(told.put_nowait, 0.01)
    task = asyncio.get_running_loop().create_task(tickets.run())
    for _ in range(3):
        await asyncio.wait_for(told.get(), 5)
    task.cancel()
