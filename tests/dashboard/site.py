"""A daemon with the API, apps, an origin that answers and one that does not; and a token for its dashboard."""

import http.client
import json
import os
import socket
import socketserver
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from spectrum.store.objects import file_id
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

# What a client, an operator or a file may have named something: it has to stay text.
HOSTILE = "<img src=x onerror=alert(1)>"
# Whom the app `guarded` refuses.
SCANNER = "127.0.0.9"


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _Origins(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Site:
    """What a dashboard is of.

    Args:
        folder: The daemon's own, which others may enter.
        ports: So many free ones: of the API, of three apps, of an origin, and one where nothing listens.
        more: What the file has beside it.

    Attributes:
        url: Of the dashboard.
        token: That may everything.
    """

    def __init__(self, folder: Path, ports: list[int], more: str = "") -> None:
        api, self.good, self.bad, self.guarded, origin, closed = ports
        self.folder, self.url, self.token = folder, f"http://127.0.0.1:{api}", ""
        self._origin = _Origins(("127.0.0.1", origin), _Echo)
        self._ended = threading.Event()
        self._clients = threading.Thread(target=self._be_clients)
        (folder / "scanners.txt").write_text(f"# seen scanning\n{SCANNER}/32\n")
        user = "user: nobody, " if os.geteuid() == 0 else ""
        self._text = f"""
api: {{{user}listen: "127.0.0.1:{api}", store: {folder}/store, rate_limit: {{requests: 1000000}}}}
analytics: {{store: {folder}/analytics}}
monitors: {{quick: {{type: tcp, interval: 0.5, timeout: 0.5, retries: 0, consecutive_up: 1, consecutive_down: 1}}}}
pools:
  main:
    monitor: quick
    origins: [{{name: up, address: 127.0.0.1, port: {origin}}}, {{name: down, address: 127.0.0.1, port: {closed}}}]
  spare: {{monitor: quick, origins: [{{name: other, address: 127.0.0.1, port: {origin}}}]}}
records: {{journal: {{path: {folder}/records}}}}
access_rules: {{scanners: {{action: block, target: ip, file: {folder}/scanners.txt}}}}
load_balancers: {{shared: {{default_pools: [main], fallback_pool: spare}}}}
apps:
  echo: {{protocol: tcp/{self.good}, edge_ips: [127.0.0.1], load_balancer: shared}}
  guarded: {{protocol: tcp/{self.guarded}, edge_ips: [127.0.0.1], load_balancer: shared, ip_firewall: true}}
  broken: {{protocol: tcp/{self.bad}, edge_ips: [127.0.0.1], origin_direct: ["tcp://127.0.0.1:{closed}"]}}
{more}"""
        self.daemon = Daemon(folder, self._text)

    def __enter__(self) -> "Site":
        threading.Thread(target=self._origin.serve_forever, args=(0.05,), daemon=True).start()
        with ExitStack() as opened:
            opened.enter_context(self.daemon)
            eventually(lambda: self.daemon.status()["api"]["pid"] != 0, 90, self.daemon.messages)
            self._clients.start()
            self.token = self.make_token("dashboard", "all:edit")
            opened.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        self._ended.set()
        try:
            self._clients.join()
            self.daemon.__exit__(*why)
        finally:
            self._origin.shutdown()
            self._origin.server_close()

    def _be_clients(self) -> None:
        """Visit the app that works a few times a second, and stay a while."""
        stay: list[socket.socket] = []
        while not self._ended.wait(0.25):
            with suppress(OSError):
                client = socket.create_connection(("127.0.0.1", self.good), 5)
                client.sendall(b"x" * 20_000)
                stay.append(client)
            if len(stay) > 8:
                stay.pop(0).close()
        for client in stay:
            client.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the result of a request of root on this machine, who needs no token."""
        connection = _Unix(self.folder / "api.sock")
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, f"/client/v4{path}", None if body is None else json.dumps(body), headers)
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["success"], answer
        return answer["result"]

    @property
    def account(self) -> str:
        """The id of the one account."""
        return file_id("accounts", "default")

    def make_token(self, name: str, *permissions: str) -> str:
        """Return a new token that may this everywhere."""
        groups = [{"id": file_id("permissions", one)} for one in permissions]
        policies = [
            {"effect": "allow", "permission_groups": groups, "resources": {"com.cloudflare.api.account.*": "*"}}
        ]
        return str(self.ask("POST", "/user/tokens", {"name": name, "policies": policies})["value"])

    def visit(self, port: int, data: bytes = b"hello", source: str = "127.0.0.1") -> bytes:
        """Be a client of an app: send something, and return what comes back; nothing where it is refused."""
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as client:
            client.settimeout(10)
            client.sendall(data)
            return client.recv(len(data))
        return b""
