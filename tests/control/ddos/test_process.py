import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from spectrum.control.ddos.process import DetectorPlace, DetectorProcess, Orders
from spectrum.control.processes import linked
from spectrum.kernel.descriptors import memory_file
from spectrum.link.detector import DetectorCounts, DetectorHeld, DetectorSampling, DetectorSettings, DetectorState
from tests.control.ddos.parts import STUB
from tests.control.keepers import until


@pytest.fixture
async def started(tmp_path, monkeypatch):
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    found = []
    one = DetectorProcess(DetectorPlace(tmp_path, "", True), found.append, lambda: DetectorHeld([], 7))
    one.found = found
    yield one
    await one.end()


async def test_it_receives_settings_and_reports_findings(started, tmp_path, caplog):
    await started.ready()
    file = memory_file("looks", b"")
    await started.serve(Orders(DetectorSettings({0: ("x", "udp/1-1")}), [file]))
    os.close(file)
    started.tell("counts", DetectorCounts({"a": (1, 2)}, 3))
    (tmp_path / "say").write_text("\n".join(map(json.dumps, (["sampling", 1, 2], ["junk"], ["sampling", 3, 4]))))
    await until(lambda: len(started.found) == 3)
    assert isinstance(started.found[0], DetectorState)
    assert started.found[1:] == [DetectorSampling(1, 2), DetectorSampling(3, 4)]
    assert "is ignored" in caplog.text
    await until(lambda: len((tmp_path / "told").read_text().splitlines()) == 3)
    told = [line.split()[:2] for line in (tmp_path / "told").read_text().splitlines()]
    assert told == [["DetectorSettings", "1"], ["DetectorHeld", "0"], ["DetectorCounts", "0"]]
    await started.leave()
    assert await started.over == "exit status 0"


def opened():
    """The files that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of this look at the folder, or of something that is closed meanwhile
            found.add(descriptor.readlink())
    return found


async def test_files_that_it_could_not_open_come_with_its_settings(started, tmp_path, caplog):
    await started.ready()
    countries, file = tmp_path / "countries.mmdb", memory_file("looks", b"")
    countries.write_bytes(b"content")
    started.tell("settings", Orders(DetectorSettings({}), [file], [("country", str(countries)), ("asn", "/nowhere")]))
    assert countries not in opened(), "it is only open there"
    os.close(file)
    told = tmp_path / "told"
    await until(lambda: told.exists() and told.read_text().endswith("\n"))
    assert told.read_text().split()[:2] == ["DetectorSettings", "2"]
    assert "brings=('looks', 'country')" in told.read_text()
    assert "without /nowhere, which cannot be read: No such file" in caplog.text


async def test_messages_that_cannot_be_sent_are_logged(started, monkeypatch, caplog):
    await started.ready()

    def full(*given):
        raise OSError("no room")

    monkeypatch.setattr("spectrum.control.ddos.process.send_told", full)
    started.tell("counts", DetectorCounts({}))
    assert "is not sent its counts: no room" in caplog.text
