import pytest

from spectrum.core.sizes import parse_size


@pytest.mark.parametrize(
    ("given", "size"),
    [(0, 0), (1000, 1000), ("1000B", 1000), ("2kB", 2000), ("2KiB", 2048), ("1.5 MiB", 1_572_864), ("1GB", 10**9)],
)
def test_sizes(given, size):
    assert parse_size(given) == size


@pytest.mark.parametrize("given", ["", "x", "10", "5 mib", "MiB", "1e6", "-1B", True, -1, 2**51, "9999999GiB"])
def test_no_sizes(given):
    with pytest.raises(ValueError, match=r"is not a size"):
        parse_size(given)
