import asyncio

from tests.control.api.parts import talk
from tests.control.keepers import until


async def test_none_is_wanted_one_is_and_none_again(kept):
    await asyncio.sleep(0.01)
    assert (kept.pid, kept.store, kept.has_writer) == (0, None, False)
    kept.tell("x", 1)
    kept.want(kept.place)
    await until(lambda: kept.pid)
    assert (kept.store, kept.has_writer) == (kept.place.store, True)
    assert await talk(kept.path, {"told": None}) == [["settings", {"number": 1}]]
    kept.tell("x", 1)
    assert (await talk(kept.path, {"told": None}))[1:] == [["x", 1]]
    kept.want(None)
    await until(lambda: not kept.has_writer)
    assert (kept.restarts, kept.why) == (0, "")
