"""Records of clients that are refused, or gone before they have an origin, as sums. A flood of them makes a few lines
per second.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from spectrum.core.records.events import SessionEvent

# Clients of an app and reason with sums of their own; further ones are summed together.
MAX_CLIENTS = 100
# Limit of these clients for all apps together; further ones are summed by app and reason.
MAX_SUMS = 4096
# Clients of a sum that are counted as distinct.
MAX_COUNTED = 1000


class RefusalKind(NamedTuple):
    """The common properties of summed refusals."""

    app: str
    reason: int
    rule: str


class _Sum:
    """The number since the last line, and the record of the first."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first: SessionEvent | None = None

    def add(self, make: Callable[[], SessionEvent], count: int) -> None:
        if self.first is None:
            self.first = make()
        self.count += count

    def take(self) -> tuple[SessionEvent, int] | None:
        """Return the record of the first, and how many there were; None for none."""
        first, count = self.first, self.count
        self.first, self.count = None, 0
        return (first, count) if first is not None else None


class _Kind:
    """The sums of one kind, by client, and of the clients beyond `MAX_CLIENTS`."""

    __slots__ = ("clients", "others", "seen")

    def __init__(self) -> None:
        self.clients: dict[bytes, _Sum] = {}
        self.others = _Sum()
        self.seen: set[bytes] = set()


class RefusalSums:
    """Sums refusals by app, reason, rule and client.

    The first refusal of a client is a record of its own, at once. What follows is summed until `take`, which is called
    once a second; a client is new again after a second without a refusal.
    """

    def __init__(self) -> None:
        self._kinds: dict[RefusalKind, _Kind] = {}
        self._size = 0

    def add(
        self, kind: RefusalKind, client: bytes, make: Callable[[], SessionEvent], count: int = 1
    ) -> SessionEvent | None:
        """Count refusals.

        Args:
            kind: What it has in common with others.
            client: The client's address.
            make: Makes a record of one; called where that is needed.
            count: How many there were.

        Returns:
            The record, where it is one of its own.
        """
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind()
        sums = known.clients.get(client)
        if sums is None:
            if len(known.clients) < MAX_CLIENTS and self._size < MAX_SUMS:
                sums = known.clients[client] = _Sum()
                self._size += 1
                if count > 1:
                    sums.add(make, count - 1)
                return make()
            sums = known.others
            if len(known.seen) < MAX_COUNTED:
                known.seen.add(client)
        sums.add(make, count)
        return None

    def take(self) -> list[SessionEvent]:
        """Return the records of what was summed since the last call."""
        taken: list[SessionEvent] = []
        for kind, known in tuple(self._kinds.items()):
            for client, sums in tuple(known.clients.items()):
                if (found := sums.take()) is None:
                    del known.clients[client]
                    self._size -= 1
                else:
                    taken.append(_summed(*found))
            if (found := known.others.take()) is not None:
                taken.append(_of_several(*found, len(known.seen)))
                known.seen.clear()
            if not known.clients:
                del self._kinds[kind]
        return taken


def _summed(first: SessionEvent, count: int) -> SessionEvent:
    return first if count == 1 else msgspec.structs.replace(first, ClientPort=0, Sessions=count)


def _of_several(first: SessionEvent, count: int, clients: int) -> SessionEvent:
    return msgspec.structs.replace(
        first,
        ClientIP="",
        ClientPort=0,
        ClientCountry="",
        ClientAsn=0,
        AccessPrefix=msgspec.UNSET,
        AccessList=msgspec.UNSET,
        Sessions=count,
        Clients=clients,
    )
