"""ClickHouse's engine (chdb) behind as much of its HTTP interface as our client and clickhouse-connect use.

`python -m tests.analytics.clickhouse_server` is a process of its own: the engine has threads and handlers of signals.
"""

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import parse_qsl, urlsplit

# What the engine is not told of: in it everything is read and written at once, and nobody hangs up.
_OURS = {"database", "query", "default_format", "query_id", "wait_end_of_query", "readonly", "session_id"}
_SKIPPED = {"async_insert", "wait_for_async_insert", "cancel_http_readonly_queries_on_client_close"}
_FORMAT = re.compile(r"\sFORMAT\s+(\w+)\s*$", re.IGNORECASE)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(200, b"Ok.\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fields = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if self.headers.get_content_type() == "multipart/form-data":
            fields |= form(self.headers["content-type"], body)
            body = b""
        if self.headers.get("X-ClickHouse-Key", "") == "wrong":
            self._answer(403, b"Code: 516. DB::Exception: Authentication failed", "516")
            return
        try:
            answer = self.server.ask(fields, body)
        except RuntimeError as exc:
            code = re.search(r"Code: (\d+)", str(exc))
            self._answer(500, str(exc).encode(), code[1] if code else "")
        else:
            self._answer(200, answer)

    def _answer(self, status, data, code=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-ClickHouse-Summary", "{}")
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        from chdb.session import Session

        self._session = Session(mkdtemp())
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def ask(self, fields, body):
        text = fields.get("query", "")
        if body:
            text = (text + "\n" + body.decode()) if text else body.decode()
        format_ = fields.get("default_format", "TabSeparated")
        if not text.lstrip().upper().startswith("INSERT") and (found := _FORMAT.search(text)):
            text, format_ = _FORMAT.sub("", text), found[1]
        if text.lstrip().upper().startswith("SELECT"):
            text += self._settings(fields)
        parameters = {name.removeprefix("param_"): value for name, value in fields.items() if name.startswith("param_")}
        with self._lock:
            if database := fields.get("database"):
                self._session.query(f"USE {database}")
            return self._session.query(text, format_, params=parameters or None).bytes()

    def _settings(self, fields):
        settings = [
            f"{name} = {value if re.fullmatch('[0-9.]+', value) else repr(value)}"
            for name, value in fields.items()
            if name not in _OURS | _SKIPPED and not name.startswith("param_") and "." not in name
        ]
        return f" SETTINGS {', '.join(settings)}" if settings else ""


def form(content_type, body):
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
        for part in message.get_payload()
    }


@contextmanager
def clickhouse():
    """Yield the URL of a server that runs."""
    command = [sys.executable, "-m", "tests.analytics.clickhouse_server"]
    folder = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


if __name__ == "__main__":
    server = Server()
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # the engine may wait for its threads for ever
