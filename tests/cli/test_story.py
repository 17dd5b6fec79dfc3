import json

import pytest

from spectrum.cli import story as module
from spectrum.cli.client import DaemonError
from tests.cli.harness import spectrum
from tests.control.records.test_search import CLIENT, lines, record, write

APPS = "apps: {web: {protocol: tcp/8080, origin_direct: ['tcp://192.0.2.1:80']}}\n"
EXPLAINED = ["client 203.0.113.8 of app web (tcp/80)", "the client is refused (client_rate)"]


@pytest.fixture
def daemon(monkeypatch):
    """Answers by resource, and keeps what it was asked; without answers there is none."""
    asked, answers = [], {}

    def ask(path, method, resource):
        asked.append(f"{method} {resource}")
        if not answers:
            raise DaemonError("no daemon answers")
        return answers[resource.partition("?")[0]]

    monkeypatch.setattr(module, "ask", ask)
    return asked, answers


@pytest.fixture
def journal(tmp_path):
    write(tmp_path / "journal")
    return tmp_path / "journal"


def test_why_a_client_was_refused(journal, daemon):
    asked, answers = daemon
    answers["/explain"] = {"steps": EXPLAINED}
    done = spectrum("story", CLIENT, "--journal", journal, "--since", "2026-11-26T14:03", "--until", "2026-11-26T14:07")
    assert asked == ["GET /explain?app=web&client=203.0.113.8"]
    shown = done.stdout.splitlines()
    assert (done.exit_code, shown[:-1]) == (
        0,
        [
            "client 203.0.113.8 from 2026-11-26 14:03:00 to 2026-11-26 14:07:00, times in UTC",
            "2026-11-26 14:03:20.000  app web: refused: client_rate (403)",
            "2026-11-26 14:05:00.000  app web: refused: client_rate (403)",
            "2026-11-26 14:06:40.000  app web: refused: client_rate (403)",
            "3 sessions, 3 of them refused: client_rate 3",
            "now, in app web:",
            "  1. client 203.0.113.8 of app web (tcp/80)",
            "  2. the client is refused (client_rate)",
            f"searched journal {journal}: 1000 records since 2026-11-26 14:00:00",
        ],
    )
    assert shown[-1].startswith("took ")


def test_json(journal, daemon):
    done = spectrum("story", "9.12c", "--journal", journal, "--json")
    told = json.loads(done.stdout)
    assert (told["session"], told["reasons"], told["refused"]) == ("9.12c", {"client_rate": 1}, 1)
    assert told["records"][0]["RecordId"] == "edge1/0/aa/301"
    assert told["now"] == {"explain": {}, "session": None}
    assert told["searched"][0]["records"] == 1000


def test_too_many_and_several(tmp_path, daemon):
    path = tmp_path / "lines"
    several = record(999, "", Sessions=470, Clients=300, Limit="app: client_new_per_second 2")
    path.write_bytes(lines(*(record(n, CLIENT) for n in range(9)), several))
    done = spectrum("story", CLIENT, "--records", path, "--limit", 2, "--since", "2026-11-26T14:00")
    shown = done.stdout.splitlines()
    assert shown[1] == "... 7 earlier records; --limit shows more"
    assert "sums of refusals that may include it:" in shown
    assert "2026-11-26 14:16:39.000  app web: 470 refusals of 300 clients together: client_rate (403)," in done.stdout
    assert f"searched {path}: since 2026-11-26 14:00:00" in shown
    assert "no daemon answers, so the current decision is not shown" in shown


def test_a_session_that_is_open(tmp_path, daemon):
    asked, answers = daemon
    live = {
        "id": "9.1",
        "state": "relaying",
        "age_s": 61.0,
        "bytes_from_client": 14,
        "bytes_from_origin": 2000,
    }
    answers |= {"/explain": {"errors": ["no app 'web'"]}, "/sessions": {"sessions": [live]}}
    path = tmp_path / "lines"
    path.write_bytes(lines(record(1, CLIENT, Event="connect", Status=0, Reason="", OriginIP="10.0.0.1", OriginPort=80)))
    done = spectrum("story", "9.1", "--records", path)
    assert asked[1] == "GET /sessions?ids=9.1"
    assert "session 9.1 is open: relaying, for 1m 1s, 14 B from client, 2.0 kB from origin" in done.stdout
    assert "  1. no app 'web'" in done.stdout
    assert "its end is not kept, or it is still open" in done.stdout


def test_nothing_and_faults(tmp_path, daemon):
    config = tmp_path / "spectrum.yaml"
    config.write_text(APPS)
    done = spectrum("story", CLIENT, "-c", config)
    assert done.exit_code == 1
    assert "no records about it" in done.stdout
    assert "no records are kept: the file has no records.journal." in done.stdout
    for arguments, words in (
        (["x"], '"x" is neither an address'),
        ([CLIENT, "--since", "noon"], '"noon" is not a time'),
        ([CLIENT, "--since", "2026-11-26T14:05", "--until", "2026-11-26T14:02"], "is after --until"),
    ):
        done = spectrum("story", *arguments)
        assert (done.exit_code, words in done.stderr) == (2, True)
    done = spectrum("story", CLIENT, "--records", tmp_path / "none")
    assert (done.exit_code, done.stderr) == (1, f"{tmp_path}/none: no such file or directory\n")


def test_records_of_somebody_else(tmp_path, daemon, monkeypatch):
    def search(*_):
        raise PermissionError(13, "Permission denied", "/var/lib/spectrum/records")

    monkeypatch.setattr("spectrum.control.records.search.search", search)
    done = spectrum("story", CLIENT, "--journal", tmp_path)
    assert (done.exit_code, done.stderr) == (
        1,
        "/var/lib/spectrum/records: the records belong to another user; try sudo\n",
    )


def test_the_journal_of_a_configuration(tmp_path, journal, daemon):
    config = tmp_path / "spectrum.yaml"
    config.write_text(f"records: {{journal: {{path: {journal}}}}}\n{APPS}")
    assert spectrum("story", CLIENT, "-c", config).stdout.count(" app web: refused: client_rate") == 10
