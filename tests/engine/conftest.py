"""Fixtures of several files."""

import pytest

from tests.engine.harness import listening
from tests.engine.live import leaves_nothing
from tests.engine.lookouts import Watched

__all__ = ["leaves_nothing"]


@pytest.fixture
def sockets():
    """The edge's and the origin's listening sockets."""
    with listening() as edge, listening() as origin:
        yield edge, origin


@pytest.fixture
def watching():
    """A `Lookout` that shows all packets, and who reads them."""
    one = Watched()
    one.lookout.watch(1, 1)
    yield one
    one.close()
