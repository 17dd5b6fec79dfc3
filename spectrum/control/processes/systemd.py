"""Notifies systemd of the daemon's state (sd_notify(3)), if systemd asked for it."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Sends states to the socket that systemd names in the environment; without one it does nothing.

    Args:
        environment: Holds NOTIFY_SOCKET, and WATCHDOG_USEC where the unit has a watchdog.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        # An abstract socket's name begins with a zero byte, which the variable cannot hold (sd_notify(3)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        own = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        self._watchdog_s = int(environment.get("WATCHDOG_USEC", "0")) / 1e6 if own else 0.0

    def ready(self, status: str) -> None:
        """Report that it serves; `status` is shown by `systemctl status`."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that it reads its file again, until `ready`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Report that it drains."""
        self._send("STOPPING=1", f"STATUS={status}")

    def followed_by(self, pid: int) -> None:
        """Report that another process is the main one from now on."""
        self._send(f"MAINPID={pid}")

    async def feed_watchdog(self) -> None:
        """Report twice per watchdog interval that the loop runs, until cancelled."""
        while self._watchdog_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, *states: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(states).encode(), self._address)
        except OSError as exc:
            log.warning("systemd is not notified of %s: %s", states[0], exc)
