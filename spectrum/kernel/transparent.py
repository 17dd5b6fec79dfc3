"""Check the privilege to use foreign addresses, and read rules and routes by `ip` and `nft`."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence

# linux/in.h; Python has no name for it.
IP_TRANSPARENT = 19
COMMAND_TIMEOUT_S = 10.0
# Debian's folders of ip and nft, which are not in a user's PATH.
_PATH = os.pathsep.join((os.environ.get("PATH") or os.defpath, "/usr/sbin", "/sbin"))


# The Debian package of each program.
_PACKAGES = {"ip": "iproute2", "nft": "nftables"}


class NetworkError(Exception):
    """A command could not be run, or failed; the message is its output."""


def may_be_transparent() -> bool:
    """Return whether this process may use foreign source addresses (CAP_NET_ADMIN or CAP_NET_RAW, ip(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        except OSError:
            return False
    return True


def is_installed(program: str) -> bool:
    """Return whether `run` finds a program."""
    return shutil.which(program, path=_PATH) is not None


def how_to_install(program: str) -> str:
    """Return the command that installs a missing program."""
    return f"on Debian: apt-get install {_PACKAGES.get(program, program)}"


def run(command: Sequence[str], text: str = "") -> str:
    """Run a command of iproute2 or nftables; return its output.

    Args:
        command: The command with its arguments.
        text: Its standard input.

    Raises:
        NetworkError: If it is not installed, or failed.
    """
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            env=os.environ | {"PATH": _PATH, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError as exc:
        raise NetworkError(f"{command[0]} is not installed; {how_to_install(command[0])}") from exc
    except subprocess.TimeoutExpired as exc:
        raise NetworkError(f"{' '.join(command)} did not end within {COMMAND_TIMEOUT_S:g} s") from exc
    if done.returncode != 0:
        raise NetworkError(done.stderr.strip() or f"{' '.join(command)} failed")
    return done.stdout
