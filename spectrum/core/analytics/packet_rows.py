"""Converts a sampled packet to a row of `packets`."""

from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, NamedTuple

from spectrum.core.packets import PROTOCOLS
from spectrum.wire import frames

# Verdicts of the filter for packets that it passed to the network stack, or answered itself.
_PASSED = ("passed", "guarded", "syn_cookies")
# Prefixes of such verdicts: of TCP protection with a reason, and of flow programs with a name.
_JUDGED_PASSED = ("tcp_monitored ", "tcp_passed ", "flow_monitored ", "flow_passed ")
_NAMES = {number: name for name, number in PROTOCOLS.items()}
# Times are UTC, without a zone, as in stores.
_EPOCH = datetime(1970, 1, 1)
_PREFIX_BITS = {4: 24, 6: 48}


class SampledPacket(NamedTuple):
    """A packet that stands for several.

    Attributes:
        at_us: Time of arrival, in microseconds since 1970.
        verdict: The filter's verdict: "passed", "list x", "rule y", ...
        frame_bytes: Length of the whole frame.
        header: The beginning of the frame.
        interval: Number of packets that it stands for.
        is_dropped: Whether it was dropped; with `dry_run` none is, whatever its verdict.
        app: The app that it was for; empty for none.
        country: Country of the source, by the file's `geoip`; empty if unknown.
        asn: The autonomous system, likewise; 0 if unknown.
    """

    at_us: int
    verdict: str
    frame_bytes: int
    header: bytes
    interval: int
    is_dropped: bool
    app: str = ""
    country: str = ""
    asn: int = 0


def was_dropped(verdict: str, dry_run: bool) -> bool:
    """Return whether the filter dropped a packet with this verdict."""
    return verdict not in _PASSED and not verdict.startswith(_JUDGED_PASSED) and not dry_run


def packet_row(packet: SampledPacket, node: str) -> tuple[Any, ...] | None:
    """Return the values of the columns of `packets`, in their order; None if it is not an IP packet."""
    header = packet.header[: packet.frame_bytes]
    frame = frames.parse(header)
    if frame is None:
        return None
    source, version = frame.source, frame.source.version
    prefix = ip_network((source, _PREFIX_BITS[version]), strict=False)
    return (
        _EPOCH + timedelta(microseconds=packet.at_us),
        node,
        "drop" if packet.is_dropped else "pass",
        packet.verdict,
        _NAMES.get(frame.protocol, str(frame.protocol)),
        version,
        str(source),
        str(prefix),
        frame.source_port,
        packet.country,
        packet.asn,
        str(frame.destination),
        frame.destination_port,
        packet.app,
        frame.length,
        frame.ttl,
        "+".join(frame.tcp_flags),
        packet.interval,
        packet.frame_bytes * packet.interval,
        header,
    )
