"""Waiting for threads."""

import time


def soon(condition, timeout_s=10.0):
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.002)
