"""Metrics of the tables: sums, distinct values, averages and percentiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from spectrum.core.analytics.columns import ATTACKS, CHANGES, EVENTS, HEALTH, PACKETS, Role, Table


class MetricKind(Enum):
    """How a metric is computed, and so whether roll-ups have it. SUM is added up. DISTINCT counts values, which
    roll-ups do not have. AVERAGE, QUANTILE, LOWEST and HIGHEST are of a duration; roll-ups have sums for averages, and
    histograms for the others.
    """

    SUM = "sum"
    DISTINCT = "distinct"
    AVERAGE = "average"
    QUANTILE = "quantile"
    LOWEST = "lowest"
    HIGHEST = "highest"


OF_HISTOGRAM = frozenset({MetricKind.QUANTILE, MetricKind.LOWEST, MetricKind.HIGHEST})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: Its name in questions, as at Cloudflare if they have it.
        kind: How it is computed.
        unit: The unit of its values; empty for counts.
        meaning: One sentence, for the documentation.
        uses: The columns that it needs; one for a duration.
        sql: The aggregate of SUM and DISTINCT, the same in both dialects.
        fraction: For QUANTILE: from 0 to 1.
    """

    name: str
    kind: MetricKind
    unit: str
    meaning: str
    uses: tuple[str, ...]
    sql: str = ""
    fraction: float = 0.0


def _total(name: str, meaning: str, sql: str, *uses: str, unit: str = "") -> Metric:
    return Metric(name, MetricKind.SUM, unit, meaning, uses, f"coalesce(sum({sql}), 0)")


