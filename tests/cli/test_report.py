import json
from dataclasses import replace

from spectrum.core.analytics import report as reports
from tests.cli.api_server import error, result, serving
from tests.cli.harness import spectrum
from tests.core.analytics.test_report import LOST, SINCE

DAYS = [reports.Volume(start=SINCE + i * 86400, bytes_out=(11 + i) * 10**12) for i in range(7)]
MADE = reports.report(replace(LOST, days=DAYS))
ACCOUNTS = result([{"id": "1" * 32, "name": "default"}, {"id": "2" * 32, "name": "other"}])
REPORT = f"/client/v4/accounts/{'1' * 32}/report"


def run(tmp_path, *arguments, answers=()):
    known = {("GET", "/client/v4/accounts?per_page=1000"): ACCOUNTS, ("GET", REPORT): result(MADE), **dict(answers)}
    with serving(tmp_path / "s", known) as asked:
        done = spectrum("report", "--api-socket", tmp_path / "s", *arguments)
    return done, asked


def test_as_text(tmp_path):
    done, asked = run(tmp_path)
    assert (done.exit_code, asked[-1]) == (0, ("GET", REPORT, None))
    for text in ("one origin lost", "Outages of origins", "db/pg-2", "Mon  ", "1. Repair pg-2", "Made on"):
        assert text in done.output, text
    assert all(len(line) < 200 for line in done.output.splitlines())


def test_as_json_of_a_time_and_an_account(tmp_path):
    times = "?since=2026-11-16T00%3A00%3A00Z&until=2026-11-23T00%3A00%3A00Z"
    path = f"/client/v4/accounts/{'2' * 32}/report{times}"
    done, asked = run(
        tmp_path,
        *("--since", "2026-11-16", "--until", "2026-11-23", "--account", "other", "--json"),
        answers={("GET", path): result(MADE)},
    )
    assert (json.loads(done.output)["headline"], asked[-1][1]) == (MADE["headline"], path)


def test_as_a_pdf(tmp_path):
    path = tmp_path / "week.pdf"
    assert run(tmp_path, "-o", path)[0].exit_code == 0
    assert path.read_bytes().startswith(b"%PDF")
    done, _ = run(tmp_path, "-o", tmp_path / "none" / "week.pdf")
    assert (done.exit_code, "no such file" in done.output) == (1, True)


def test_what_cannot_be_made(tmp_path, monkeypatch):
    assert run(tmp_path, "--since", "x")[0].exit_code == 2
    done, _ = run(tmp_path, "--account", "none")
    assert done.output == 'there is no account "none": default, other\n'
    done, _ = run(tmp_path, answers={("GET", REPORT): error("Analytics is off")})
    assert (done.exit_code, done.output) == (1, "Analytics is off\n")
    monkeypatch.setitem(__import__("sys").modules, "spectrum.analytics.paper", None)
    done, _ = run(tmp_path, "-o", tmp_path / "x.pdf")
    assert "pip install 'spectrum-edge[analytics]'" in done.output
