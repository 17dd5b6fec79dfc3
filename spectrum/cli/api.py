"""Access of commands to the control API: over its socket on this machine, where root and the daemon's user need no
token.
"""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from spectrum.cli.client import DaemonError, UnixConnection
from spectrum.cli.options import FILE, failure
from spectrum.control.paths import api_socket, default_control_socket

PREFIX = "/client/v4"
READING_TIMEOUT_S = 30.0
# A change waits for all workers.
TIMEOUT_S = 120.0
API_SOCKET = click.option(
    "--api-socket",
    "api_path",
    type=FILE,
    default=None,
    envvar="SPECTRUM_API_SOCKET",
    show_envvar=True,
    help=f"The API's socket, if not {api_socket(default_control_socket())}.",
)


def request(path: Path | None, method: str, resource: str, body: Any = None, **query: str) -> Any:
    """Return the `result` of the API's answer; an error, or no answer, raises a failure.

    Args:
        path: The path of the API's socket; None for the default.
        method: The HTTP method.
        resource: The path below `/client/v4`.
        body: Sent as JSON, unless it is None.
        query: Parameters.
    """
    path = path or api_socket(default_control_socket())
    target = f"{PREFIX}{resource}{'?' if query else ''}{urlencode(query)}"
    try:
        answer = _exchange(path, method, target, None if body is None else json.dumps(body))
    except DaemonError as exc:
        raise failure(str(exc)) from exc
    if not isinstance(answer, dict) or not answer.get("success"):
        errors = answer.get("errors") if isinstance(answer, dict) else None
        raise failure("\n".join(map(_told, errors or [{"message": "the API sent an invalid answer"}])))
    return answer.get("result")


def _told(error: dict[str, Any]) -> str:
    pointer = (error.get("source") or {}).get("pointer", "")
    place = pointer.removeprefix("/objects/").lstrip("/").replace("/", ".")  # For an import the place in its file.
    return f"{place}: {error['message']}" if place else str(error["message"])


def _exchange(path: Path, method: str, target: str, body: str | None) -> Any:
    connection = UnixConnection(path, READING_TIMEOUT_S if method == "GET" else TIMEOUT_S)
    try:
        connection.request(method, target, body, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise DaemonError(
            f"no API answers on {path}; is the daemon running, and does its file have api: (docs/api.md)?"
        ) from exc
    except PermissionError as exc:
        raise DaemonError(f"{path}: the daemon belongs to another user; try sudo") from exc
    except TimeoutError as exc:  # Connections wait for a process that serves.
        raise DaemonError(f"the API on {path} does not answer; spectrum status shows whether it is served") from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise DaemonError(f"the API on {path} gave no answer: {exc or type(exc).__name__}") from exc
    finally:
        connection.close()