_OPEN = "event IN ('connect', 'progress')"
_EVENT_METRICS = (
    _total("count", "records; a sum of refusals counts as many as it stands for", "weight", "weight"),
    _total(
        "sessions",
        "sessions and flows that ended or were refused",
        f"CASE WHEN {_OPEN} THEN 0 ELSE weight END",
        "event",
        "weight",
    ),
    _total(
        "refused",
        "clients that were refused",
        "CASE WHEN outcome = 'refused' THEN weight ELSE 0 END",
        "outcome",
        "weight",
    ),
    _total(
        "failed",
        "sessions that failed because of the origin or of an internal error",
        "CASE WHEN outcome = 'failed' THEN weight ELSE 0 END",
        "outcome",
        "weight",
    ),
    _total("bytesIngress", "bytes from clients", "client_bytes", "client_bytes", unit="bytes"),
    _total("bytesEgress", "bytes from origins", "origin_bytes", "origin_bytes", unit="bytes"),
    _total(
        "bytes", "bytes in both directions", "client_bytes + origin_bytes", "client_bytes", "origin_bytes", unit="bytes"
    ),
    _total("packetsIngress", "UDP: datagrams from clients", "client_packets", "client_packets", unit="packets"),
    _total("packetsEgress", "UDP: datagrams from origins", "origin_packets", "origin_packets", unit="packets"),
    _total(
        "packets",
        "UDP: datagrams in both directions",
        "client_packets + origin_packets",
        "client_packets",
        "origin_packets",
        unit="packets",
    ),
    Metric(
        "connections",
        MetricKind.DISTINCT,
        "",
        "sessions that were open at some point, by their records",
        ("session", "node"),
        "count(DISTINCT CASE WHEN session = '' THEN NULL ELSE concat(node, ' ', session) END)",
    ),
    Metric(
        "clients",
        MetricKind.DISTINCT,
        "",
        "distinct client addresses; at least the number of clients of any sum without addresses",
        ("client_ip", "clients"),
        "greatest(count(DISTINCT CASE WHEN client_ip = '' THEN NULL ELSE client_ip END), coalesce(max(clients), 0))",
    ),
)
_ROWS = Metric("count", MetricKind.SUM, "", "records", (), "count(*)")
# One packet in N is a sample, whatever the others are. Of a sum over w * y, with w of N and y of a sample, the variance
# is then estimated by the sum over w * (w - 1) * y * y (Horvitz and Thompson, 1952).
_INTERVAL, _WEIGHED = "CAST(sample_interval AS DOUBLE)", "CAST(bytes AS DOUBLE)"
_PACKET_METRICS = (
    Metric("samples", MetricKind.SUM, "", "samples", (), "count(*)"),
    _total("packets", "packets, estimated from samples", "sample_interval", "sample_interval", unit="packets"),
    _total("bytes", "bytes, estimated from samples", "bytes", "bytes", unit="bytes"),
    _total("bits", "bits, estimated from samples", "bytes * 8", "bytes", unit="bits"),
    _total(
        "packetsVariance",
        "variance of the estimate `packets`",
        f"{_INTERVAL} * ({_INTERVAL} - 1)",
        "sample_interval",
    ),
    _total(
        "bitsVariance",
        "variance of the estimate `bits`",
        f"64 * {_WEIGHED} * {_WEIGHED} * (1 - 1 / {_INTERVAL})",
        "bytes",
        "sample_interval",
    ),
)
# By the sum that is estimated.
VARIANCES: Mapping[str, str] = MappingProxyType({"packets": "packetsVariance", "bits": "bitsVariance"})
_ATTACK_METRICS = (
    Metric("attacks", MetricKind.DISTINCT, "", "attacks", ("attack",), "count(DISTINCT attack)"),
    _total("packets", "packets that rules matched", "packets", "packets", unit="packets"),
    _total("bits", "bits that rules matched", "bytes * 8", "bytes", unit="bits"),
    _total("droppedPackets", "of these, dropped packets", "dropped_packets", "dropped_packets", unit="packets"),
    _total("droppedBits", "of these, bits of dropped packets", "dropped_bytes * 8", "dropped_bytes", unit="bits"),
    Metric(
        "packetRate",
        MetricKind.HIGHEST,
        "",
        "highest packets per second of any attack",
        ("packets_per_second",),
        "coalesce(max(packets_per_second), 0)",
    ),
    Metric(
        "bitRate",
        MetricKind.HIGHEST,
        "",
        "highest bits per second of any attack",
        ("bits_per_second",),
        "coalesce(max(bits_per_second), 0)",
    ),
    Metric(
        "ended",
        MetricKind.HIGHEST,
        "",
        "end of the last attack, in microseconds since 1970; 0 for none",
        ("ended",),
        "coalesce(max(ended), 0)",
    ),
)
# Prefixes of metrics of a duration; the rest of the name is the column's.
_DURATIONS = {"connect_duration": "connect", "client_rtt": "clientRtt", "origin_rtt": "originRtt"}
_OF_DURATIONS = (
    ("Avg", MetricKind.AVERAGE, 0.0, "mean"),
    ("Median", MetricKind.QUANTILE, 0.5, "median"),
    ("90th", MetricKind.QUANTILE, 0.9, "90th percentile"),
    ("99th", MetricKind.QUANTILE, 0.99, "99th percentile"),
    ("Min", MetricKind.LOWEST, 0.0, "lowest"),
    ("Max", MetricKind.HIGHEST, 0.0, "highest"),
)


def _of_durations(table: Table) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            _DURATIONS.get(column.name, column.name) + ending,
            kind,
            "ms",
            f"{word} of `{column.name}`",
            (column.name,),
            fraction=fraction,
        )
        for column in table.having(Role.DURATION)
        for ending, kind, fraction, word in _OF_DURATIONS
    )


def _by_name(table: Table, *own: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in (*own, *_of_durations(table))})


# By table.
METRICS: Mapping[str, Mapping[str, Metric]] = MappingProxyType(
    {
        "events": _by_name(EVENTS, *_EVENT_METRICS),
        "health": _by_name(HEALTH, _ROWS),
        "changes": _by_name(CHANGES, _ROWS),
        "packets": _by_name(PACKETS, *_PACKET_METRICS),
        "attacks": _by_name(ATTACKS, *_ATTACK_METRICS),
    }
)
