import json
import time

from tests.cli.api_server import error, result, serving
from tests.cli.harness import spectrum

ACCOUNTS = {("GET", "/client/v4/accounts"): result([{"id": "a"}]), ("GET", "/client/v4/accounts?name=x"): result([])}
QUERY = ("POST", "/client/v4/accounts/a/analytics/query")
APP = {"name": "app", "kind": "dimension", "unit": "", "label": "App"}
COUNT = {"name": "count", "kind": "sum", "unit": "", "label": "records"}
MEDIAN = {"name": "durationMedian", "kind": "duration", "unit": "ms", "label": "median"}
TIME = {"name": "time", "kind": "time", "unit": "s", "label": "Time"}


def found(columns, rows, partial=None, **totals):
    return result({"columns": columns, "rows": rows, "totals": totals, "partial": partial})


def run(tmp_path, *arguments, answer):
    with serving(tmp_path / "s", ACCOUNTS | {QUERY: answer}) as asked:
        done = spectrum("analytics", "--api-socket", str(tmp_path / "s"), *arguments)
    return done, asked


def test_a_table(tmp_path):
    rows = [["ssh", 12, 1.25], ["bad\x1b[31m\n", 3, None], [None, 1, 0.5]]
    answer = found([APP, COUNT, MEDIAN], rows, partial="before noon only sums", count=16, durationMedian=1.0)
    done, asked = run(
        tmp_path,
        "count",
        "durationMedian",
        "--by",
        "app",
        "--where",
        "event!=connect",
        "--sort",
        "-count",
        answer=answer,
    )
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "app            count  durationMedian (ms)",
        "ssh               12                1.250",
        "bad\\x1b[31m\\n      3                    -",
        "(others)           1                0.500",
        "all               16                1.000",
    ]
    assert done.stderr == "not everything: before noon only sums\n"
    body = asked[-1][2]
    assert (body["metrics"], body["dimensions"]) == (["count", "durationMedian"], ["app"])
    assert (body["filter"], body["order"], body["others"]) == ("event!=connect", ["-count"], True)
    assert abs(body["since"] - (time.time() - 6 * 3600)) < 60
    assert body["until"] is None


def test_by_time(tmp_path):
    answer = found([TIME, COUNT], [[0, 5], [60, 7]], count=12)
    done, asked = run(tmp_path, "--every", "60", "--since", "2026-11-26", "--until", "1h", answer=answer)
    assert done.stdout.splitlines() == [
        "time                 count",
        "1970-01-01 00:00:00      5",
        "1970-01-01 00:01:00      7",
        "all                     12",
    ]
    body = asked[-1][2]
    assert (body["bucket"], body["dimensions"], body["since"]) == (60, [], "2026-11-26")
    assert abs(body["until"] - (time.time() - 3600)) < 60


def test_without_anything_it_counts_by_app_and_event(tmp_path):
    event = {**APP, "name": "event"}
    done, asked = run(tmp_path, answer=found([APP, event, COUNT], [], count=0))
    assert done.stdout.splitlines() == ["app  event  count", "no records in this period"]
    assert asked[-1][2]["dimensions"] == ["app", "event"] and asked[-1][2]["bucket"] is None


def test_json(tmp_path):
    done, _ = run(tmp_path, "--json", "--every", "hour", answer=found([TIME, COUNT], [[0, 5]]))
    assert json.loads(done.stdout)["rows"] == [[0, 5]]


def test_faults(tmp_path):
    done, _ = run(tmp_path, "cuont", answer=error("there is no metric 'cuont'", "/metrics"))
    assert (done.exit_code, done.stderr) == (1, "metrics: there is no metric 'cuont'\n")
    done, _ = run(tmp_path, "--account", "x", answer=result({}))
    assert (done.exit_code, done.stderr) == (1, "there is no account 'x'\n")
