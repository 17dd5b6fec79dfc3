import asyncio
import os
from pathlib import Path

import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.loader import load_file
from spectrum.control.configuration.source import FileSource, ObjectSource
from spectrum.control.configuration.watch import FilesRead
from spectrum.tasks import Tasks
from tests.control.keepers import until

APP = "{protocol: tcp/PORT, origin_direct: ['tcp://192.0.2.1:80'], ip_firewall: true}"


def text(port, listed):
    rule = f"access_rules: {{bad: {{target: ip_range, file: {listed}, action: block}}}}\n"
    return f"{rule}apps: {{x: {APP.replace('PORT', str(port))}}}\n"


def made(folder, watches=False):
    """Return a source, its file, and the list that it names."""
    path, listed, files = folder / "f.yaml", folder / "list", FilesRead()
    listed.write_text("192.0.2.1\n")
    path.write_text(text(80, listed))
    config = load_file(path, files.reading)
    source = FileSource(path, watches, files, every_s=0.01)
    assert source.took(config, was_read=True) == []
    return source, config, path, listed


def test_a_revision_has_its_files_and_its_faults(tmp_path):
    source, config, path, listed = made(tmp_path)
    assert source.name == str(path)
    revision = source.read()
    assert (revision.config, revision.faults, revision.files) == (config, (), (path, listed))
    path.write_text("apps: 5\n")
    revision = source.read()
    assert revision.config is None
    assert revision.faults == (f"{path}:1:7: apps: expected a mapping of names to apps, found 5",)


def test_a_pipe_is_refused_at_once(tmp_path):
    source, config, path, listed = made(tmp_path)
    fault = "it is a pipe, which cannot be read again; write a file"
    for one in (listed, path):
        one.unlink()
        os.mkfifo(one)
        assert source.read().faults == (f"{one}: {fault}",)
    with pytest.raises(RolloutError, match="it is a pipe"):
        source.reading([listed])
    for one, content in ((listed, "192.0.2.1\n"), (path, text(80, listed))):
        one.unlink()
        one.write_text(content)
    assert source.read().config == config


async def test_standard_input_is_read_once(tmp_path):
    _, config, _, listed = made(tmp_path)
    source = FileSource(Path("-"), True, every_s=0.01)
    assert (source.name, source.path) == ("standard input", None)
    fault = "standard input: it cannot be read again; give the daemon a file to reload"
    assert source.read().faults == (fault,)
    source.reading([listed])
    assert source.took(config, was_read=True) == []
    assert await watched(source, config, [True], lambda: listed.write_text("192.0.2.2\n")) == [False]


async def test_what_a_program_gives():
    values = {"apps": {"x": {"protocol": "tcp/80", "origin_direct": ["tcp://192.0.2.1:80"]}}}
    source = ObjectSource("the command line", values, lambda fault: f"{fault.path[-1]}: {fault.message}")
    config = source.read().config
    assert (source.name, source.path, list(config.apps)) == ("the command line", None, ["x"])
    assert source.read().config.apps["x"] is config.apps["x"]  # it is compiled once
    assert source.took(config, was_read=True) == []
    source.reading([])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.watch(lambda: config, None), 0.01)
    values["apps"]["y"] = values["apps"]["x"]
    wrong = ObjectSource("the command line", values, lambda fault: f"{fault.path[-1]}: {fault.message}").read()
    assert (wrong.config, wrong.faults) == (None, ("protocol: [::]:80 is taken by app x",))


def test_files_that_are_other_ones_are_reported(tmp_path):
    source, config, _, listed = made(tmp_path)
    listed.write_text("192.0.2.1\n192.0.2.2\n")
    assert source.took(config, was_read=False) == []  # nobody has read it yet
    source.reading([listed])
    assert source.took(config, was_read=False, names_same=True) == []  # it is not looked at
    assert source.took(config, was_read=False) == [f"changed file {listed}"]
    assert source.took(config, was_read=False) == []


async def watched(source, config, answers, act):
    """Return what a source that is watched asks for."""
    asked = []

    async def reload(reads_source):
        asked.append(reads_source)
        return answers[len(asked) - 1]

    tasks = Tasks()
    tasks.start(source.watch(lambda: config, reload), "watch")
    await asyncio.sleep(0.05)
    act()
    await until(lambda: len(asked) == len(answers))
    await asyncio.sleep(0.05)
    await tasks.stop()
    return asked


async def test_a_change_of_the_file_is_a_new_revision(tmp_path):
    source, config, path, listed = made(tmp_path, watches=True)
    assert await watched(source, config, [True], lambda: path.write_text(text(81, listed))) == [True]


async def test_what_the_file_names_is_watched_in_any_case(tmp_path):
    source, config, path, listed = made(tmp_path)

    def act():
        path.write_text("apps: 5\n")
        listed.write_text("192.0.2.2\n")

    assert await watched(source, config, [True], act) == [False]


async def test_a_list_is_read_again_beside_a_file_that_is_refused(tmp_path):
    source, config, path, listed = made(tmp_path, watches=True)

    def act():
        path.write_text("apps: 5\n")
        listed.write_text("192.0.2.2\n")

    assert await watched(source, config, [False, True], act) == [True, False]
