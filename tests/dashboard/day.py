"""A day of an edge as records of the journal: an origin refuses connections for two hours, some clients are blocked.

What is made is the same for the same end of the day.
"""

import math
import random
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from spectrum.analytics.store import PacketSample
from spectrum.control.records.segments import Segments
from spectrum.core.analytics.columns import PACKETS
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.configuration.events import ConfigurationEvent
from spectrum.core.records.events import Attempt, SessionEvent
from spectrum.core.records.journal import Batch

HOUR = 3600
# What a client may send: it has to stay text.
HOSTILE = "<img src=x onerror=alert(1)>"
SESSIONS_AN_HOUR = 200
BAD_ORIGIN = "pg-2"
# App, protocol, port, pool, origins, share of the sessions.
_APPS = (
    ("postgres", "tcp", 5432, "postgres", ("pg-1", BAD_ORIGIN, "pg-3"), 0.3),
    ("game-eu", "udp", 27015, "", ("192.0.2.41",), 0.35),
    ("mqtt", "tcp", 8883, "mqtt", ("m-1", "m-2"), 0.2),
    ("ssh-bastion", "tcp", 22, "", ("192.0.2.10",), 0.15),
)
_CLIENTS = (
    ("DE", 64500, 0.34),
    ("FR", 64503, 0.2),
    ("PL", 64506, 0.16),
    ("US", 64496, 0.12),
    ("BR", 65540, 0.1),
    ("SE", 64511, 0.08),
)
_JOURNAL_BYTES = 64 * 2**20
_BATCH = 200


