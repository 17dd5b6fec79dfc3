import threading

from spectrum.control.processes import kernel_counts
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.kernel.pins import PinError
from spectrum.link.helper import Counted, ShowCounts


class Helper:
    """Answers, refuses, or waits until it is let go."""

    def __init__(self):
        self.answer, self.free = Counted({"passed": (1, 60)}), threading.Event()
        self.free.set()

    def ask(self, request, kind):
        assert (request, kind) == (ShowCounts("filter"), Counted)
        self.free.wait(10)
        if self.answer is None:
            raise PinError("there is no helper")
        return self.answer, []


async def test_a_busy_helper_delays_nothing_else(monkeypatch):
    monkeypatch.setattr(kernel_counts, "PATIENCE_S", 0.05)
    helper = Helper()
    counts = KernelCounts(helper, "filter")
    helper.free.clear()
    assert await counts.read() == {}
    helper.free.set()
    monkeypatch.setattr(kernel_counts, "PATIENCE_S", 10)
    assert await counts.read() == {"passed": (1, 60)}
    helper.free.clear()
    helper.answer = Counted({"passed": (2, 120)})
    monkeypatch.setattr(kernel_counts, "PATIENCE_S", 0.05)
    assert await counts.read() == {"passed": (1, 60)}
    helper.free.set()
    monkeypatch.setattr(kernel_counts, "PATIENCE_S", 10)
    assert await counts.read() == {"passed": (2, 120)}
    helper.answer = None
    assert await counts.read() == {}
