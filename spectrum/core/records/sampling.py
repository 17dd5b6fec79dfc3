"""Records that stand for others: where they come faster than they are taken, one in N is kept, and says so.

Of each N records that follow one another one is chosen by chance, each as likely, so that a sum over records, each of
them times its N, is right on average (Horvitz and Thompson, 1952, A Generalization of Sampling Without Replacement From
a Finite Universe). N is a power of two: what was kept as one in N is halved to one in 2 N.
"""

from collections.abc import Callable

# The last field of a line, where it has it, and the most bytes that it takes with the line's end.
_FIELD = b',"SampledOneIn":'
_FIELD_BYTES = len(_FIELD) + 24


class RandomSampler:
    """Chooses one of each `n` records that follow one another, by chance.

    Args:
        n: Of how many one is kept; 1 for all.
        chance: Returns a number below another one, each as likely, as `random.randrange` does.

    Attributes:
        n: Likewise.
    """

    def __init__(self, n: int, chance: Callable[[int], int]) -> None:
        self.n = n
        self._chance = chance
        # The next record is 0: the one that is chosen next, and the end of those that it is chosen of.
        self._chosen = chance(n)
        self._end = n

    def sample(self, lines: bytes) -> tuple[int, bytes]:
        """Return how many records of these are kept, and their lines, which say what they stand for."""
        rows = lines.splitlines(keepends=True)
        kept: list[bytes] = []
        while self._chosen < len(rows):
            kept.append(stands_for(rows[self._chosen], self.n))
            self._chosen = self._end + self._chance(self.n)
            self._end += self.n
        self._chosen -= len(rows)
        self._end -= len(rows)
        return len(kept), b"".join(kept)


def stands_for(line: bytes, n: int) -> bytes:
    """Return the line of a record which stands for `n` times as many as it did, with the end that it has."""
    end = line.rindex(b"}")
    at = line.rfind(_FIELD, max(0, len(line) - _FIELD_BYTES))
    if at >= 0:
        n *= int(line[at + len(_FIELD) : end])
    return b"%b%b%d%b" % (line[: at if at >= 0 else end], _FIELD, n, line[end:])
