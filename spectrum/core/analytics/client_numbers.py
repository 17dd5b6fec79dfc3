"""Numbers of clients' addresses: the embedded store groups rows by a number several times as fast as by a text.

A volume has the addresses of its events in a table, each with its number: small numbers without gaps, for which DuckDB
needs no hash table. An event whose address has none has 0, and is grouped by the text. Within a series of
numbers, which may last for several volumes, an address has one number in all its rows, or 0 in all.
"""

from collections.abc import Mapping
from dataclasses import replace

from spectrum.core.analytics.columns import EVENTS, Column, ColumnKind, Role, Table

# Addresses with a number: of these the process keeps each in memory, about 150 bytes.
MAX_CLIENTS = 1 << 19
# Far from the end of the type; the numbers of volumes that are gone are free again by then.
_LAST = 1 << 31
_FIELD = b'"ClientIP":"'

NUMBER = Column(
    "client",
    ColumnKind.U32,
    Role.DETAIL,
    "Client",
    "the number of the address in `clients`; 0 without one",
    "ClientNumber",
)
# What the embedded store has of them; the number is no part of questions.
NUMBERED_EVENTS = replace(EVENTS, columns=(*EVENTS.columns, NUMBER))
# The columns that follow from the number.
OF_CLIENT = ("client_ip", "client_prefix")
CLIENTS = Table("clients", "an address, and its number", (NUMBER, *(EVENTS.by_name[name] for name in OF_CLIENT)))


class ClientNumbers:
    """The numbers of the addresses in the newest volume.

    Args:
        known: Its addresses, as in records, with their numbers.
        following: The number of the next one.

    Attributes:
        fresh: Those that got a number since `keep` or `forget`.
    """

    def __init__(self, known: Mapping[bytes, int], following: int) -> None:
        self.fresh: dict[bytes, int] = {}
        self._known = dict(known)
        self._following = following

    def of(self, line: bytes) -> int:
        """Return the number for a record as JSON, without spaces between its parts; 0 where it has none."""
        begin = line.find(_FIELD)
        if begin < 0:
            return 0
        begin += len(_FIELD)
        return self.number(line[begin : line.find(b'"', begin)])

    def number(self, address: bytes) -> int:
        """Return the number of an address as in records; 0 where it has none."""
        return self._known.get(address) or self.fresh.get(address) or self._add(address)

    def _add(self, address: bytes) -> int:
        count = len(self._known) + len(self.fresh)
        # An escape would be another text in the column.
        if count >= MAX_CLIENTS or not address or b"\\" in address or not address.isascii():
            return 0
        self.fresh[address] = number = self._following + len(self.fresh)
        return number

    def keep(self) -> None:
        """Keep the fresh ones: they are stored."""
        self._known |= self.fresh
        self._following += len(self.fresh)
        self.fresh = {}

    def forget(self) -> None:
        """Forget the fresh ones: they could not be stored."""
        self.fresh = {}

    @property
    def has_room(self) -> bool:
        """Whether the next volume goes on with these, so that an address has one number in both."""
        return len(self._known) < MAX_CLIENTS // 2

    def renewed(self) -> "ClientNumbers":
        """Return the numbers for a volume that begins without any."""
        return ClientNumbers({}, 1 if self._following > _LAST else self._following)
