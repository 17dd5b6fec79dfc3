"""A set of IP prefixes with a fast membership test."""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any


class PrefixSet:
    """Networks of both families, as sorted disjoint ranges; addresses are given in wire form.

    Args:
        networks: Any networks; overlapping ones are merged.
    """

    __slots__ = ("_ranges",)

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        networks = list(networks)
        self._ranges = {
            4: _ranges([network for network in networks if network.version == 4]),
            16: _ranges([network for network in networks if network.version == 6]),
        }

    def __contains__(self, address: bytes) -> bool:
        """Tell whether an address of 4 or 16 bytes, in network byte order, is in one of the networks."""
        starts, ends = self._ranges[len(address)]
        number = int.from_bytes(address, "big")
        index = bisect_right(starts, number) - 1
        return index >= 0 and number <= ends[index]


def _ranges(networks: list[IPv4Network] | list[IPv6Network]) -> tuple[list[int], list[int]]:
    # One family each time, which the stubs cannot express.
    merged: list[Any] = list(collapse_addresses(networks))  # type: ignore[type-var]
    # collapse_addresses returns them sorted and disjoint.
    return [int(n.network_address) for n in merged], [int(n.broadcast_address) for n in merged]
