"""The tables of analytics: their columns, in both dialects of SQL. A pure description.

`events` has a row for each record. A row stands for `weight` sessions, 1 unless refusals were summed, and has the bytes
since the previous record of its session: sums over rows are always right. `minutes` is what remains of `events` when it
is old, and answers questions about long times: it has one row, or a few, for all rows of a minute that agree in all its
dimensions; sums over it are sums over `events`. Names are those of SQL and of questions; `rest` is Cloudflare's in
`spectrum/analytics`, `graphql` that of GraphQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import MappingProxyType


class ColumnKind(Enum):
    """What a column holds: its type for DuckDB, and for ClickHouse.

    CATEGORY is text with few distinct values; OPTIONAL ones are NULL without a measurement.
    """

    duckdb: str
    clickhouse: str

    def __new__(cls, duckdb: str, clickhouse: str) -> "ColumnKind":
        """Create the member, whose value is both types."""
        member = object.__new__(cls)
        member._value_ = (duckdb, clickhouse)
        member.duckdb, member.clickhouse = duckdb, clickhouse
        return member

    TIME = "TIMESTAMP", "DateTime64(6, 'UTC')"
    TEXT = "VARCHAR", "String"
    CATEGORY = "VARCHAR", "LowCardinality(String)"
    BOOLEAN = "BOOLEAN", "Bool"
    U8 = "UTINYINT", "UInt8"
    U16 = "USMALLINT", "UInt16"
    U32 = "UINTEGER", "UInt32"
    U64 = "UBIGINT", "UInt64"
    OPTIONAL = "UBIGINT", "Nullable(UInt64)"
    # Bucket (`core.analytics.histogram`) -> count.
    HISTOGRAM = "MAP(SMALLINT, UBIGINT)", "Map(Int16, UInt64)"
    BYTES = "BLOB", "String"


class Role(Enum):
    """How questions may use a column. ID and TIME identify the row; a DIMENSION can be compared and grouped by; a SUM
    is added up; WEIGHT is the sum that counts sessions; a DURATION (microseconds) has averages and percentiles; a
    DETAIL is shown, and may be compared.
    """

    ID = "id"
    TIME = "time"
    DIMENSION = "dimension"
    SUM = "sum"
    WEIGHT = "weight"
    DURATION = "duration"
    HISTOGRAM = "histogram"
    DETAIL = "detail"


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name in SQL and in questions.
        kind: Its type.
        role: How questions may use it.
        label: Its heading.
        meaning: One sentence, for the documentation.
        field: The field of a record that it comes from; "" if it is computed from several.
        rest: Its name in Cloudflare's REST; "" without one.
        graphql: Its name in GraphQL.
        in_minutes: Whether `minutes` has it, too.
    """

    name: str
    kind: ColumnKind
    role: Role
    label: str
    meaning: str
    field: str = ""
    rest: str = ""
    graphql: str = ""
    in_minutes: bool = False

    @property
    def duckdb(self) -> str:
        """Its type for DuckDB."""
        return self.kind.duckdb

    @property
    def clickhouse(self) -> str:
        """Its type for ClickHouse."""
        return self.kind.clickhouse

    def __post_init__(self) -> None:
        """Derive the name in GraphQL, unless it is given."""
        if not self.graphql:
            first, *others = self.name.split("_")
            object.__setattr__(self, "graphql", first + "".join(map(str.capitalize, others)))


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Its name.
        meaning: What a row stands for.
        columns: In their order.
        time: The column by which questions are limited in time.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    time: str = "time"

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """Its columns by name."""
        return MappingProxyType({column.name: column for column in self.columns})

    def having(self, *roles: Role) -> tuple[Column, ...]:
        """Return the columns that have one of these roles."""
        return tuple(column for column in self.columns if column.role in roles)


_ID = (
    Column("source", ColumnKind.CATEGORY, Role.ID, "Source", "`node/worker/epoch` of the record's `RecordId`"),
    Column("sequence", ColumnKind.U64, Role.ID, "Number", "the record's number at its source, from 1"),
)


