"""The kernel's part of detection: the listeners of apps, the sampling rate, and rules against attacks. Everything is
done by the helper, which blocks: requests that come meanwhile are done afterwards, only the last of each kind.
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
    """Configures the kernel's part.

    Args:
        helper: Changes the kernel's tables.
        node: The filter, which has the rules.

    Attributes:
        looks: The descriptor of the ring buffer; -1 without sampling.
        one_in: Sampling rates: one of this number of packets, of flows that are not in use and of others.
    """

    def __init__(self, helper: Helper, node: NodeFilter) -> None:
        self._helper = helper
        self._node = node
        self._served = b""
        # The previous daemon may have left it on.
        self._may_be_on = True
        self.looks = -1
        self.one_in = FIRST_IDLE, FIRST_USED

    @property
    def is_on(self) -> bool:
        """Whether packets are sampled."""
        return self.looks >= 0

    def apply(self, config: Config) -> bool:
        """Apply the sampling of a configuration, or none; return whether the ring buffer was replaced. It blocks: call
        it in a thread.

        Raises:
            PinError: If the kernel refuses.
        """
        if config.ddos is None or config.filter is None:
            return self._end(config)
        try:
            served = pack_served(served_places(config.apps))
        except ServedError as exc:
            raise PinError(str(exc)) from exc
        return self._set(served)

    def sample(self, idle_one_in: int, used_one_in: int) -> None:
        """Set the sampling rates; it blocks.

        Raises:
            PinError: If the kernel refuses.
        """
        self.one_in = max(1, idle_one_in), max(1, used_one_in)
        if self.is_on:
            self._set(self._served)

    def write(self, rules: list[DetectorRule]) -> None:
        """Replace the rules in force; it blocks.

        Raises:
            PinError: If the kernel refuses; the former rules stay.
        """
        self._node.set_drops(
            OWNER,
            Drops(
                rules={rule.name: rule.slot for rule in rules},
                sets={rule.name: rule.sets for rule in rules if rule.sets},
            ),
        )

    def close(self) -> None:
        """Close the ring buffer; the kernel's programs stay."""
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
