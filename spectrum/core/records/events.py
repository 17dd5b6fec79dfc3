"""One record per ended session, with the field names of Cloudflare's spectrum_events log."""

import json
from datetime import datetime

import msgspec


class SessionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are Cloudflare's, but for `Reason`, `ConnectDuration`, `AccessRule`, `TlsError` and datagrams.

    `Reason` is one of `core.records.reasons`, `AccessRule` the rule that `ClientMatchedIpFirewall` is about,
    `TlsError` why a handshake failed, in OpenSSL's words. Times are UTC; durations and RTTs are nanoseconds, RTTs 0
    when the kernel had no sample. `ClientCountry` and `ClientAsn` are "" and 0 where no database tells; the TLS fields
    hold the values that Cloudflare writes where there is no TLS. A UDP flow counts as connected when its origin first
    replies; only UDP has counts of datagrams. With `Sessions` the record is of so many sessions of one client, app and
    reason that ended within a second; its port is 0, and what else it says is of the first one. With `Clients` too they
    are of so many clients, and there is no `ClientIP`. `Suppressed` records of the same app were left out before it.
    """

    Event: str
    Status: int
    Reason: str
    Application: str
    ColoCode: str = ""
    Timestamp: datetime
    ConnectTimestamp: datetime | None = None
    DisconnectTimestamp: datetime
    ClientIP: str = ""
    ClientPort: int = 0
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
    Sessions: int | msgspec.UnsetType = msgspec.UNSET
    Clients: int | msgspec.UnsetType = msgspec.UNSET
    Suppressed: int | msgspec.UnsetType = msgspec.UNSET


def as_text(event: SessionEvent) -> str:
    """Return the event as one line for people, whose pairs any parser of logfmt takes."""
    origin = _address(event.OriginIP, event.OriginPort) if event.OriginIP else "none"
    began = event.ConnectTimestamp or event.DisconnectTimestamp
    datagrams = "" if event.ClientProto == "tcp" else f" datagrams={event.ClientDatagrams}/{event.OriginDatagrams}"
    rule = f" rule={event.AccessRule}" if event.AccessRule else ""
    tls = f" tls={event.ClientTlsProtocol}" if event.ClientTlsProtocol != "none" else ""
    sums = "".join(
        f" {name}={number}"
        for name, number in (("sessions", event.Sessions), ("clients", event.Clients), ("suppressed", event.Suppressed))
        if number is not msgspec.UNSET
    )
    error = f" tls_error={json.dumps(event.TlsError, ensure_ascii=False)}" if event.TlsError else ""
    return (
        f"{event.DisconnectTimestamp:%Y-%m-%dT%H:%M:%S.%f}Z {event.Event} {event.Status} {event.Reason}"
        f" app={event.Application} client={_address(event.ClientIP, event.ClientPort)} origin={origin}"
        f" duration={(event.DisconnectTimestamp - began).total_seconds():.3f}s"
        f" bytes={event.ClientBytes}/{event.OriginBytes}{datagrams}{rule}{tls}{sums}{error}"
    )


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