def _dimension(
    name: str,
    label: str,
    meaning: str,
    field: str = "",
    kind: ColumnKind = ColumnKind.CATEGORY,
    rest: str = "",
    graphql: str = "",
) -> Column:
    """Return a dimension that `minutes` has, too."""
    return Column(name, kind, Role.DIMENSION, label, meaning, field, rest, graphql, in_minutes=True)


def _detail(
    name: str,
    label: str,
    meaning: str,
    field: str = "",
    kind: ColumnKind = ColumnKind.CATEGORY,
    graphql: str = "",
) -> Column:
    """Return a dimension that only its table has."""
    return Column(name, kind, Role.DIMENSION, label, meaning, field, graphql=graphql)


def _sum(
    name: str, label: str, meaning: str, rest: str = "", kind: ColumnKind = ColumnKind.U64, role: Role = Role.SUM
) -> Column:
    return Column(name, kind, role, label, meaning, rest=rest, in_minutes=True)


def _duration(name: str, label: str, meaning: str, field: str = "") -> Column:
    return Column(name, ColumnKind.OPTIONAL, Role.DURATION, label, meaning, field, in_minutes=True)


EVENTS = Table(
    "events",
    "a record of a session or flow, or of refusals that were summed",
    (
        *_ID,
        Column("time", ColumnKind.TIME, Role.TIME, "Time", "time of the event", "Timestamp", rest="datetime"),
        _dimension(
            "event", "Event", "connect, progress, disconnect, clientFiltered, originError, ...", "Event", rest="event"
        ),
        _dimension("app", "App", "the app's name", "Application", rest="appID"),
        _dimension("reason", "Reason", "why the session ended or was refused; empty while it is open", "Reason"),
        _dimension(
            "outcome",
            "Outcome",
            "passed, refused (before an origin was chosen), or failed (because of the origin or of an internal error)",
        ),
        _detail("status", "Status", "Cloudflare's status code", "Status", ColumnKind.U16),
        _dimension("node", "Node", "the node's name"),
        _dimension("colo", "Location", "the node's location", "ColoCode", rest="coloName", graphql="coloCode"),
        Column("session", ColumnKind.TEXT, Role.DETAIL, "Session", "the session's id", "SessionId"),
        _detail("client_ip", "Client", "the client's address; empty for several clients", "ClientIP", ColumnKind.TEXT),
        _detail("client_prefix", "Client network", "the /24 or /48 of the address", kind=ColumnKind.TEXT),
        _detail("client_port", "Client port", "the client's port; 0 in sums", "ClientPort", ColumnKind.U16),
        _dimension(
            "ip_version", "IP version", "4 or 6, of the client; 0 if unknown", kind=ColumnKind.U8, rest="ipVersion"
        ),
        _dimension(
            "country", "Country", "the client's country, of two letters", "ClientCountry", graphql="clientCountry"
        ),
        # Not in `minutes`: with it, hardly two rows of a minute would agree.
        _detail("asn", "ASN", "the client's autonomous system", "ClientAsn", ColumnKind.U32, graphql="clientAsn"),
        _detail("edge_ip", "Edge address", "the address that the client connected to", "EdgeIP"),
        _detail("edge_port", "Port", "the port that the client connected to", "EdgePort", ColumnKind.U16),
        _dimension("protocol", "Protocol", "tcp or udp", "ClientProto"),
        _dimension("origin", "Origin", "`pool/name` of the origin, or its address and port; empty without one"),
        _detail("origin_ip", "Origin address", "the origin's address", "OriginIP"),
        _detail("origin_port", "Origin port", "the origin's port", "OriginPort", ColumnKind.U16),
        _detail("origin_name", "Origin name", "the origin's name", "OriginName"),
        _dimension("pool", "Pool", "the pool that the origin is in", "Pool"),
        _detail("load_balancer", "Load balancer", "the load balancer that chose it", "LoadBalancer"),
        _detail("proxy_protocol", "PROXY protocol", "how the origin gets the client's address", "ProxyProtocol"),
        _dimension("tls_version", "TLS version", "of the client's connection; none without TLS", "ClientTlsProtocol"),
        _detail("tls_cipher", "TLS cipher", "of the client's connection", "ClientTlsCipher"),
        _detail("tls_status", "TLS status", "result of the TLS handshake with the client", "ClientTlsStatus"),
        _detail("tls_error", "TLS error", "OpenSSL's reason for a failure", "TlsError"),
        _detail(
            "sni",
            "Server name",
            "the server name (SNI) that the client requested",
            "ClientTlsClientHelloServerName",
            ColumnKind.TEXT,
        ),
        _detail("origin_tls_mode", "Origin TLS mode", "off, flexible, full or strict", "OriginTlsMode"),
        _detail("origin_tls_version", "Origin TLS version", "of the origin's connection", "OriginTlsProtocol"),
        _detail("access", "Access verdict", "result of the access rules", "ClientMatchedIpFirewall"),
        _detail("access_rule", "Access rule", "the access rule that matches the client", "AccessRule"),
        _detail("access_prefix", "Rule's prefix", "the prefix of that rule that contains the client", "AccessPrefix"),
        _detail("access_list", "Rule's list", "the file and line of that prefix", "AccessList"),
        _detail("limit_hit", "Limit", "the limit that refused the client, and its value", "Limit"),
        Column(
            "attempts",
            ColumnKind.TEXT,
            Role.DETAIL,
            "Attempts",
            "attempts at origins that failed before, as JSON",
            "Attempts",
        ),
        _sum("weight", "Sessions", "number of sessions that the row stands for", "count", ColumnKind.U32, Role.WEIGHT),
        _sum(
            "clients",
            "Clients",
            "minimum number of clients of a sum without an address; otherwise 0",
            kind=ColumnKind.U32,
        ),
        _sum("client_bytes", "Bytes in", "from the client, since the previous record of the session", "bytesIngress"),
        _sum("origin_bytes", "Bytes out", "from the origin, since the previous record of the session", "bytesEgress"),
        _sum("client_packets", "Datagrams in", "UDP: from the client, likewise"),
        _sum("origin_packets", "Datagrams out", "UDP: from the origin, likewise"),
        _duration("duration", "Duration", "of a session that ended, from connected to its end; µs"),
        _duration(
            "connect_duration", "Connect time", "from accept to the connection with the origin; µs", "ConnectDuration"
        ),
        _duration("client_rtt", "Client RTT", "round-trip time to the client; µs", "ClientTcpRtt"),
        _duration("origin_rtt", "Origin RTT", "round-trip time to the origin; µs", "OriginTcpRtt"),
    ),
)


