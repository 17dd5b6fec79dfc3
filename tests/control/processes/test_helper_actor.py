import os
from contextlib import ExitStack

import pytest

from spectrum.control.processes.helper_actor import HelperActor, enlarger
from spectrum.kernel.pins import PinError
from spectrum.link.succession import Handover, SuccessionError
from spectrum.tasks import Tasks
from tests.control.keepers import until


class Asked:
    """Stands for the helper, which has tests of its own."""

    def __init__(self, line=None):
        self.line, self.adopted, self.closed = line, [], False

    def adopt(self, descriptor):
        self.adopted.append(descriptor)

    def another(self):
        if isinstance(self.line, Exception):
            raise self.line
        return self.line

    async def watch(self):
        pass

    def enlarge(self, sockets):
        self.enlarged = [os.fstat(one).st_ino for one in sockets]

    def close(self):
        self.closed = True


async def test_a_line_is_handed_on():
    helper = Asked(os.open("/dev/null", os.O_RDONLY))
    actor, handover = HelperActor(helper), Handover()
    with ExitStack() as opened:
        await actor.give(handover, opened)
        assert handover.helper == helper.line
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(helper.line)
    await actor.inherit(handover)
    await actor.inherit(Handover())
    assert helper.adopted == [helper.line]
    assert actor.jobs() == {"watch the helper": helper.watch}
    await actor.close()
    assert helper.closed


async def test_a_successor_may_need_none():
    handover = Handover()
    with ExitStack() as opened:
        await HelperActor(Asked()).give(handover, opened)
    assert handover.helper is None


async def test_a_helper_that_does_not_answer_ends_an_upgrade():
    with ExitStack() as opened, pytest.raises(SuccessionError, match="it has ended"):
        await HelperActor(Asked(PinError("it has ended"))).give(Handover(), opened)


async def test_queues_are_made_longer_beside_all_else():
    helper, tasks = Asked(), Tasks()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    enlarger(helper, tasks)([descriptor])
    await until(lambda: not os.path.exists(f"/proc/self/fd/{descriptor}"))
    assert helper.enlarged == [os.stat("/dev/null").st_ino]
