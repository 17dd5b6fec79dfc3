"""What detection has of the workers where there is no filter: what they show, and rules that they judge by.

Everything is told over their links: a worker that is new, or follows another one, is told before it serves.
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
    """Keeps the workers' part.

    Args:
        workers: How many there are.
        running: Returns them.

    Attributes:
        looks: The memory files in which they show packets, by their numbers; none where they do not.
        one_in: One of so many packets is shown: of flows that are not in use, and of others.
    """

    def __init__(self, workers: int, running: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._workers = workers
        self._running = running
        self._known = -1
        self._seen: AllLooks | None = None
        self._rules = WorkerRules([], [])
        self._numbers: dict[str, int] = {}
        self._next = 0
        # What rules had counted by their numbers when they began.
        self._before: dict[str, tuple[int, int]] = {}
        self.looks: list[int] = []
        self.one_in = FIRST_IDLE, FIRST_USED

    @property
    def is_on(self) -> bool:
        """Whether packets are shown."""
        return bool(self.looks)

    def apply(self, config: Config) -> None:
        """Have packets shown as a configuration says, or none.

        Raises:
            OSError: If there is no memory for it.
            LooksError: If that cannot be mapped.
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
        """Have one of so many packets shown."""
        self.one_in = max(1, idle_one_in), max(1, used_one_in)
        if self.is_on:
            self._tell_all()

    def write(self, rules: list[DetectorRule]) -> None:
        """Have exactly these rules in force.

        Raises:
            PinError: If one is none; those before stay.
            OSError: If workers cannot be told.
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
        """Give a rule the number that was free for the longest time."""
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
        """How many looks found no room."""
        return self._seen.lost if self._seen is not None else 0

    def _counts(self) -> list[tuple[int, int]]:
        return self._seen.counts() if self._seen is not None else [(0, 0)] * RULE_NUMBERS

    def tell(self, worker: WorkerProcess) -> None:
        """Tell a worker what it shows, and the rules.

        Raises:
            OSError: If it cannot be told.
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
        """Let go of the memory; workers go on as they were told."""
        self._let_go()