def _rolled_up(column: Column) -> tuple[Column, ...]:
    """Return the columns of `minutes` for a column of `events`."""
    if column.role is not Role.DURATION:
        wide = ColumnKind.U64 if column.role in (Role.SUM, Role.WEIGHT) else column.kind
        return (
            Column(
                column.name, wide, column.role, column.label, column.meaning, rest=column.rest, graphql=column.graphql
            ),
        )
    return (
        Column(f"{column.name}_sum", ColumnKind.U64, Role.SUM, column.label, f"sum of `{column.name}`"),
        Column(
            f"{column.name}_count", ColumnKind.U64, Role.SUM, column.label, f"number of rows with a `{column.name}`"
        ),
        Column(
            f"{column.name}_histogram",
            ColumnKind.HISTOGRAM,
            Role.HISTOGRAM,
            column.label,
            f"histogram of `{column.name}`: counts by bucket",
        ),
    )


MINUTES = Table(
    "minutes",
    "all rows of `events` of one minute that agree in these dimensions; there may be several rows, to be added up",
    (
        Column("time", ColumnKind.TIME, Role.TIME, "Time", "the beginning of the minute", rest="datetime"),
        *(made for column in EVENTS.columns if column.in_minutes for made in _rolled_up(column)),
        Column("records", ColumnKind.U64, Role.SUM, "Records", "number of rows of `events`"),
    ),
)

