"""The file that keeps what is published at DNS servers: records without an app are withdrawn, even after years."""

from pathlib import Path

import msgspec

from spectrum.control.state_file import read_state, write_state
from spectrum.core.dns_records import Record, Records


class Publication(msgspec.Struct, frozen=True):
    """The records of one name at one server.

    Attributes:
        name: The name.
        records: Types and texts.
        zone: The zone that they are in.
        server: Address and port of its server.
        ttl_s: Their time to live in seconds.
        tsig_key: The file with the TSIG key; empty for none.
        is_sure: Whether the server accepted them. Otherwise they were about to be sent.
    """

    name: str
    records: tuple[Record, ...]
    zone: str
    server: tuple[str, int]
    ttl_s: int
    tsig_key: str = ""
    is_sure: bool = False

    @property
    def key(self) -> str:
        """The key in the ledger."""
        return f"{self.name} {self.zone} {self.server[0]} {self.server[1]}"

    @property
    def as_set(self) -> Records:
        """The records as a set, for comparisons."""
        return frozenset(self.records)


class Ledger:
    """The file.

    Args:
        path: Its path.

    Attributes:
        entries: What is published, or may be, by key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[str, Publication] = {}
        self._is_kept = True

    def read(self) -> None:
        """Read the file.

        Raises:
            RolloutError: If it cannot be read.
        """
        self.entries = read_state(self._path, _DECODER, "DNS names are published")

    def note(self, publication: Publication) -> None:
        """Note the state of a name; `keep` writes it."""
        self.entries[publication.key] = publication
        self._is_kept = False

    def forget(self, publication: Publication) -> None:
        """Note that no record of ours is left at a name."""
        self.entries.pop(publication.key, None)
        self._is_kept = False

    def keep(self) -> None:
        """Write the file.

        Raises:
            OSError: If it cannot be written.
        """
        if not self._is_kept:
            write_state(self._path, self.entries)
            self._is_kept = True


_DECODER: msgspec.json.Decoder[dict[str, Publication]] = msgspec.json.Decoder(dict[str, Publication])
