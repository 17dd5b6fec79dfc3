"""The settings of the filter's program: struct settings of bpf/filter.bpf.c."""

import struct
from dataclasses import dataclass
from typing import NamedTuple, Self

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """The program's settings, besides lists and rules.

    Attributes:
        packets_per_second: The rate of a source, an IPv4 address or an IPv6 /64; 0 for no limit.
        burst: Packets that may arrive at once.
        syns_per_second: The rate of SYNs to an address and port; 0 for no limit.
        syn_burst: SYNs that may arrive at once.
        syn_cookies: Whether SYNs beyond that rate are answered with a cookie where a socket listens, not dropped.
        sample_one_in: The sampling interval in packets; 0 for no samples.
        dry_run: Whether packets are counted only, never dropped.
    """

    packets_per_second: int = 0
    burst: int = 0
    syns_per_second: int = 0
    syn_burst: int = 0
    syn_cookies: bool = False
    sample_one_in: int = 0
    dry_run: bool = False


class ProgramSettings(NamedTuple):
    """The fields of struct settings, in its order; `_replace` changes some."""

    packet_ns: int = 0
    burst_ns: int = 0
    syn_ns: int = 0
    syn_burst_ns: int = 0
    dry_run: int = 0
    cookies: int = 0
    sample_one_in: int = 0
    generation: int = 0
    rules: int = 0

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """Return the settings from their bytes."""
        return cls(*_PACKED.unpack(packed))

    def packed(self) -> bytes:
        """Return the bytes of the settings."""
        return _PACKED.pack(*self)

    def given(self, settings: FilterSettings) -> "ProgramSettings":
        """Return these settings with the configurable fields replaced."""
        packet_ns, syn_ns = _gap_ns(settings.packets_per_second), _gap_ns(settings.syns_per_second)
        return self._replace(
            packet_ns=packet_ns,
            burst_ns=packet_ns * settings.burst,
            syn_ns=syn_ns,
            syn_burst_ns=syn_ns * settings.syn_burst,
            dry_run=settings.dry_run,
            cookies=settings.syn_cookies,
            sample_one_in=settings.sample_one_in,
        )

    def shown(self) -> FilterSettings:
        """Return the configurable fields."""
        rates = *_rate(self.packet_ns, self.burst_ns), *_rate(self.syn_ns, self.syn_burst_ns)
        return FilterSettings(*rates, bool(self.cookies), self.sample_one_in, bool(self.dry_run))


# The former version had its rules in these fields.
_PACKED = struct.Struct("=QQQQIII12xII")
SETTINGS_BYTES = _PACKED.size


def _gap_ns(per_second: int) -> int:
    """Return the interval between two packets in ns; 0 for no limit."""
    return _NS_PER_S // per_second if per_second else 0


def _rate(gap_ns: int, burst_ns: int) -> tuple[int, int]:
    """Return a rate per second, and its burst."""
    return (round(_NS_PER_S / gap_ns), round(burst_ns / gap_ns)) if gap_ns else (0, 0)
