import pytest

from spectrum.kernel.filter.names import OWNERS, full_name, owned, packed_name, unpacked_name
from spectrum.kernel.pins import PinError


@pytest.mark.parametrize("owner", OWNERS)
def test_names_come_back_with_their_owners(owner):
    assert owned(unpacked_name(packed_name(full_name(owner, "näme")))) == (owner, "näme")


def test_names_of_the_file_have_no_owner_and_may_have_a_slash():
    assert full_name("file", "a") == "a"
    assert owned("other/a") == ("file", "other/a")


@pytest.mark.parametrize("name", ["", "x" * 64, "ä" * 32])
def test_a_name_has_room(name):
    with pytest.raises(PinError, match="the name of a list is 1 to 63 bytes"):
        packed_name(name)
