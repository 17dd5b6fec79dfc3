"""Property tests that draw another number of examples than the profiles of `tests/conftest.py` say."""

from typing import Any

from hypothesis import settings

USUAL = 100


def examples(count: int, **others: Any) -> settings:
    """Return settings that draw `count` examples in `make cover` and CI; in `make test` the profile's share of them.

    Args:
        count: How many where the profile draws 100.
        others: More settings.
    """
    return settings(max_examples=count * min(settings.default.max_examples, USUAL) // USUAL, **others)