class Day:
    """The day that ends at an instant, in seconds since 1970.

    Attributes:
        since, until: Its length.
        outage: From when to when the origin was down.
        records: What happened, in the order of time.
    """

    def __init__(self, until: float) -> None:
        self.until = math.floor(until)
        self.since = self.until - 24 * HOUR
        self.outage = (self.until - 7 * HOUR, self.until - 5 * HOUR)
        self.records = sorted([*self._sessions(), *self._others()], key=lambda one: one.Timestamp)

    @property
    def in_address(self) -> str:
        """The whole day as the address of a page has it."""
        return "&".join(
            f"{name}={_time(at):%Y-%m-%dT%H:%M:%SZ}" for name, at in (("since", self.since), ("until", self.until))
        )

    def write(self, folder: Path) -> None:
        """Write it to a journal, as a node of the day before would have: its worker, and its supervisor."""
        segments = Segments(folder, _JOURNAL_BYTES)
        for batch in self.batches():
            segments.append([batch])
        segments.close()

    def batches(self) -> Iterator[Batch]:
        """Yield the records as they are written to a journal."""
        for who, kinds in (("0", SessionEvent), ("supervisor", (HealthEvent, ConfigurationEvent))):
            encoded = [msgspec.json.encode(one) + b"\n" for one in self.records if isinstance(one, kinds)]
            for first in range(0, len(encoded), _BATCH):
                lines = encoded[first : first + _BATCH]
                source = f"edge-1/{who}/66121c77"
                yield Batch(source, first + 1, len(lines), int(self.since * 1e6), b"".join(lines))

    def packets(self) -> Iterator[PacketSample]:
        """Yield samples of packets: answers of name servers that nobody asked for, which a rule drops."""
        chance = random.Random(23)
        for number in range(200):
            at, host = self.outage[0] + number * 30, chance.randrange(1, 250)
            addresses = bytes((198, 51, 100, host)) + bytes((192, 0, 2, 1))
            head = struct.pack(">BBHHHBBH8s", 69, 0, 612, number, 0x4000, 51, 17, 0, addresses)
            answer = bytes.fromhex("7f3a8180000100160000000107") + b"example\x03com\0\0\xff\0\x01"
            udp = struct.pack(">HHHH", 53, 27015, 592, 0x9B02) + answer
            values = {
                "time": _time(at).replace(tzinfo=None), "node": "edge-1", "outcome": "drop",
                "verdict": "rule dns-answers", "protocol": "udp", "ip_version": 4, "source_ip": f"198.51.100.{host}",
                "source_prefix": "198.51.100.0/24",
                "source_port": 53, "source_country": "US", "source_asn": 64496, "destination_ip": "192.0.2.1",
                "destination_port": 27015, "app": "game-eu", "length": 612, "ttl": 51, "tcp_flags": "",
                "sample_interval": 1000, "bytes": 612_000, "header": bytes(12) + b"\x08\0" + head + udp,
            }  # fmt: skip
            yield PacketSample(tuple(values[column.name] for column in PACKETS.columns))

    def count(self, **fields: Any) -> int:
        """Return how many sessions ended that have all of these values."""
        return sum(
            isinstance(one, SessionEvent) and all(getattr(one, name) == value for name, value in fields.items())
            for one in self.records
        )

    def _sessions(self) -> Iterator[SessionEvent]:
        chance = random.Random(17)
        at = float(self.since)
        number = 0
        while True:
            # Evenings are busier than mornings.
            busy = 0.7 + 0.3 * math.cos((at - self.until) / 86400 * 2 * math.pi)
            at += chance.expovariate(SESSIONS_AN_HOUR * busy / HOUR)
            if at >= self.until - 5:
                return
            number += 1
            yield self._session(chance, at, number)

    def _session(self, chance: random.Random, at: float, number: int) -> SessionEvent:
        app, protocol, port, pool, origins, _ = chance.choices(_APPS, [one[-1] for one in _APPS])[0]
        country, asn, _ = chance.choices(_CLIENTS, [one[-1] for one in _CLIENTS])[0]
        origin, host = chance.choice(origins), chance.randrange(1, 60)
        ends = chance.choice(("client_closed", "client_closed", "origin_closed", "idle_timeout"))
        fields: dict[str, Any] = {
            "Application": app, "SessionId": f"1234.{number:x}", "ColoCode": "FRA", "ProxyProtocol": "off",
            "ClientIP": f"2001:db8:53::{host:x}" if country == "SE" else f"203.0.113.{host}",
            "ClientPort": 20000 + number % 30000, "EdgeIP": "192.0.2.1", "EdgePort": port,
            "ClientCountry": country, "ClientAsn": asn, "ClientProto": protocol, "OriginProto": protocol,
            "ClientTcpRtt": int(chance.lognormvariate(17, 0.5)), "Timestamp": _time(at),
        }  # fmt: skip
        place = {"Pool": pool, "OriginName": origin, "LoadBalancer": app} if pool else {}
        where = {
            **place,
            "OriginIP": origin if not pool else f"192.0.2.{50 + origins.index(origin)}",
            "OriginPort": port,
        }
        if app == "mqtt":
            name = HOSTILE if number % 50 == 0 else "mqtt.example.net"
            fields |= {"ClientTlsProtocol": "TLSv1.3", "ClientTlsStatus": "OK", "ClientTlsClientHelloServerName": name}
        if chance.random() < 0.02:
            return _ended(
                "client_blocked",
                403,
                "clientFiltered",
                at,
                {**fields, "AccessRule": "scanners", "AccessPrefix": "203.0.113.0/27"},
            )
        if origin == BAD_ORIGIN and self.outage[0] < at < self.outage[1]:
            attempt = Attempt(Origin=f"192.0.2.51:{port}", Reason="connect_refused", Name=f"{pool}/{origin}")
            return _ended("connect_refused", 521, "originError", at, {**fields, **where, "Attempts": [attempt]})
        if chance.random() < 0.003:
            return _ended("connect_timeout", 522, "originError", at, {**fields, **where})
        length = chance.lognormvariate(1.5, 1.2)
        moved = int(chance.paretovariate(1.4) * 2000)
        passed = {
            "ConnectTimestamp": _time(at - length), "ConnectDuration": int(chance.lognormvariate(14.4, 0.7)),
            "OriginTcpRtt": 900_000, "ClientBytes": moved, "OriginBytes": 3 * moved,
        }  # fmt: skip
        return _ended(ends, 200, "disconnect", at, {**fields, **where, **passed})

    def _others(self) -> Iterator[HealthEvent | ConfigurationEvent]:
        begin, end = self.outage
        about = {"Pool": "postgres", "Origin": BAD_ORIGIN, "OriginIP": "192.0.2.51", "Monitor": "pg"}
        yield HealthEvent(
            Event="originHealth", Timestamp=_time(begin + 20), Healthy=False, Reason="connect_refused", **about
        )
        yield HealthEvent(Event="originHealth", Timestamp=_time(end + 20), Healthy=True, Reason="", **about)
        told = (
            (self.until - 11 * HOUR, "ana", "app rdp-office added"),
            (end - 600, "tom", "pool postgres: pg-2 has another address"),
        )
        for number, (at, who, text) in enumerate(told):
            yield ConfigurationEvent("configurationChanged", _time(at), 421 + number, who, text)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _ended(reason: str, status: int, event: str, at: float, fields: dict[str, Any]) -> SessionEvent:
    return SessionEvent(Event=event, Status=status, Reason=reason, DisconnectTimestamp=_time(at), **fields)
