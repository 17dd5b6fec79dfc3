import pytest

from spectrum.control.api import needs


@pytest.fixture(autouse=True)
def without_libraries(monkeypatch):
    """The supervisor needs none of the API's."""
    monkeypatch.setattr(needs, "LIBRARIES", ())
