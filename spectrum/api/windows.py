"""Counts in windows of time: how often somebody came since the first time in this window."""


class Windows:
    """Counts by key. The window of a key begins with its first one; the key that came least lately is forgotten first.

    Args:
        most: So many keys are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, tuple[float, int]] = {}

    def add(self, key: str, now: float, per_s: float) -> tuple[int, float]:
        """Count one; return how many there are in the window with it, and when the window ends.

        Args:
            key: Who came.
            now: The time in seconds.
            per_s: How long a window is.
        """
        began, count = self._counts.pop(key, (now, 0))
        if not 0 <= now - began < per_s:  # over, or the clock was set back
            began, count = now, 0
        self._counts[key] = began, count + 1
        while len(self._counts) > self._most:
            del self._counts[next(iter(self._counts))]
        return count + 1, began + per_s
