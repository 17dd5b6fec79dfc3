import pytest

from spectrum.store import errors


@pytest.mark.parametrize("name", ["StoreFull", "StoreInUse", "StoreNewer", "StoreCorrupt", "NameTaken"])
def test_each_is_an_error_of_the_store(name):
    assert issubclass(getattr(errors, name), errors.StoreError)
