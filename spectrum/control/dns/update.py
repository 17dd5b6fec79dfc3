"""Records at a DNS server, by dynamic updates (RFC 2136) with TSIG signatures (RFC 8945)."""

import re
from collections.abc import Iterable
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

TIMEOUT_S = 10.0
TTL_S = 60
# How far clocks may differ for a signature to be valid: RFC 8945 section 10 recommends it, and dnspython uses it.
FUDGE_S = 300
_KEY = re.compile(r'key\s+"?([^"\s{]+)"?\s*\{([^}]*)\}', re.DOTALL)
_PART = re.compile(r'(algorithm|secret)\s+"?([^";\s]+)"?\s*;')


class UpdateError(Exception):
    """A record cannot be read or changed; the message says why."""


class UpdateRefused(UpdateError):
    """The server answers, and refuses the change."""


class RecordsPresent(UpdateRefused):
    """There are records at the name already."""


class DnsUpdates:
    """A server that accepts updates.

    Args:
        address: Its address.
        port: Its port.
        key_path: The file with the TSIG key, in the format of BIND's tools; empty for none.

    Raises:
        UpdateError: If the key cannot be used.
    """

    def __init__(self, address: str, port: int, key_path: str) -> None:
        self._at = address, port
        self._key = read_key(Path(key_path)) if key_path else None

    def set_text(self, name: str, values: list[str]) -> None:
        """Set exactly these TXT records at a name; none removes them. dns-01 needs them (RFC 8555 section 8.4).

        Raises:
            UpdateError: If the server refuses, or does not answer.
        """
        owner = dns.name.from_text(name)
        update = dns.update.UpdateMessage(self._zone(owner), keyring=self._key)
        update.delete(owner, "TXT")
        for value in values:
            update.add(owner, TTL_S, "TXT", value)
        self._update(update, name)

    def addresses(self, name: str) -> frozenset[tuple[str, str]]:
        """Return type and text of the address records at a name, or of its alias, as the server has them.

        Raises:
            UpdateError: If the server does not answer.
        """
        owner = dns.name.from_text(name)
        found: set[tuple[str, str]] = set()
        for kind in ("A", "AAAA"):
            answer = self._ask(dns.message.make_query(owner, kind, flags=0))
            for rrset in answer.answer:
                if rrset.name == owner:
                    found.update((dns.rdatatype.to_text(rrset.rdtype), record.to_text()) for record in rrset)
        return frozenset(found)

    def change(
        self,
        zone: str,
        name: str,
        removed: Iterable[tuple[str, str]],
        added: Iterable[tuple[str, str]],
        ttl_s: int,
        is_new: bool = False,
    ) -> None:
        """Remove and add address records or an alias at a name, in one transaction; other records there are left alone.

        Args:
            zone: The zone of the name.
            name: The name.
            removed: Types and texts; records that do not exist are ignored.
            added: Types and texts.
            ttl_s: The time to live of the added records.
            is_new: Fail if the name has address records or an alias.

        Raises:
            RecordsPresent: If it has, and `is_new` is set.
            UpdateRefused: If the server refuses.
            UpdateError: If it does not answer.
        """
        owner = dns.name.from_text(name)
        update = dns.update.UpdateMessage(dns.name.from_text(zone), keyring=self._key)
        if is_new:
            for kind in ("A", "AAAA", "CNAME"):
                update.absent(owner, kind)
        for kind, text in removed:
            update.delete(owner, kind, text)
        for kind, text in added:
            update.add(owner, ttl_s, kind, text)
        self._update(update, name)

    def _update(self, update: dns.update.UpdateMessage, name: str) -> None:
        code = self._ask(update).rcode()
        if code in (dns.rcode.YXRRSET, dns.rcode.YXDOMAIN):
            raise RecordsPresent(f"{self} has records of {name} already")
        if code != dns.rcode.NOERROR:
            raise UpdateRefused(f"{self} refused the update of {name}: {dns.rcode.to_text(code)}")

    def _zone(self, owner: dns.name.Name) -> dns.name.Name:
        """Return the zone of a name according to the server."""
        query = dns.message.make_query(owner, "SOA")
        answer = self._ask(query)
        for found in (*answer.answer, *answer.authority):
            if found.rdtype == dns.rdatatype.SOA and owner.is_subdomain(found.name):
                return found.name
        raise UpdateError(f"{self} has no zone for {owner}: {dns.rcode.to_text(answer.rcode())}")

    def _ask(self, message: dns.message.Message) -> dns.message.Message:
        address, port = self._at
        try:
            return dns.query.tcp(message, address, TIMEOUT_S, port)
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime) as exc:
            why = f"its clock and the clock of this machine differ by more than {FUDGE_S} s; set the one that is wrong"
            raise UpdateError(f"{self} takes no signed updates: {why}") from exc
        except (OSError, EOFError, dns.exception.DNSException) as exc:
            why = str(exc) or type(exc).__name__
            if "TSIG" in why:  # Servers answer without a signature if they do not know the key or the zone.
                why += "; does the server know the key, and is it authoritative for the zone?"
            raise UpdateError(f"{self} does not answer correctly: {why}") from exc

    def __str__(self) -> str:
        return f"the DNS server {self._at[0]} port {self._at[1]}"


def read_key(path: Path) -> dns.tsig.Key:
    """Return the key in a file as tsig-keygen(8) and keymgr(8) write it.

    Raises:
        UpdateError: If the file has no usable key.
    """
    try:
        found = _KEY.search(path.read_text())
    except OSError as exc:
        raise UpdateError(f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    except UnicodeDecodeError as exc:
        raise UpdateError(f"{path}: not UTF-8 text") from exc
    parts = dict(_PART.findall(found[2])) if found else {}
    if not found or "secret" not in parts:
        raise UpdateError(f"{path}: no TSIG key; write what `tsig-keygen NAME` prints")
    try:
        return dns.tsig.Key(found[1], parts["secret"], parts.get("algorithm", "hmac-sha256"))
    except (ValueError, dns.exception.DNSException) as exc:
        raise UpdateError(f"{path}: the key cannot be used: {exc}") from exc
