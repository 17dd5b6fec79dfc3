"""Rules in force against attacks, kept on disk: the next detector continues with them after any restart. The kernel has
them, too, and they expire there. This file adds what a detector knows of them.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from spectrum.control.state_file import write_state
from spectrum.kernel.filter.rules import grown
from spectrum.link.detector import DetectorRule

log = logging.getLogger(__name__)

BOOT = Path("/proc/sys/kernel/random/boot_id")


class HeldRules(msgspec.Struct):
    """The rules in force.

    Attributes:
        boot: The boot time, from which the monotonic clock runs, by which rules expire.
        last: The highest number of a rule so far.
        rules: By their names.
    """

    boot: str = ""
    last: int = 0
    rules: list[DetectorRule] = []


_DECODER = msgspec.json.Decoder(HeldRules)


class RuleKeeper:
    """Keeps the rules in force.

    Args:
        path: The file.
        monotonic_ns: The clock by which rules expire.
    """

    def __init__(self, path: Path, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._path = path
        self._now = monotonic_ns
        self._boot = BOOT.read_text(encoding="ascii").strip()
        self.held = HeldRules()

    def read(self) -> HeldRules:
        """Read the rules that the previous daemon had in force; they end at a restart of the machine."""
        try:
            found = _DECODER.decode(self._path.read_bytes())
        except FileNotFoundError:
            return self.held
        except (OSError, msgspec.MsgspecError) as exc:
            log.warning("%s: rules against attacks that were in force expire: %s", self._path, exc)
            return self.held
        rules = [rule for rule in found.rules if rule.expires_ns > self._now()] if found.boot == self._boot else []
        rules = [msgspec.structs.replace(rule, slot=grown(rule.slot)) for rule in rules]
        self.held = HeldRules(self._boot, found.last, rules)
        return self.held

    def take(self, rules: list[DetectorRule], last: int) -> None:
        """Replace the rules in force."""
        self.held = HeldRules(self._boot, max(last, self.held.last), rules)

    def in_force(self) -> list[DetectorRule]:
        """Return the rules that have not expired."""
        return [rule for rule in self.held.rules if rule.expires_ns > self._now()]

    def write(self, held: HeldRules) -> None:
        """Save the rules; it blocks. A failure is logged."""
        try:
            write_state(self._path, held)
        except OSError as exc:
            log.error("%s: rules against attacks are not kept: %s", self._path, (exc.strerror or str(exc)).lower())
