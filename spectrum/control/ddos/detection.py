"""What detection needs of the kernel: where apps are served, how many packets are looked at, rules against attacks.

It all goes by the helper, which blocks: what comes meanwhile is done afterwards, the last of each kind only.
"""

import logging
import os

from spectrum.control.filter.node import NodeFilter
from spectrum.control.processes.helper import Helper
from spectrum.core.configuration.config import Config
from spectrum.core.ddos.sampling import FIRST_IDLE, FIRST_USED
from spectrum.core.ddos.served import ServedError, served_places
from spectrum.kernel.filter.detection import pack_served
from spectrum.kernel.filter.drops import Drops
from spectrum.kernel.pins import PinError
from spectrum.link.detector import DetectorRule
from spectrum.link.helper import Detecting, SetDetection

log = logging.getLogger(__name__)

OWNER = "ddos"


class KernelDetection:
    """Keeps the kernel's part.

    Args:
        helper: Does it.
        node: The filter, which has the rules.

    Attributes:
        looks: A descriptor of the ring buffer; -1 where nothing is looked at.
        one_in: One of so many packets is looked at: of flows that are not in use, and of others.
    """

    def __init__(self, helper: Helper, node: NodeFilter) -> None:
        self._helper = helper
        self._node = node
        self._served = b""
        # A daemon before this one may have left it on.
        self._may_be_on = True
        self.looks = -1
        self.one_in = FIRST_IDLE, FIRST_USED

    @property
    def is_on(self) -> bool:
        """Whether packets are looked at."""
        return self.looks >= 0

    def apply(self, config: Config) -> bool:
        """Look at packets as a configuration says, or at none; return whether the ring buffer is another one.

        It blocks: use a thread.

        Raises:
            PinError: If the kernel does not take it.
        """
        if config.ddos is None or config.filter is None:
            return self._end(config)
        try:
            served = pack_served(served_places(config.apps))
        except ServedError as exc:
            raise PinError(str(exc)) from exc
        return self._set(served)

    def sample(self, idle_one_in: int, used_one_in: int) -> None:
        """Look at one of so many packets; it blocks.

        Raises:
            PinError: If the kernel does not take it.
        """
        self.one_in = max(1, idle_one_in), max(1, used_one_in)
        if self.is_on:
            self._set(self._served)

    def write(self, rules: list[DetectorRule]) -> None:
        """Have exactly these rules in force; it blocks.

        Raises:
            PinError: If the kernel does not take them; those before stay.
        """
        self._node.set_drops(
            OWNER,
            Drops(
                rules={rule.name: rule.slot for rule in rules},
                sets={rule.name: rule.sets for rule in rules if rule.sets},
            ),
        )

    def close(self) -> None:
        """Let go of the ring buffer; the kernel goes on."""
        if self.looks >= 0:
            os.close(self.looks)
            self.looks = -1

    def _set(self, served: bytes) -> bool:
        self._may_be_on = True
        _, descriptors = self._helper.ask(SetDetection(*self.one_in, served), Detecting)
        self._served = served
        if not descriptors:
            raise PinError("the filter is off")
        before, self.looks = self.looks, descriptors[0]
        if before >= 0:
            os.close(before)
        return True

    def _end(self, config: Config) -> bool:
        if config.filter is not None and self._may_be_on and (self.is_on or self._helper.has_pins()):
            self._helper.ask(SetDetection(0, 0, b""), Detecting)
            self.write([])
            self._may_be_on = False
        self.close()
        return False
