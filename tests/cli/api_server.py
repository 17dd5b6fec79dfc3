"""An API of a few resources on a UNIX socket, which tells what it was asked."""

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler


def result(value):
    return {"success": True, "errors": [], "messages": [], "result": value}


def error(message, pointer=None):
    source = {"source": {"pointer": pointer}} if pointer else {}
    return {"success": False, "errors": [{"code": 1000, "message": message, **source}], "messages": [], "result": None}


@contextmanager
def serving(path, answers):
    """Serve `answers`, by method and target; give the list of (method, target, body) that were asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            asked.append((self.command, self.path, body))
            answer = answers.get((self.command, self.path), result([]))
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PUT = _answer

        def log_message(self, *_):
            pass

        def address_string(self):
            return "local"

    class Server(socketserver.UnixStreamServer):
        request_queue_size = 16

    path.unlink(missing_ok=True)
    server = Server(str(path), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
