"""One record per ended session, with the field names of Cloudflare's spectrum_events log."""

import json
from collections.abc import Mapping
from datetime import datetime

import msgspec


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An origin that could not be reached: address and port, the reason, and its name, or those of pool and origin."""

    Origin: str
    Reason: str
    Name: str = ""


class SessionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are Cloudflare's, but for `Reason`, `SessionId`, `EdgeIP`, `EdgePort`, `ConnectDuration`, `AccessRule`,
    `TlsError` and all from the datagrams on.

    `SessionId` is that of `spectrum sessions`; `EdgeIP` and `EdgePort` are what was connected to by the client, or by
    the proxy in front of it. Fields that are UNSET here are left out where there is nothing to tell.

    `Reason` is one of `core.records.reasons`, `AccessRule` the rule that `ClientMatchedIpFirewall` is about. Where it
    turned the client away, `AccessPrefix` is the prefix of it that holds the client, `AccessList` its file and line;
    `TlsError` why a handshake failed, in OpenSSL's words. Times are UTC; durations and RTTs are nanoseconds, RTTs 0
    when the kernel had no sample. `ClientCountry` and `ClientAsn` are "" and 0 where no database tells; the TLS fields
    hold the values that Cloudflare writes where there is no TLS. A UDP flow counts as connected when its origin first
    replies; only UDP has counts of datagrams. With `Sessions` the record is of so many sessions of one client, app and
    reason that ended within a second; its port is 0, and what else it says is of the first one. With `Clients` too they
    are of so many clients, and there is no `ClientIP`. With `SampledOneIn` the record stands for so many like it, of
    which the others are omitted (`core.records.sampling`). `Suppressed` records of the same app were left out before
    it. Of an open session `Event` is connect or progress, there is no `Reason` and no `DisconnectTimestamp`, and
    progress has what was moved since the last one, too (`SINCE_FIELDS`); so has the end of a session that had a
    progress.
    """

    Event: str
    Status: int
    Reason: str
    Application: str
    SessionId: str = ""
    ColoCode: str = ""
    Timestamp: datetime
    ConnectTimestamp: datetime | None = None
    DisconnectTimestamp: datetime | None
    ClientIP: str = ""
    ClientPort: int = 0
    EdgeIP: str = ""
    EdgePort: int = 0
    ClientBytes: int = 0
    ClientTcpRtt: int = 0
    OriginIP: str = ""
    OriginPort: int = 0
    OriginBytes: int = 0
    OriginTcpRtt: int = 0
    ProxyProtocol: str
    ConnectDuration: int = 0
    ClientProto: str = "tcp"
    OriginProto: str = "tcp"
    IpFirewall: bool = False
    ClientMatchedIpFirewall: str = "UNKNOWN"
    AccessRule: str = ""
    ClientCountry: str = ""
    ClientAsn: int = 0
    ClientTlsClientHelloServerName: str = ""
    ClientTlsStatus: str = "UNKNOWN"
    ClientTlsProtocol: str = "none"
    ClientTlsCipher: str = "UNK"
    OriginTlsMode: str = "off"
    OriginTlsStatus: str = "UNKNOWN"
    OriginTlsProtocol: str = "none"
    OriginTlsCipher: str = "UNK"
    TlsError: str = ""
    ClientDatagrams: int | msgspec.UnsetType = msgspec.UNSET
    OriginDatagrams: int | msgspec.UnsetType = msgspec.UNSET
    LoadBalancer: str | msgspec.UnsetType = msgspec.UNSET
    Pool: str | msgspec.UnsetType = msgspec.UNSET
    OriginName: str | msgspec.UnsetType = msgspec.UNSET
    Attempts: list[Attempt] | msgspec.UnsetType = msgspec.UNSET
    AccessPrefix: str | msgspec.UnsetType = msgspec.UNSET
    AccessList: str | msgspec.UnsetType = msgspec.UNSET
    Limit: str | msgspec.UnsetType = msgspec.UNSET
    ClientBytesSince: int | msgspec.UnsetType = msgspec.UNSET
    OriginBytesSince: int | msgspec.UnsetType = msgspec.UNSET
    ClientDatagramsSince: int | msgspec.UnsetType = msgspec.UNSET
    OriginDatagramsSince: int | msgspec.UnsetType = msgspec.UNSET
    Sessions: int | msgspec.UnsetType = msgspec.UNSET
    Clients: int | msgspec.UnsetType = msgspec.UNSET
    Suppressed: int | msgspec.UnsetType = msgspec.UNSET
    SampledOneIn: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def weight(self) -> int:
        """The number of sessions that it stands for."""
        return (self.Sessions or 1) * (self.SampledOneIn or 1)


# From client and origin since the last record of a session's progress: bytes; for UDP also datagrams.
SINCE_FIELDS = ("ClientBytesSince", "OriginBytesSince", "ClientDatagramsSince", "OriginDatagramsSince")


def opened(event: SessionEvent) -> SessionEvent:
    """Return the record of an end as that of the time when the session was connected."""
    assert event.ConnectTimestamp is not None, "it is connected"
    return msgspec.structs.replace(_open(event, "connect"), Timestamp=event.ConnectTimestamp)


def under_way(event: SessionEvent) -> SessionEvent:
    """Return the record of an end as that of an open session: its values so far, at the time of `Timestamp`."""
    return _open(event, "progress")


def _open(event: SessionEvent, kind: str) -> SessionEvent:
    return msgspec.structs.replace(
        event, Event=kind, Status=0, Reason="", DisconnectTimestamp=None, Limit=msgspec.UNSET
    )


def as_text(event: SessionEvent) -> str:
    """Return the event as one line of text, whose pairs any parser of logfmt accepts."""
    began = event.ConnectTimestamp or event.Timestamp
    named = [name for name in (event.LoadBalancer, event.Pool, event.OriginName) if name]
    # Left out if empty.
    places = {
        "edge": _address(event.EdgeIP, event.EdgePort) if event.EdgeIP else "",
        "origin": _address(event.OriginIP, event.OriginPort) if event.OriginIP else "none",
        "name": "/".join(named),
    }
    details = {
        "datagrams": "" if event.ClientProto == "tcp" else f"{event.ClientDatagrams}/{event.OriginDatagrams}",
        "rule": event.AccessRule,
        "prefix": event.AccessPrefix,
        "list": event.AccessList and _quoted(event.AccessList),
        "limit": event.Limit and _quoted(event.Limit),
        "tls": event.ClientTlsProtocol if event.ClientTlsProtocol != "none" else "",
        "attempts": ",".join(f"{one.Origin}:{one.Reason}" for one in event.Attempts or ()),
        "id": event.SessionId,
        "sessions": event.Sessions,
        "clients": event.Clients,
        "suppressed": event.Suppressed,
        "sampled_one_in": event.SampledOneIn,
        "tls_error": event.TlsError and _quoted(event.TlsError),
    }
    return (
        f"{event.Timestamp:%Y-%m-%dT%H:%M:%S.%f}Z {event.Event} {event.Status} {event.Reason or '-'}"
        f" app={event.Application} client={_address(event.ClientIP, event.ClientPort)}{_pairs(places)}"
        f" duration={(event.Timestamp - began).total_seconds():.3f}s"
        f" bytes={event.ClientBytes}/{event.OriginBytes}{_pairs(details)}"
    )


def _pairs(values: Mapping[str, object]) -> str:
    return "".join(f" {name}={value}" for name, value in values.items() if value not in ("", msgspec.UNSET))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
