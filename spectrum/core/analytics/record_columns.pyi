from collections.abc import Callable

from spectrum.core.analytics.arrow_columns import ArrowColumns

class RecordColumns(ArrowColumns):
    def __init__(self) -> None: ...
    def add(
        self, source: str, sequence: int, lines: bytes, skipped: int, number_of: Callable[[bytes], int]
    ) -> list[tuple[int, bytes]]: ...
