"""Brings each name to its wanted state at its DNS server. It blocks: call it in a thread."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from spectrum.control.dns.ledger import Ledger, Publication
from spectrum.control.dns.update import DnsUpdates, RecordsPresent, UpdateError, UpdateRefused
from spectrum.core.dns import DnsPublishing
from spectrum.core.dns_records import Records

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Deadline of a pass over many names.
KEEP_EVERY_S = 2.0


@dataclass(slots=True)
class PublishingOutcome:
    """The outcome of a pass over all names.

    Attributes:
        updates: How many changes servers accepted.
        failures: Why names are not in their wanted state.
    """

    updates: int = 0
    failures: dict[str, str] = field(default_factory=dict)


class Publishing:
    """One pass. Records are noted in the ledger before they are sent, so that none of ours is forgotten after a crash.
    A name with records that are not ours is left alone.

    Args:
        ledger: The ledger.
        ends: Returns whether this process is about to end: the rest is left to the next one.
    """

    def __init__(self, ledger: Ledger, ends: Callable[[], bool] = lambda: False) -> None:
        self._ledger = ledger
        self._ends = ends
        self._servers: dict[tuple[tuple[str, int], str], DnsUpdates] = {}
        # Servers that did not answer: they are not asked again, as each question takes seconds.
        self._silent: dict[tuple[str, int], str] = {}
        self._outcome = PublishingOutcome()

    def run(
        self, settings: DnsPublishing | None, wanted: Mapping[str, Records], looks: bool = False
    ) -> PublishingOutcome:
        """Publish and withdraw names.

        Args:
            settings: Where names are published; None withdraws all.
            wanted: The records of each name.
            looks: Also ask servers whether they still have the records.
        """
        targets = {}
        if settings is not None:
            targets = {one.key: one for one in (_target(settings, name, found) for name, found in wanted.items())}
        todo = {**self._ledger.entries, **targets}
        try:
            for target in targets.values():
                self._intend(target)
            self._ledger.keep()
        except OSError as exc:
            why = f"what is published cannot be noted: {exc.strerror or exc}"
            self._outcome.failures.update((one.name, why) for one in todo.values())
            return self._outcome
        written = time.monotonic()
        for key, one in todo.items():
            if self._ends():
                break
            try:
                self._bring(self._ledger.entries[key], targets.get(key), looks)
            except UpdateError as exc:
                self._outcome.failures[one.name] = str(exc)
            if time.monotonic() - written > KEEP_EVERY_S:
                self._keep()
                written = time.monotonic()
        self._keep()
        return self._outcome

    def _keep(self) -> None:
        try:
            self._ledger.keep()
        except OSError as exc:  # A record that is there already is one of ours; the next pass confirms it.
            log.warning("what is published in the DNS cannot be noted: %s", exc.strerror or exc)

    def _intend(self, target: Publication) -> None:
        """Note records that are about to be sent."""
        known = self._ledger.entries.get(target.key)
        if known is None:
            self._ledger.note(target)
        elif known.is_sure and known != replace(target, is_sure=True):
            both = tuple(sorted(known.as_set | target.as_set))
            self._ledger.note(replace(target, records=both, ttl_s=known.ttl_s, is_sure=True))

    def _bring(self, known: Publication, target: Publication | None, looks: bool) -> None:
        if target is None:
            self._withdraw(known)
        elif not known.is_sure:
            self._publish(known, target)
        elif known != replace(target, is_sure=True):
            self._replace(known, target)
        elif looks and not target.as_set <= self._there(target):
            log.warning("DNS name %s: %s no longer has its records", target.name, self._server(target))
            self._replace(known, target)

    def _publish(self, known: Publication, target: Publication) -> None:
        """Publish a name at which there may be no records other than those of ours in `known`."""
        try:
            self._change(target, frozenset(), is_new=True)
        except RecordsPresent:
            there = self._there(target)
            if there == known.as_set:
                self._change(target, there - target.as_set)
            elif there != target.as_set:
                self._ledger.forget(target)
                shown = ", ".join(" ".join(record) for record in sorted(there))
                raise RecordsPresent(f"it has records that Spectrum did not make: {shown}; remove them first") from None
        except UpdateRefused:
            self._ledger.forget(target)
            raise
        self._published(target)

    def _replace(self, known: Publication, target: Publication) -> None:
        """Replace the records of a name that is ours."""
        self._change(target, known.as_set - target.as_set)
        self._published(target)

    def _withdraw(self, known: Publication) -> None:
        """Remove our records at a name."""
        if known.is_sure or self._there(known) == known.as_set:
            self._change(replace(known, records=()), known.as_set)
            self._outcome.updates += 1
        self._ledger.forget(known)
        log.info("DNS name %s is withdrawn: %s", known.name, _shown(known))

    def _published(self, target: Publication) -> None:
        self._ledger.note(replace(target, is_sure=True))
        self._outcome.updates += 1
        log.info("DNS name %s is published: %s", target.name, _shown(target))

    # --- the servers ----------------------------------------------------------------------------------------------

    def _change(self, target: Publication, removed: Records, is_new: bool = False) -> None:
        where, records = (target.zone, target.name), target.records
        self._ask(target, lambda server: server.change(*where, removed, records, target.ttl_s, is_new))

    def _there(self, at: Publication) -> Records:
        return self._ask(at, lambda server: server.addresses(at.name))

    def _ask(self, at: Publication, ask: Callable[[DnsUpdates], Answer]) -> Answer:
        """Return the answer of a server; note a server that does not answer."""
        server = self._server(at)
        try:
            return ask(server)
        except UpdateRefused:
            raise
        except UpdateError as exc:
            self._silent[at.server] = str(exc)
            raise

    def _server(self, at: Publication) -> DnsUpdates:
        if why := self._silent.get(at.server):
            raise UpdateError(why)
        key = at.server, at.tsig_key
        if key not in self._servers:
            self._servers[key] = DnsUpdates(*at.server, at.tsig_key)
        return self._servers[key]


def _target(settings: DnsPublishing, name: str, records: Records) -> Publication:
    server = str(settings.server.address), settings.server.port
    zone = settings.zone_of(name)
    assert zone is not None, "others are not wanted"
    return Publication(name, tuple(sorted(records)), zone, server, settings.ttl_s, settings.tsig_key or "")


def _shown(one: Publication) -> str:
    return f"{', '.join(' '.join(record) for record in one.records)} in {one.zone}"
