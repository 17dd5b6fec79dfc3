import asyncio

from spectrum.control.tls.tickets import KEY_BYTES, KEYS_KEPT, TicketKeyRotation, TicketsActor
from spectrum.engine.tls import KEY_BYTES as ENGINE_BYTES
from tests.control.plans import change

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


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


async def test_a_configuration_says_how_often():
    tickets = TicketKeyRotation(lambda keys: None, 1.0)
    actor, one = TicketsActor(tickets), change(APPS, f"{APPS}session_tickets: {{rotate: 2h}}\n")
    await actor.commit(one)
    assert tickets.every_s == 7200
    await actor.abort(one)
    assert tickets.every_s == one.before.config.session_tickets.rotate_s
