"""Requests to the running daemon over its control socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class DaemonError(Exception):
    """The daemon does not answer; the message says what to do."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, resource: str, timeout_s: float = 30.0) -> Any:
    """Return the daemon's JSON answer.

    Raises:
        DaemonError: If no daemon answers on the socket at `path`.
    """
    try:
        try:
            return _answer(UnixConnection(path, timeout_s), method, resource)
        except (ConnectionResetError, http.client.IncompleteRead):
            if method != "GET":
                raise
            # During an upgrade the daemon ends what it has not answered whole; its successor serves by then.
            return _answer(UnixConnection(path, timeout_s), method, resource)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise DaemonError(f"no daemon answers on {path}; is it running, with this control socket?") from exc
    except PermissionError as exc:
        raise DaemonError(f"{path}: the daemon belongs to another user; try sudo") from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise DaemonError(f"the daemon on {path} gave no answer: {exc or type(exc).__name__}") from exc


def _answer(connection: UnixConnection, method: str, resource: str) -> Any:
    try:
        connection.request(method, resource)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
