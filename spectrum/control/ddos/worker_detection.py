"""The workers' part of detection, if there is no filter: their samples, and the rules that they apply. Everything is
sent over their links: a new worker gets it before it serves.
"""

import os
from collections.abc import Callable, Iterable, Mapping

import msgspec

from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.configuration.config import Config
from spectrum.core.ddos.sampling import FIRST_IDLE, FIRST_USED
from spectrum.kernel.descriptors import memory_file
from spectrum.kernel.filter.rules import check_rule, masked, numbered
from spectrum.kernel.worker_looks import RULE_NUMBERS, AllLooks, make_file
from spectrum.link.detector import DetectorRule
from spectrum.link.encoding import encode
from spectrum.link.messages import Watching, WorkerRule, WorkerRules
from spectrum.plane.memory import KNOWN_BYTES

_encoder = msgspec.msgpack.Encoder()


class WorkerDetection:
    """Configures the workers' part.

    Args:
        workers: How many there are.
        running: Returns the running workers.

    Attributes:
        looks: The memory files of their samples, by worker number; none without sampling.
        one_in: Sampling rates: one of this number of packets, of flows that are not in use and of others.
    """

    def __init__(self, workers: int, running: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._workers = workers
        self._running = running
        self._known = -1
        self._seen: AllLooks | None = None
        self._rules = WorkerRules([], [])
        self._numbers: dict[str, int] = {}
        self._next = 0
        # The counters of rules when they began, by rule number.
        self._before: dict[str, tuple[int, int]] = {}
        self.looks: list[int] = []
        self.one_in = FIRST_IDLE, FIRST_USED

    @property
    def is_on(self) -> bool:
        """Whether packets are sampled."""
        return bool(self.looks)

    def apply(self, config: Config) -> None:
        """Apply the sampling of a configuration, or none.

        Raises:
            OSError: If no memory is available.
            LooksError: If the memory cannot be mapped.
        """
        if config.ddos is None or config.filter is not None:
            if self.is_on:
                self._let_go()
                self._tell_all()
            return
        guard = [masked(prefix) for prefix in config.ddos.guard]
        is_same = self.is_on and guard == self._rules.guard
        if not self.is_on:
            self._begin()
        if not is_same:
            self._rules = WorkerRules(self._rules.rules, guard)
            self._tell_all()

    def sample(self, idle_one_in: int, used_one_in: int) -> None:
        """Set the sampling rates."""
        self.one_in = max(1, idle_one_in), max(1, used_one_in)
        if self.is_on:
            self._tell_all()

    def write(self, rules: list[DetectorRule]) -> None:
        """Replace the rules in force.

        Raises:
            PinError: If one is not valid; the former rules stay.
            OSError: If sending fails.
        """
        for rule in rules:
            check_rule(rule.slot, rule.sets)
        names = [rule.name for rule in rules]
        self._numbers = {name: number for name, number in self._numbers.items() if name in names}
        for name in names:
            if name not in self._numbers:
                self._number(name)
        self._before = {name: self._before[name] for name in names}
        self._rules = WorkerRules(
            [WorkerRule(numbered(rule.slot, self._numbers[rule.name]), rule.sets) for rule in rules],
            self._rules.guard,
        )
        if self.is_on:
            self._tell_all()

    def _number(self, name: str) -> None:
        """Give a rule the number that has been free for the longest time."""
        used = set(self._numbers.values())
        while self._next in used:
            self._next = (self._next + 1) % RULE_NUMBERS
        self._numbers[name] = self._next
        self._before[name] = self._counts()[self._next]
        self._next = (self._next + 1) % RULE_NUMBERS

    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Return packets and bytes of the rules in force, since they began."""
        found = self._counts()
        return {
            name: (found[number][0] - before[0], found[number][1] - before[1])
            for name, number in self._numbers.items()
            for before in (self._before[name],)
        }

    @property
    def lost(self) -> int:
        """The number of samples that found no room."""
        return self._seen.lost if self._seen is not None else 0

    def _counts(self) -> list[tuple[int, int]]:
        return self._seen.counts() if self._seen is not None else [(0, 0)] * RULE_NUMBERS

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the sampling settings and the rules.

        Raises:
            OSError: If that fails.
        """
        if not self.is_on:
            worker.tell(Watching())
            return
        body = encode(_encoder, self._rules)
        file = memory_file("rules", body)
        try:
            worker.tell(Watching(*self.one_in, len(body)), [self.looks[worker.number], self._known, file])
        finally:
            os.close(file)

    def _tell_all(self) -> None:
        for worker in self._running():
            self.tell(worker)

    def _begin(self) -> None:
        try:
            self._known = make_file("known", KNOWN_BYTES)
            for number in range(self._workers):
                self.looks.append(make_file(f"looks-{number}"))
            self._seen = AllLooks(self.looks)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._seen is not None:
            self._seen.close()
            self._seen = None
        for descriptor in (*self.looks, *([self._known] if self._known >= 0 else [])):
            os.close(descriptor)
        self.looks, self._known = [], -1
        self._rules, self._numbers, self._before = WorkerRules([], []), {}, {}

    def close(self) -> None:
        """Release the memory; workers continue as they are."""
        self._let_go()
