import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.clickhouse_http import ClickHouseHttp, multipart
from spectrum.analytics.store import AnalyticsError, QuestionTooLarge
from spectrum.core.analytics.dialects import Statement
from tests.analytics.clickhouse_server import form


class Scripted(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((parse_qs(urlsplit(self.path).query), self.headers, body))
        status, code, data = self.server.answers.pop(0)
        if status == "silence":
            self.server.ended.wait(10)
            return
        self.send_response(status)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def scripted(*answers):
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        server.seen, server.answers, server.ended = [], list(answers), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, http(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def http(url):
    return ClickHouseHttp(url, "d", "u", "p", sleep=lambda seconds: None)


def rows(client, timeout_s=5.0, cancellation=None):
    return client.rows(Statement("SELECT {p0:String}", {"p0": "it's\t"}), timeout_s, cancellation or Cancellation())


def test_a_question_has_its_parameters_beside_it():
    with scripted((200, "", b'["a",1]\n["b",null]\n')) as (server, client):
        assert rows(client) == [("a", 1), ("b", None)]
        ((query, headers, body),) = server.seen
    assert form(headers["content-type"], body) == {"query": "SELECT {p0:String}", "param_p0": "it's\\t"}
    assert (headers["X-ClickHouse-User"], headers["X-ClickHouse-Key"]) == ("u", "p")
    assert (query["max_execution_time"], query["readonly"], query["database"]) == (["5.000"], ["2"], ["d"])


def test_an_insert_waits_until_it_is_written():
    with scripted((200, "", b"")) as (server, client):
        client.insert("INSERT INTO x FORMAT JSONEachRow", b"{}\n")
        ((query, _, body),) = server.seen
    assert (query["query"], body) == (["INSERT INTO x FORMAT JSONEachRow"], b"{}\n")
    assert query["async_insert"] == query["wait_for_async_insert"] == ["1"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "reason"),
    [
        (500, "159", QuestionTooLarge, "other"),
        (500, "241", QuestionTooLarge, "other"),
        (500, "243", AnalyticsError, "full"),
        (404, "60", AnalyticsError, "other"),
        (503, "", AnalyticsError, "unreachable"),
    ],
)
def test_faults_are_told_apart(status, code, kind, reason):
    with (
        scripted((status, code, b"Code: 1.\nDB::Exception: x")) as (_, client),
        pytest.raises(AnalyticsError, match=r"1\. DB::Exception: x$") as raised,
    ):
        rows(client)
    assert (type(raised.value), raised.value.reason) == (kind, reason)


def test_what_may_be_sent_twice_is_tried_again():
    with scripted((503, "", b""), (502, "", b""), (200, "", b"")) as (server, client):
        client.command("CREATE TABLE x")
        assert len(server.seen) == 3
    with scripted((503, "", b"")) as (_, client), pytest.raises(AnalyticsError, match="status 503"):
        client.command("CREATE TABLE x", may_repeat=False)
    many = [(503, "", b"")] * 3
    with scripted(*many) as (_, client), pytest.raises(AnalyticsError, match="status 503"):
        client.command("CREATE TABLE x")
    with scripted((500, "62", b"Syntax error")) as (server, client):
        with pytest.raises(AnalyticsError, match="Syntax error"):
            client.insert("x", b"")
        assert len(server.seen) == 1


def test_a_server_that_is_silent(monkeypatch):
    monkeypatch.setattr("spectrum.analytics.clickhouse_http._GRACE_S", 0.0)
    with scripted(("silence", "", b"")) as (_, client), pytest.raises(QuestionTooLarge, match="no answer within"):
        rows(client, 0.1)


def test_a_question_that_nobody_waits_for_ends():
    with scripted(("silence", "", b"")) as (server, client):
        cancellation = Cancellation()
        threading.Timer(0.1, cancellation.set).start()
        began = time.monotonic()
        with pytest.raises(QuestionTooLarge, match="cancelled"):
            rows(client, 60.0, cancellation)
        assert time.monotonic() - began < 10
        assert len(server.seen) == 1


def test_a_server_that_is_not_there():
    with pytest.raises(AnalyticsError, match="refused") as raised:
        rows(http("http://127.0.0.1:1"))
    assert raised.value.reason == "unreachable"
    with pytest.raises(AnalyticsError) as raised:
        http("https://127.0.0.1:1/path/").command("SELECT 1")
    assert raised.value.reason == "unreachable"


def test_a_form():
    body, kind = multipart({"query": "SELECT 'ü'", "param_p0": "--x\r\n"})
    assert form(kind, body) == {"query": "SELECT 'ü'", "param_p0": "--x\r\n"}
