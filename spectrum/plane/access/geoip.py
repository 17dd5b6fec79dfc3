"""The country and the autonomous system of a client, from MaxMind DB files that the operator names."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import maxminddb

# Clients return: a lookup takes 1.3 µs, a cached one 0.1 µs.
REMEMBERED = 4096


class GeoIpError(Exception):
    """A file is not a MaxMind DB, or cannot be read; the message says which and why."""


class _Database:
    """A MaxMind DB.

    Raises:
        GeoIpError: If it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._reader = maxminddb.open_database(path)
        except (OSError, maxminddb.InvalidDatabaseError) as exc:
            why = (exc.strerror or "").lower() if isinstance(exc, OSError) else "it is no MaxMind DB"
            raise GeoIpError(f"{path}: {why or exc}") from exc

    def _record(self, client: bytes) -> dict[str, Any]:
        """Return the record of an address in wire form."""
        address = ip_address(client)
        if address.version == 6 and self._reader.metadata().ip_version == 4:
            return {}
        record = self._reader.get(address)
        return record if isinstance(record, dict) else {}

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class Countries(_Database):
    """Finds countries.

    Args:
        path: The file. City, Country and Enterprise databases of any vendor do, as long as a record has `country` with
            an `iso_code`, or a `country` or `country_code` of two letters.

    Attributes:
        of: Takes an address in wire form; returns two letters of ISO 3166, "" where the country is not known.

    Raises:
        GeoIpError: If it cannot be used.
    """

    of: Callable[[bytes], str]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.of = lru_cache(REMEMBERED)(self._look_up)

    def _look_up(self, client: bytes) -> str:
        record = self._record(client)
        country = record.get("country", record.get("country_code", ""))
        if isinstance(country, dict):
            country = country.get("iso_code", "")
        return country if isinstance(country, str) else ""


class Networks(_Database):
    """Finds autonomous systems.

    Args:
        path: The file. A record has `autonomous_system_number` (MaxMind, DB-IP), or `asn` as a number or as "AS64500".

    Attributes:
        of: Takes an address in wire form; returns the number, 0 where it is not known.

    Raises:
        GeoIpError: If it cannot be used.
    """

    of: Callable[[bytes], int]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.of = lru_cache(REMEMBERED)(self._look_up)

    def _look_up(self, client: bytes) -> int:
        record = self._record(client)
        digits = str(record.get("autonomous_system_number", record.get("asn", ""))).upper().removeprefix("AS")
        return int(digits) if digits.isascii() and digits.isdecimal() else 0
