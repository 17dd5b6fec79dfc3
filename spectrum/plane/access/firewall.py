"""The access rules in a worker: a function that judges a client, for each app with `ip_firewall`."""

import logging
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spectrum.core.access.prefix_table import PrefixTable, PrefixTableBuilder
from spectrum.core.access.rules import AccessSettings, AppRules, MatchedEntry, Verdict, basis_of
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.plane.access.geoip import Countries, GeoIpError, Networks
from spectrum.plane.balancing.balancers import nowhere

log = logging.getLogger(__name__)

Judge = Callable[[bytes], Verdict | None]


class ClientPlaces:
    """Countries and autonomous systems of clients, from the files of a snapshot; without files all are unknown.

    Attributes:
        country_of: Returns two letters, "" if unknown.
        number_of: Returns an autonomous system, 0 if unknown.
    """

    def __init__(self) -> None:
        self._open: list[Countries | Networks] = []
        self._forget()

    def _forget(self) -> None:
        for database in self._open:
            database.close()
        self._open.clear()
        self.country_of: Callable[[bytes], str] = nowhere
        self.number_of: Callable[[bytes], int] = _nobody

    def read(self, countries: str, numbers: str) -> None:
        """Read the files, "" for none. They are read again with each snapshot, as they may have been replaced. A file
        that cannot be read is logged: the supervisor has just read it.
        """
        self._forget()
        try:
            if countries:
                self._open.append(by_country := Countries(Path(countries)))
                self.country_of = by_country.lookup
            if numbers:
                self._open.append(by_number := Networks(Path(numbers)))
                self.number_of = by_number.lookup
        except GeoIpError as exc:
            log.error("places of clients are not known: %s", exc)

    @property
    def known(self) -> bool:
        """Whether there is a database."""
        return bool(self._open)

    def lookup(self, client: bytes) -> tuple[str, int]:
        """Return a client's country and autonomous system."""
        return self.country_of(client), self.number_of(client)

    def close(self) -> None:
        """Close the files."""
        self._forget()


def _nobody(client: bytes) -> int:
    return 0


class Firewall:
    """The access rules of a snapshot.

    Args:
        places: Countries and autonomous systems of clients.
    """

    def __init__(self, places: ClientPlaces) -> None:
        self._places = places
        self._settings = AccessSettings()
        self._table = PrefixTable(PrefixTableBuilder().build())

    def take(self, snapshot: Snapshot, table: int) -> None:
        """Use the rules of a snapshot, with a memory file of their prefixes; the caller keeps the descriptor."""
        self._settings = snapshot.access
        self._table = PrefixTable(mmap.mmap(table, os.fstat(table).st_size, mmap.MAP_SHARED, mmap.PROT_READ))

    def judge_for(self, app: AppSettings) -> Judge | None:
        """Return the function that judges the clients of an app; None without `ip_firewall`."""
        return self.judge_of(app.name, app.scopes) if app.ip_firewall else None

    def judge_of(self, app: str, scopes: Sequence[str] = ()) -> Judge | None:
        """Return the function that judges clients of apps with `ip_firewall`; None if there are no rules."""
        rules = self._rules_of(app, scopes)
        return rules.decide if rules.any else None

    def prefixes_of(self, app: str, scopes: Sequence[str] = ()) -> PrefixTable | None:
        """Return prefixes that contain all clients which the rules for an app name; None if rules name places, too."""
        return None if self._rules_of(app, scopes).any_places else self._table

    def basis_of(self, rule: str, client: bytes) -> MatchedEntry | None:
        """Return the entry of a rule that matches a client, as `core.access.rules.basis_of`; it takes some
        microseconds.
        """
        return basis_of(self._settings, self._table.given, rule, client)

    def fields_of(self, verdict: Verdict | None, client: bytes) -> dict[str, Any]:
        """Return the fields of a record that say why an access rule refused a client; none if none did."""
        basis = self.basis_of(verdict.rule, client) if verdict is not None and verdict.blocks else None
        if basis is None:
            return {}
        return {"AccessPrefix": basis.prefix} | ({"AccessList": basis.place} if basis.place else {})

    def _rules_of(self, app: str, scopes: Sequence[str]) -> AppRules:
        places = self._places
        return AppRules(app, self._settings, self._table.find, places.number_of, places.country_of, scopes)
