"""The order in which the origins of an app are tried. Stateless: the caller rotates."""

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import chain, zip_longest
from math import gcd
from typing import NamedTuple

from spectrum.core.names import Service

# Length of a cycle of SRV weights: a resolution of one hundredth.
TURNS = 100


class Candidate(NamedTuple):
    """An address to try. A staggered one is started beside its predecessor if that does not answer soon."""

    address: str
    port: int
    staggered: bool


def rotations(origins: Sequence[tuple[str, int]]) -> list[tuple[Candidate, ...]]:
    """Return, for each origin, the order that begins with it, for round robin. The others follow in order of failover;
    distinct origins are tried one after the other, never at once.
    """
    candidates = [Candidate(address, port, False) for address, port in origins]
    return [tuple(candidates[i:] + candidates[:i]) for i in range(len(candidates))]


def name_rotations(addresses: Sequence[str], port: int, staggered: bool = True) -> list[tuple[Candidate, ...]]:
    """Return the orders for the addresses of one name: both families interleaved, IPv6 first (RFC 8305, section 4).

    Each order begins with another address of its family, so that a name with several addresses is balanced over them.
    Without `staggered` addresses are tried one after the other; only connections can be staggered.
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


def service_rotations(services: Sequence[Service]) -> list[tuple[Candidate, ...]]:
    """Return the orders for the addresses of SRV records (RFC 2782), to be taken in turn.

    Those of the lowest priority come first as often as their weight says, evenly spread (nginx's smooth weighted round
    robin); the others of that priority follow in order of their next turn, then those of higher priorities. A weight of
    0 beside others is one turn of a cycle, the RFC's "very small chance".
    """
    ranked = sorted(services, key=lambda service: (service.priority, -service.weight))
    first = [service for service in ranked if service.priority == ranked[0].priority]
    later = tuple(Candidate(service.address, service.port, False) for service in ranked[len(first) :])
    shares = _shares([service.weight for service in first])
    credits = [0] * len(first)
    orders = []
    for _ in range(sum(shares)):
        credits = [credit + share for credit, share in zip(credits, shares, strict=True)]
        turns = sorted(range(len(first)), key=lambda i: -credits[i])
        credits[turns[0]] -= sum(shares)
        orders.append((*(Candidate(first[i].address, first[i].port, False) for i in turns), *later))
    return orders


def _shares(weights: Sequence[float]) -> list[int]:
    """Return small positive integers in about the same proportion as the weights."""
    total = sum(weights)
    shares = [max(1, round(weight * TURNS / total)) if total else 1 for weight in weights]
    divisor = gcd(*shares)
    return [share // divisor for share in shares]
