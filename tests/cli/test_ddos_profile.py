import asyncio
import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from spectrum.cli import ddos_profile as module
from spectrum.control.ddos.profiles import ProfilesActor
from spectrum.control.http.resource import ResourceTable
from tests.cli.harness import spectrum
from tests.control.ddos.test_profiles import NOW, save


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a daemon that answers without a socket has its profiles."""
    table = ResourceTable(ProfilesActor(lambda: tmp_path, lambda: NOW).resources(), 0)

    def ask(path, method, resource):
        asked = urlsplit(resource)
        return json.loads(asyncio.run(table.answer(method, asked.path, dict(parse_qsl(asked.query)), b""))[1])

    monkeypatch.setattr(module, "ask_daemon", ask)
    return tmp_path


def test_profiles(folder):
    assert spectrum("ddos", "profile").output.startswith("no profile was saved yet")
    save(folder, "game")
    save(folder, "my web", is_settled=False, learned_s=200_000.0, unseen=0.05)
    assert spectrum("ddos", "profile").output.splitlines() == [
        "app     rows   learned  last 24 h  unseen  openings/s  rules",
        "game    1,900  2.0 h    60%        0.16%   120         act",
        "my web  1,900  2.3 d    60%        5.00%   120         log",
    ]
    assert len(json.loads(spectrum("ddos", "profile", "--json").output)["profiles"]) == 2


def test_the_limits_of_an_app(folder):
    save(folder, "my web")
    lines = spectrum("ddos", "profile", "my web").output.splitlines()
    assert lines[3:] == [
        "what       busiest day/s  median/s  limit/s  openings",
        "port 7000  20,000         2,000     3,000    90%",
        "all        2,000                    not yet  0%",
    ]


def test_what_would_have_been_too_much(folder):
    assert spectrum("ddos", "preview").output.startswith("nothing was beyond its limit in the last week")
    save(folder, "game")
    assert spectrum("ddos", "preview", "game").output.splitlines() == [
        "app   day         what       pps     limit/s  beyond   openings",
        "game  2024-10-01  port 7000  20,000  3,000    170,000  90%",
    ]
    assert json.loads(spectrum("ddos", "preview", "--json").output)["beyond"][0]["app"] == "game"


def test_faults_are_reported(folder):
    result = spectrum("ddos", "profile", "nobody")
    assert result.exit_code == 1 and "no profile of an app 'nobody'" in result.output
    (folder / "a.profile").write_bytes(b"damaged")
    assert "only 7 bytes" in spectrum("ddos", "preview").output


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (90, "1.5 min"), (7_200, "2.0 h"), (90_000, "1.0 d")])
def test_durations(seconds, text):
    assert module._duration(seconds) == text
