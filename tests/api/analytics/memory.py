"""A store in memory that fails as it is told to, and a journal with its supervisor's end."""

import os

from spectrum.analytics.store import KeptSpan, StoreProgress, Taken, UpkeepResult
from spectrum.control.records.segments import Segments
from spectrum.core.records.journal import Batch
from spectrum.link.analytics import JournalView

BOUND = 16 * 40_000


class MemoryStore:
    """Keeps ids of records; what it keeps outlives it in `kept`.

    Attributes:
        faults: What the next calls of `take` raise, one each; None for none.
        refuses: What each call of `open` raises.
    """

    def __init__(self, kept=None):
        self.kept = kept if kept is not None else {"ids": [], "cursor": None, "next": {}}
        self.dropped = 0
        self.faults, self.refuses, self.calls, self.takes, self.packets = [], None, [], [], []

    def open(self):
        self.calls.append("open")
        if self.refuses:
            raise self.refuses

    def progress(self):
        return StoreProgress(self.kept["cursor"], dict(self.kept["next"]))

    def take(self, batches, cursor):
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        if any(batch.lines.startswith(b"poison") for batch in batches):
            raise ValueError("poison")
        self.takes.append(len(batches))
        rows = repeated = 0
        for batch in batches:
            begin = self.kept["next"].get(batch.source, 0)
            for number in range(batch.sequence, batch.sequence + batch.records):
                if number < begin:
                    repeated += 1
                else:
                    self.kept["ids"].append((batch.source, number))
                    rows += 1
            self.kept["next"][batch.source] = max(begin, batch.sequence + batch.records)
        self.kept["cursor"] = cursor
        return Taken(rows, repeated, 0, 0)

    def take_packets(self, packets):
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        self.packets += [one.values for one in packets]

    def tidy(self, now):
        self.calls.append("tidy")
        return UpkeepResult(0, self.dropped, 4096, False)

    def extent(self):
        return KeptSpan(None, None, None)

    def close(self):
        self.calls.append("close")


class Daemon:
    """The journal in a folder, and who answers for it."""

    def __init__(self, folder, bound=BOUND):
        self.folder, self.bound = folder, bound
        folder.mkdir(exist_ok=True)
        self.segments = Segments(folder, bound)
        self.sequences = {}
        self.questions = []
        self.gone = None
        self.packets = []
        self.begun = False

    def restart(self):
        self.segments.close()
        self.segments = Segments(self.folder, self.bound)
        self.begun = False

    def add(self, count, source="n/0/a", line=b"{}\n"):
        first = self.sequences.get(source, 1)
        self.sequences[source] = first + count
        self.append(Batch(source, first, count, 1_000_000, line * count))

    def append(self, *batches):
        self.segments.append(batches)

    async def answer(self, question):
        self.questions.append(question)
        if self.gone:
            raise self.gone
        extent = self.segments.extent
        if question.begins and not self.begun:
            extent, self.begun = self.segments.recovered, True
        files = [] if question.segment is None else self.segments.open_segment(question.segment)
        packets, self.packets = self.packets, []
        return JournalView(extent=extent, node="n", packets=packets), files[0] if files else -1


def descriptors():
    return len(os.listdir("/proc/self/fd"))
