"""Failed attempts to authenticate, limited for each address: those who try are slowed down, and told of in the log.

A token that is right is never refused for another client's attempts: it cannot be guessed (256 bits), and clients
behind one address would be shut out with whoever tries.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from spectrum.api.windows import Windows

# Per address, and per /64 of IPv6, which is what one customer has.
PREFIX_V6 = 64
ATTEMPTS = 10
PER_S = 60.0
# Addresses that are remembered; an attacker with more is one of many.
MAX_ADDRESSES = 10_000


class FailedAttempts:
    """Counts them.

    Args:
        attempts: So many an address may fail...
        per_s: ...in so many seconds.
    """

    def __init__(self, attempts: int = ATTEMPTS, per_s: float = PER_S) -> None:
        self._attempts = attempts
        self._per_s = per_s
        self._windows = Windows(MAX_ADDRESSES)

    def add(self, address: str, now: float) -> tuple[int, float]:
        """Count one.

        Args:
            address: Of the client.
            now: The time in seconds.

        Returns:
            How many there are in the window, and in how many seconds the address may try again: 0 for at once.
        """
        count, ends = self._windows.add(address_key(address), now, self._per_s)
        return count, (ends - now if count > self._attempts else 0.0)

    def is_first_too_many(self, count: int) -> bool:
        """Return whether it is the one that exceeds the limit: told once for each window."""
        return count == self._attempts + 1


def address_key(address: str) -> str:
    """Return what a client is counted by: its address, of IPv6 the /64."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, PREFIX_V6), strict=False))
