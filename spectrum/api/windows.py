"""Counts in windows of time, by key."""


class Windows:
    """Counts by key. The window of a key begins with its first event; the least recently seen key is forgotten first.

    Args:
        most: The limit of remembered keys.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, tuple[float, int]] = {}

    def add(self, key: str, now: float, per_s: float) -> tuple[int, float]:
        """Count an event; return the count in the window, with this one, and the time when the window ends.

        Args:
            key: The key.
            now: The time in seconds.
            per_s: The length of a window in seconds.
        """
        began, count = self._counts.pop(key, (now, 0))
        if not 0 <= now - began < per_s:  # the window ended, or the clock was set back
            began, count = now, 0
        self._counts[key] = began, count + 1
        while len(self._counts) > self._most:
            del self._counts[next(iter(self._counts))]
        return count + 1, began + per_s