HEALTH = Table(
    "health",
    "a change of health of an origin, a pool or a load balancer",
    (
        *_ID,
        Column("time", ColumnKind.TIME, Role.TIME, "Time", "time of the change", "Timestamp"),
        _detail(
            "event", "Event", "originHealth, originEjected, originReturned, poolHealth, loadBalancerFallback", "Event"
        ),
        _detail("healthy", "Healthy", "the new state", "Healthy", ColumnKind.BOOLEAN),
        _detail("reason", "Reason", "why", "Reason"),
        _detail("node", "Node", "the node's name"),
        _detail("pool", "Pool", "the pool", "Pool"),
        _detail("origin", "Origin", "`pool/name` of the origin; empty for a pool"),
        _detail("origin_ip", "Origin address", "the origin's address", "OriginIP"),
        _detail("monitor", "Monitor", "the monitor", "Monitor"),
        _detail("load_balancer", "Load balancer", "the load balancer", "LoadBalancer"),
        _detail(
            "status", "Status", "status code of the probe's answer; 0 for none", "ResponseStatusCode", ColumnKind.U16
        ),
        Column("rtt", ColumnKind.OPTIONAL, Role.DURATION, "RTT", "round-trip time of the probe; µs", "RTT"),
    ),
)

CHANGES = Table(
    "changes",
    "a change of the configuration, or an action of an operator",
    (
        *_ID,
        Column("time", ColumnKind.TIME, Role.TIME, "Time", "time from which it was served", "Timestamp"),
        _detail("event", "Event", "the kind of change", "Event"),
        _detail("node", "Node", "the node's name"),
        _detail("revision", "Revision", "the generation", "Revision", ColumnKind.U64),
        _detail("author", "Author", "the token, or the user", "Author"),
        Column("text", ColumnKind.TEXT, Role.DETAIL, "Change", "the change, as text", "Text"),
    ),
)

PACKETS = Table(
    "packets",
    "a sampled packet; it stands for `sample_interval` packets",
    (
        Column("time", ColumnKind.TIME, Role.TIME, "Time", "time of arrival", graphql="datetime"),
        _detail("node", "Node", "the node's name", graphql="coloName"),
        _detail("outcome", "Outcome", "pass or drop"),
        _detail("verdict", "Verdict", "passed, or the list or rule that dropped it", graphql="ruleName"),
        _detail("protocol", "Protocol", "the IP protocol: tcp, udp, icmp or its number", graphql="ipProtocolName"),
        _detail("ip_version", "IP version", "4 or 6", kind=ColumnKind.U8),
        _detail("source_ip", "Source", "source address", kind=ColumnKind.TEXT, graphql="ipSourceAddress"),
        _detail(
            "source_prefix",
            "Source network",
            "the /24 or /48 of the address",
            kind=ColumnKind.TEXT,
            graphql="ipSourceSubnet",
        ),
        _detail("source_port", "Source port", "source port; 0 without one", kind=ColumnKind.U16),
        _detail("source_country", "Source country", "its country"),
        _detail("source_asn", "Source ASN", "autonomous system of the source", kind=ColumnKind.U32),
        _detail("destination_ip", "Destination", "destination address", graphql="ipDestinationAddress"),
        _detail("destination_port", "Destination port", "destination port; 0 without one", kind=ColumnKind.U16),
        _detail("app", "App", "the app that has this address and port; empty for none", graphql="applicationTag"),
        _detail("length", "Length", "bytes of the IP packet", kind=ColumnKind.U16, graphql="ipTotalLength"),
        _detail("ttl", "TTL", "time to live, or hop limit", kind=ColumnKind.U8, graphql="ipTtl"),
        _detail(
            "tcp_flags", "TCP flags", "names of the flags that are set, such as `syn+ack`", graphql="tcpFlagsString"
        ),
        Column("sample_interval", ColumnKind.U32, Role.SUM, "Packets", "number of packets that it stands for"),
        Column("bytes", ColumnKind.U64, Role.SUM, "Bytes", "length of the frame, times `sample_interval`"),
        Column("header", ColumnKind.BYTES, Role.DETAIL, "Header", "the beginning of the frame"),
    ),
)

