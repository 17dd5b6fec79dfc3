import asyncio
import os

import pytest

from spectrum.control.watch import FileWatch
from spectrum.plane.tasks import Tasks

EVERY_S = 0.05


@pytest.fixture
async def watching(tmp_path):
    path, seen, tasks = tmp_path / "file", [], Tasks()
    path.write_text("one")

    async def changed():
        seen.append(path.read_text())

    tasks.start(FileWatch(lambda: [path], changed, EVERY_S).run(), "watch")
    await asyncio.sleep(EVERY_S)
    yield path, seen
    await tasks.stop()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_written_in_place(watching):
    path, seen = watching
    await asyncio.sleep(3 * EVERY_S)
    assert seen == []
    path.write_text("two")
    await until(lambda: seen == ["two"])
    await asyncio.sleep(3 * EVERY_S)
    assert seen == ["two"]


async def test_renamed_over_with_the_same_size_and_time(watching):
    path, seen = watching
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    other = path.with_suffix(".new")
    other.write_text("six")
    os.utime(other, ns=times)
    other.rename(path)
    await until(lambda: seen == ["six"])


async def test_a_link_that_leads_elsewhere(watching):
    path, seen = watching
    (path.parent / "v2").write_text("two")
    path.unlink()
    await asyncio.sleep(3 * EVERY_S)
    assert seen == []  # no file is no reason to read one
    path.symlink_to("v2")
    await until(lambda: seen == ["two"])


async def test_not_while_it_is_being_written(watching):
    path, seen = watching
    for size in range(20):
        path.write_text("x" * size)
        await asyncio.sleep(EVERY_S / 3)
    assert len(seen) < 3
    await until(lambda: seen and seen[-1] == "x" * 19)


async def test_several_files_that_come_and_go(tmp_path):
    paths, calls, tasks = [tmp_path / "a"], [], Tasks()
    (tmp_path / "a").write_text("one")

    async def changed():
        calls.append(len(paths))

    tasks.start(FileWatch(lambda: paths, changed, EVERY_S).run(), "watch")
    await asyncio.sleep(2 * EVERY_S)
    (tmp_path / "b").write_text("one")
    paths.append(tmp_path / "b")
    await asyncio.sleep(4 * EVERY_S)
    assert calls == []  # whoever names it has read it
    (tmp_path / "b").write_text("three")
    await until(lambda: calls == [2])
    paths.remove(tmp_path / "a")
    (tmp_path / "a").write_text("three")
    await asyncio.sleep(4 * EVERY_S)
    assert calls == [2]
    await tasks.stop()
