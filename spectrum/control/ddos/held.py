"""Rules against attacks that are in force, kept on disk: the next detector goes on with them, whoever ended.

The kernel has them too, and ends them by itself. What this has more is what a detector knows of them.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from spectrum.control.state_file import write_state
from spectrum.link.detector import DetectorRule

log = logging.getLogger(__name__)

BOOT = Path("/proc/sys/kernel/random/boot_id")


class HeldRules(msgspec.Struct):
    """Those in force.

    Attributes:
        boot: Since when the monotonic clock runs, by which they end.
        last: The highest number that a rule had.
        rules: By their names.
    """

    boot: str = ""
    last: int = 0
    rules: list[DetectorRule] = []


_DECODER = msgspec.json.Decoder(HeldRules)


class RuleKeeper:
    """Keeps them.

    Args:
        path: The file.
        monotonic_ns: The clock by which rules end.
    """

    def __init__(self, path: Path, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._path = path
        self._now = monotonic_ns
        self._boot = BOOT.read_text(encoding="ascii").strip()
        self.held = HeldRules()

    def read(self) -> HeldRules:
        """Read what a daemon before this one had in force; a restart of the machine ends them."""
        try:
            found = _DECODER.decode(self._path.read_bytes())
        except FileNotFoundError:
            return self.held
        except (OSError, msgspec.MsgspecError) as exc:
            log.warning("%s: rules against attacks that were in force end by themselves: %s", self._path, exc)
            return self.held
        rules = [rule for rule in found.rules if rule.expires_ns > self._now()] if found.boot == self._boot else []
        self.held = HeldRules(self._boot, found.last, rules)
        return self.held

    def take(self, rules: list[DetectorRule], last: int) -> None:
        """Have exactly these in force."""
        self.held = HeldRules(self._boot, max(last, self.held.last), rules)

    def in_force(self) -> list[DetectorRule]:
        """Return those that have not ended by themselves."""
        return [rule for rule in self.held.rules if rule.expires_ns > self._now()]

    def write(self, held: HeldRules) -> None:
        """Have them on disk; it blocks. What cannot be written is logged."""
        try:
            write_state(self._path, held)
        except OSError as exc:
            log.error("%s: rules against attacks are not kept: %s", self._path, (exc.strerror or str(exc)).lower())
