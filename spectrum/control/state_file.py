"""Files of state that operators set and that outlives restarts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from spectrum.control.configuration.actor import RolloutError
from spectrum.kernel.whole_files import replace_file

State = TypeVar("State")


def read_state(path: Path, decoder: "msgspec.json.Decoder[dict[str, State]]", what: str) -> dict[str, State]:
    """Return the content of a file; nothing if there is none.

    Args:
        path: The file.
        decoder: Decodes its content.
        what: What the file says, for the message: "which ...".

    Raises:
        RolloutError: If it cannot be read.
    """
    try:
        return decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as exc:
        raise RolloutError(f"{path}: which {what} cannot be read: {exc}; if none is to be, remove the file") from exc


def write_state(path: Path, state: object) -> None:
    """Replace a file; it is there whole or not at all. Its folder is made where there is none.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, msgspec.json.format(msgspec.json.encode(state)) + b"\n")


def since_text(since: float) -> str:
    """Return a time in seconds since 1970 as text (RFC 3339)."""
    return datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
