"""Property tests that draw another number of examples than the profiles of `tests/conftest.py` say."""

from typing import Any

from hypothesis import settings

USUAL = 100


def examples(count: int, **others: Any) -> settings:
    """Return settings that draw `count` examples in `make cover` and CI; in the same ratio fewer in `make test`, and
    more in `make fuzz`.

    Args:
        count: How many where the profile draws 100.
        others: More settings.
    """
    return settings(max_examples=max(count * settings.default.max_examples // USUAL, 1), **others)
