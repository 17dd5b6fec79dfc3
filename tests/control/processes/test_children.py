import asyncio
import os
import signal
import sys

import pytest

from spectrum.control.processes.children import Child

HELD = "import os, signal, sys; sys.exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"


async def test_how_it_ended():
    child = Child(["sh", "-c", "exit 7"])
    assert child.pid > 0
    assert await asyncio.wait_for(child.wait(), 5) == child.returncode == 7


async def test_one_that_is_killed():
    child = Child(["sleep", "60"])
    assert child.returncode is None
    child.kill()
    assert await asyncio.wait_for(child.wait(), 5) == -signal.SIGKILL
    child.kill()  # it is gone


async def test_a_signal_and_an_environment():
    child = Child(["sh", "-c", "exit $STATUS"], environment={"STATUS": "7"})
    assert await asyncio.wait_for(child.wait(), 5) == 7
    child.signal(signal.SIGTERM)  # to nobody
    child = Child(["sleep", "60"])
    child.signal(signal.SIGKILL)
    assert await asyncio.wait_for(child.wait(), 5) == -signal.SIGKILL


async def test_it_begins_with_signals_held_back():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    child = Child([sys.executable, "-c", HELD])
    os.kill(child.pid, signal.SIGUSR1)
    # All but SIGKILL and SIGSTOP.
    assert await asyncio.wait_for(child.wait(), 5) == len(signal.valid_signals()) - 2
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


async def test_what_it_inherits():
    reading, writing = os.pipe()
    child = Child([sys.executable, "-c", f"import os; os.write({writing}, b'hello')"], [writing])
    os.close(writing)
    assert await asyncio.wait_for(child.wait(), 5) == 0
    assert os.read(reading, 10) == b"hello"
    os.close(reading)


async def test_no_such_program():
    with pytest.raises(OSError, match="No such file"):
        Child(["/nowhere/python"])
