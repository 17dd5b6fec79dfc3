"""What an operator's tools need of a daemon with a control API: its address, a token, the ids to begin with."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon


class LocalApi(http.client.HTTPConnection):
    """The API by its UNIX socket, where this user needs no token."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status of an answer, and its body; None where it has none."""
        headers = {"content-type": "application/json"}
        self.request(method, f"/client/v4{path}", None if body is None else json.dumps(body), headers)
        answer = self.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def result(self, method: str, path: str, body: Any = None) -> Any:
        """Return the result of a call that succeeds."""
        status, answer = self.call(method, path, body)
        assert status == 200, answer
        return answer["result"]


def local_api(daemon: Daemon) -> LocalApi:
    """Return the API of a daemon by its UNIX socket."""
    return LocalApi(daemon.socket.with_name("control.api.sock" if daemon.socket.stem != "control" else "api.sock"))


def make_token(api: LocalApi, permissions: list[str], resources: dict[str, Any], name: str = "tools") -> str:
    """Return the text of a new token with permissions, such as "Spectrum Write", for resources."""
    groups = {group["name"]: group["id"] for group in api.result("GET", "/user/tokens/permission_groups")}
    ids = [{"id": groups[permission]} for permission in permissions]
    policy = {"effect": "allow", "permission_groups": ids, "resources": resources}
    text: str = api.result("POST", "/user/tokens", {"name": name, "policies": [policy]})["value"]
    return text
