"""In which order the origins of an app are tried. Pure: the caller turns the wheel."""

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import NamedTuple


class Candidate(NamedTuple):
    """An address to try. A staggered one is started beside its predecessor when that one is slow to answer."""

    address: str
    port: int
    staggered: bool


def rotations(origins: Sequence[tuple[str, int]]) -> list[tuple[Candidate, ...]]:
    """Return, for each origin, the order that begins with it: round robin takes them in turn.

    The others follow as the failover order; distinct origins are tried one after the other, never at once.
    """
    candidates = [Candidate(address, port, False) for address, port in origins]
    return [tuple(candidates[i:] + candidates[:i]) for i in range(len(candidates))]


def name_rotations(addresses: Sequence[str], port: int, staggered: bool = True) -> list[tuple[Candidate, ...]]:
    """Return the orders for the addresses of one name: both families interleaved, IPv6 first (RFC 8305, section 4).

    Each order begins with another address of its family, so that a name with several addresses is balanced over them.
    Without `staggered` no address is tried beside another one, which only a connection can be.
    """
    families: dict[int, list[str]] = {6: [], 4: []}
    for address in addresses:
        families[ip_address(address).version].append(address)
    longest = max(map(len, families.values()))
    orders = []
    for turn in range(longest):
        turned = [family[turn % len(family) :] + family[: turn % len(family)] for family in families.values() if family]
        mixed = [address for address in chain.from_iterable(zip_longest(*turned)) if address]
        orders.append(tuple(Candidate(address, port, staggered and i > 0) for i, address in enumerate(mixed)))
    return orders
