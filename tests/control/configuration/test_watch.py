import asyncio
import os

import pytest

from spectrum.control.configuration.watch import FilesRead, FileWatch
from spectrum.tasks import Tasks

EVERY_S = 0.05


@pytest.fixture
async def watching(tmp_path):
    path, seen, tasks = tmp_path / "file", [], Tasks()
    path.write_text("one")

    async def changed(paths):
        assert paths == [path]
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

    async def changed(_):
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


@pytest.fixture
async def start():
    """Watch `paths`; what changed is kept in a list that is returned. `faults` are raised, one per call."""
    tasks = Tasks()

    def begin(paths, files=None, faults=()):
        told, left = [], list(faults)

        async def changed(changes):
            told.append(changes)
            if left:
                raise left.pop(0)

        watch = FileWatch(paths if callable(paths) else lambda: paths, changed, EVERY_S, files)
        tasks.start(watch.run(), "watch")
        return told

    yield begin
    await tasks.stop()


def rewrite(path):
    path.write_text("two")


def rename_over(path):
    """Another file of the same size and times."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    other = path.with_suffix(".new")
    other.write_text("six")
    os.utime(other, ns=times)
    other.rename(path)


def rewrite_and_hide(path):
    """The same size and times, in place, as `rsync --inplace --times` leaves it."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("six")
    os.utime(path, ns=times)


def swap_link(path):
    """As Kubernetes changes a ConfigMap."""
    (path.parent / "v2").write_text("one")
    link = path.with_suffix(".link")
    link.symlink_to("v2")
    link.rename(path)


def remove_and_restore(path):
    path.unlink()
    path.write_text("one")


@pytest.mark.parametrize("change", [rewrite, rename_over, rewrite_and_hide, swap_link, remove_and_restore])
async def test_a_change_between_the_reading_and_the_first_look(start, tmp_path, change):
    path, other, files = tmp_path / "file", tmp_path / "other", FilesRead()
    for one in (path, other):
        one.write_text("one")
    files.reading([path, other])
    await asyncio.sleep(0.01)  # the clock of files may tick every 4 ms
    change(path)
    told = start([path, other], files)
    await until(lambda: told == [[path]])
    await asyncio.sleep(3 * EVERY_S)
    assert told == [[path]]


async def test_a_file_that_was_missing_when_it_was_read(start, tmp_path):
    path, files = tmp_path / "file", FilesRead()
    files.reading([path])
    told = start([path], files)
    await asyncio.sleep(3 * EVERY_S)
    assert told == []
    path.write_text("one")
    await until(lambda: told == [[path]])


async def test_what_a_reader_has_read_is_no_change(start, tmp_path):
    path, files = tmp_path / "file", FilesRead()
    path.write_text("one")
    files.reading([path])
    told = start([path], files)
    await asyncio.sleep(2 * EVERY_S)
    path.write_text("three")
    files.reading([path])  # somebody asked for a reload
    await asyncio.sleep(4 * EVERY_S)
    assert told == []


async def test_failures_do_not_end_it(start, tmp_path, caplog):
    path, lists = tmp_path / "file", [None, [tmp_path / "file"]]
    path.write_text("one")
    told = start(lambda: lists.pop(0) if len(lists) > 1 else lists[0], faults=[RuntimeError("first"), OSError(5, "x")])
    await asyncio.sleep(3 * EVERY_S)
    assert "could not be taken" in caplog.text  # None is no list of files
    path.write_text("two")
    await until(lambda: told == [[path]] * 3)  # told again until it was taken
    path.write_text("three")
    await until(lambda: told == [[path]] * 4)
    await asyncio.sleep(3 * EVERY_S)
    assert told == [[path]] * 4


@pytest.mark.parametrize("name", ["loop", "x" * 300, "file/below", "zero\0byte"])
async def test_what_cannot_be_looked_at_is_passed_over(start, tmp_path, name, caplog):
    (tmp_path / "file").write_text("one")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / "good"
    path.write_text("one")
    told = start([tmp_path / name, path])
    await asyncio.sleep(2 * EVERY_S)
    path.write_text("two")
    await until(lambda: told == [[path]])
    assert not caplog.records


async def test_a_file_that_is_gone_is_said_once(start, tmp_path, caplog):
    path = tmp_path / "file"
    path.write_text("one")
    start([path])
    await asyncio.sleep(2 * EVERY_S)
    path.unlink()
    await until(lambda: "is missing" in caplog.text)
    await asyncio.sleep(4 * EVERY_S)
    assert caplog.text.count("is missing") == 1


async def test_a_file_that_never_stops_changing_holds_nobody_up(start, tmp_path):
    busy, path, files = tmp_path / "busy", tmp_path / "file", FilesRead()
    for one in (busy, path):
        one.write_text("one")
    files.reading([busy, path])
    told = start([busy, path], files)
    path.write_text("two")
    async with asyncio.timeout(5):
        while not told:
            with busy.open("a") as file:
                file.write("x")
            await asyncio.sleep(EVERY_S / 5)
    assert path in told[0]