ATTACKS = Table(
    "attacks",
    "the packets that one rule of an attack has matched since its previous row; sums over rows are sums over attacks",
    (
        *_ID,
        Column("time", ColumnKind.TIME, Role.TIME, "Time", "time of the count", "Timestamp", graphql="datetime"),
        _detail("event", "Event", "attackBegan, attackChanged, attackEnded, attackLeftAlone", "Event"),
        _detail("node", "Node", "the node's name", graphql="coloName"),
        _detail("attack", "Attack", "the attack's id", "AttackId", graphql="attackId"),
        _detail("app", "App", "the app that is attacked; empty for none", "Application", graphql="applicationTag"),
        _detail("vector", "Vector", "the attack vector", "AttackVector", graphql="attackVector"),
        _detail("managed_rule", "Managed rule", "the managed rule's id", "RuleId", graphql="ruleId"),
        _detail("rule", "Rule", "the rule's name in the filter", "RuleName", graphql="ruleName"),
        _detail("fingerprint", "Fingerprint", "what the rule matches", "Rule", ColumnKind.TEXT),
        _detail("action", "Action", "the action on packets that match", "MitigationType", graphql="mitigationType"),
        _detail("why", "Reason", "the reason for the action", "Why", graphql="mitigationReason"),
        _detail("override", "Override", "the override that applies; empty for none", "RulesetOverride"),
        _detail("override_id", "Override's id", "its id", "RulesetOverrideId", graphql="rulesetOverrideId"),
        _detail("destination", "Target", "the address or prefix", "Destination", graphql="ipDestinationAddress"),
        _detail("destination_port", "Target's port", "0 for several or none", "DestinationPort", ColumnKind.U16),
        _detail("protocol", "Protocol", "empty for several", "Protocol", graphql="ipProtocolName"),
        _detail("recurs", "Seen before", "an earlier attack, within a day, with the same fingerprint", "Recurs"),
        _detail("began", "Began", "begin of the attack; µs since 1970", kind=ColumnKind.U64),
        _detail("ended", "Ended", "its end; 0 while it is open", kind=ColumnKind.U64),
        _detail("mitigated_after", "Mitigated after", "µs until the first rule in force", kind=ColumnKind.U64),
        _detail("packets_per_second", "Highest rate", "packets per second", "PacketsPerSecond", kind=ColumnKind.U64),
        _detail("bits_per_second", "Highest bit rate", "bits per second", "BitsPerSecond", kind=ColumnKind.U64),
        _detail("sources", "Sources", "estimated; 0 for too many to count", "Sources", kind=ColumnKind.U32),
        _detail(
            "hits_ppm",
            "Normal traffic hit",
            "share of the app's normal openings that match, at most; ppm",
            kind=ColumnKind.U32,
        ),
        Column("packets", ColumnKind.U64, Role.SUM, "Packets", "what matched", "Packets"),
        Column("bytes", ColumnKind.U64, Role.SUM, "Bytes", "likewise", "Bytes"),
        Column("dropped_packets", ColumnKind.U64, Role.SUM, "Kept off", "packets that were dropped", "DroppedPackets"),
        Column("dropped_bytes", ColumnKind.U64, Role.SUM, "Bytes dropped", "likewise", "DroppedBytes"),
    ),
)

TABLES = MappingProxyType({table.name: table for table in (EVENTS, MINUTES, HEALTH, CHANGES, PACKETS, ATTACKS)})
