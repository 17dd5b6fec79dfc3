"""Failed attempts to authenticate, limited per address: attempts beyond the limit are slowed down, and logged.

A valid token is accepted in spite of failed attempts by other clients: tokens cannot be guessed (256 bits), and an
attacker could otherwise lock out all clients behind the same address.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from spectrum.api.windows import Windows

# Per address, for IPv6 per /64, the smallest prefix of a customer.
PREFIX_V6 = 64
ATTEMPTS = 10
PER_S = 60.0
# Addresses that are remembered.
MAX_ADDRESSES = 10_000


class FailedAttempts:
    """Counts failed attempts.

    Args:
        attempts: The limit of an address...
        per_s: ...within this time, in seconds.
    """

    def __init__(self, attempts: int = ATTEMPTS, per_s: float = PER_S) -> None:
        self._attempts = attempts
        self._per_s = per_s
        self._windows = Windows(MAX_ADDRESSES)

    def add(self, address: str, now: float) -> tuple[int, float]:
        """Count a failed attempt.

        Args:
            address: The client's address.
            now: The time in seconds.

        Returns:
            The number of attempts in the window, and the seconds after which the address may try again: 0 for at once.
        """
        count, ends = self._windows.add(address_key(address), now, self._per_s)
        return count, (ends - now if count > self._attempts else 0.0)

    def is_first_too_many(self, count: int) -> bool:
        """Return whether a count is the first one above the limit: logged once per window."""
        return count == self._attempts + 1


def address_key(address: str) -> str:
    """Return the key by which a client is counted: its address, for IPv6 the /64."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, PREFIX_V6), strict=False))
