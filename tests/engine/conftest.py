"""Fixtures of several files."""

import pytest

from tests.engine.harness import listening
from tests.engine.live import leaves_nothing

__all__ = ["leaves_nothing"]


@pytest.fixture
def sockets():
    """The edge's and the origin's listening sockets."""
    with listening() as edge, listening() as origin:
        yield edge, origin
