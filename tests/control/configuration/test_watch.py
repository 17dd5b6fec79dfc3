import asyncio
import os

import pytest

from spectrum.control.configuration.watch import MAX_UNSETTLED_LOOKS, FilesRead, FileWatch
from spectrum.tasks import Tasks

EVERY_S = 0.05


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Looks:
    """The paths to look at, each time that they are asked for; `None` among `first` is a fault.

    `before` is called before each look.
    """

    def __init__(self, paths, first=(), before=lambda: None):
        self.paths = paths
        self.first = list(first)
        self.before = before
        self.begun = 0

    def __call__(self):
        self.begun += 1
        self.before()
        return self.first.pop(0) if self.first else self.paths

    async def pass_by(self, count):
        """Wait until as many looks as this have begun and ended."""
        last = self.begun + count
        await until(lambda: self.begun > last)


@pytest.fixture
async def start():
    """Watch `paths`; return the looks, and a list of what changed. `faults` are raised, one per call."""
    tasks = Tasks()

    def begin(paths, files=None, faults=(), **options):
        told, left, looks = [], list(faults), Looks(paths, **options)

        async def changed(changes):
            told.append(changes)
            if left:
                raise left.pop(0)

        tasks.start(FileWatch(looks, changed, EVERY_S, files).run(), "watch")
        return looks, told

    yield begin
    await tasks.stop()


@pytest.fixture
async def watching(tmp_path):
    """A file that is watched, the looks, and what has been read of it."""
    path, seen, tasks = tmp_path / "file", [], Tasks()
    path.write_text("one")
    looks = Looks([path])

    async def changed(paths):
        assert paths == [path]
        seen.append(path.read_text())

    tasks.start(FileWatch(looks, changed, EVERY_S).run(), "watch")
    await looks.pass_by(1)
    yield path, looks, seen
    await tasks.stop()


async def test_written_in_place(watching):
    path, looks, seen = watching
    await looks.pass_by(3)
    assert seen == []
    path.write_text("two")
    await until(lambda: seen == ["two"])
    await looks.pass_by(3)
    assert seen == ["two"]


async def test_renamed_over_with_the_same_size_and_time(watching):
    path, _, seen = watching
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    other = path.with_suffix(".new")
    other.write_text("six")
    os.utime(other, ns=times)
    other.rename(path)
    await until(lambda: seen == ["six"])


async def test_a_link_that_leads_elsewhere(watching):
    path, looks, seen = watching
    (path.parent / "v2").write_text("two")
    path.unlink()
    await looks.pass_by(3)
    assert seen == []  # no file is no reason to read one
    path.symlink_to("v2")
    await until(lambda: seen == ["two"])


async def test_not_while_it_is_being_written(watching):
    path, looks, seen = watching
    sizes = iter(range(1, 1000))
    looks.before = lambda: path.write_text("x" * next(sizes))
    await looks.pass_by(MAX_UNSETTLED_LOOKS - 2)
    looks.before = lambda: None
    assert seen == []
    await until(lambda: seen == [path.read_text()])


async def test_several_files_that_come_and_go(start, tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_text("one")
    looks, told = start([one])
    await looks.pass_by(1)
    other.write_text("one")
    looks.paths = [one, other]
    await looks.pass_by(4)
    assert told == []  # whoever names it has read it
    other.write_text("three")
    await until(lambda: told == [[other]])
    looks.paths = [other]
    one.write_text("three")
    await looks.pass_by(4)
    assert told == [[other]]


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
    looks, told = start([path, other], files)
    await until(lambda: told == [[path]])
    await looks.pass_by(3)
    assert told == [[path]]


async def test_a_file_that_was_missing_when_it_was_read(start, tmp_path):
    path, files = tmp_path / "file", FilesRead()
    files.reading([path])
    looks, told = start([path], files)
    await looks.pass_by(3)
    assert told == []
    path.write_text("one")
    await until(lambda: told == [[path]])


async def test_what_a_reader_has_read_is_no_change(start, tmp_path):
    path, files = tmp_path / "file", FilesRead()
    path.write_text("one")
    files.reading([path])
    looks, told = start([path], files)
    await looks.pass_by(1)
    path.write_text("three")
    files.reading([path])  # somebody asked for a reload
    await looks.pass_by(4)
    assert told == []


async def test_a_reader_that_comes_between_a_look_and_its_result(start, tmp_path):
    path, files, changes = tmp_path / "file", FilesRead(), [None]
    path.write_text("one")
    files.reading([path])

    def looked_at():
        yield path
        if looks.begun > 3 and changes:  # its state has just been taken
            changes.pop()
            path.write_text("three")
            files.reading([path])

    looks, told = start([], files)
    looks.before = lambda: setattr(looks, "paths", looked_at())
    await until(lambda: not changes)
    await looks.pass_by(4)
    assert told == []


async def test_failures_do_not_end_it(start, tmp_path, caplog):
    path = tmp_path / "file"
    path.write_text("one")
    looks, told = start([path], faults=[RuntimeError("first"), OSError(5, "x")], first=[None])
    await looks.pass_by(2)
    assert "could not be taken" in caplog.text  # None is no list of files
    path.write_text("two")
    await until(lambda: told == [[path]] * 3)  # told again until it was taken
    path.write_text("three")
    await until(lambda: told == [[path]] * 4)
    await looks.pass_by(3)
    assert told == [[path]] * 4


@pytest.mark.parametrize("name", ["loop", "x" * 300, "file/below", "zero\0byte"])
async def test_what_cannot_be_looked_at_is_passed_over(start, tmp_path, name, caplog):
    (tmp_path / "file").write_text("one")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / "good"
    path.write_text("one")
    looks, told = start([tmp_path / name, path])
    await looks.pass_by(1)
    path.write_text("two")
    await until(lambda: told == [[path]])
    assert not caplog.records


async def test_a_file_that_is_gone_is_reported_once(start, tmp_path, caplog):
    path = tmp_path / "file"
    path.write_text("one")
    looks, _ = start([path])
    await looks.pass_by(1)
    path.unlink()
    await until(lambda: "is missing" in caplog.text)
    await looks.pass_by(4)
    assert caplog.text.count("is missing") == 1


async def test_a_file_that_never_stops_changing_delays_nothing_else(start, tmp_path):
    busy, path, files = tmp_path / "busy", tmp_path / "file", FilesRead()
    for one in (busy, path):
        one.write_text("one")
    files.reading([busy, path])
    path.write_text("two")
    told = []

    def write():
        if not told:
            with busy.open("a") as file:
                file.write("x")

    _, told = start([busy, path], files, before=write)
    await until(lambda: told)
    assert path in told[0]
    assert busy.stat().st_size <= len("one") + MAX_UNSETTLED_LOOKS + 1
