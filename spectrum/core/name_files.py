"""Parsers of resolv.conf(5) and hosts(5). No I/O: the caller reads the files. Both are parsed as by glibc: unknown
lines are ignored.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from spectrum.core.address import parse_address

# The limits of resolv.conf(5).
MAX_NDOTS, MAX_TIMEOUT_S, MAX_ATTEMPTS = 15, 30, 5
# As in c-ares; glibc's 5 s leave an app without addresses for long if the first of two servers is dead.
DEFAULT_TIMEOUT_S = 2
# RFC 1035, section 2.3.4, in text, with a final dot.
MAX_NAME_CHARACTERS = 254


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Settings of look-ups, by resolv.conf.

    Attributes:
        servers: IP addresses, in the order of queries; this machine if the file names none.
        search: The search domains, which are tried first for names with fewer than `ndots` dots.
        timeout_s: For one server's answer.
        attempts: How often all servers are queried.
        rotate: Begin with another server each time.
        edns: Allow for longer answers over UDP (RFC 6891).
        tcp: Ask over TCP only.
    """

    servers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_s: int = DEFAULT_TIMEOUT_S
    attempts: int = 2
    rotate: bool = False
    edns: bool = False
    tcp: bool = False

    def candidates(self, name: str) -> list[str]:
        """Return the absolute names to query for `name`, in order, each with its final dot."""
        if name.endswith("."):
            return [name]
        found = [f"{name}.{domain}." for domain in self.search]
        found.insert(0 if name.count(".") >= self.ndots else len(found), f"{name}.")
        return [candidate for candidate in found if len(candidate) <= MAX_NAME_CHARACTERS]


def parse_resolv_conf(text: str) -> ResolverSettings:
    """Return the settings of a resolv.conf; the defaults if it is empty."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: dict[str, int | None] = {}
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        match keyword:
            case "nameserver" if words and _is_address(words[0]):
                servers.append(words[0])
            case "search" | "domain":  # The last one applies.
                given = words if keyword == "search" else words[:1]
                search = tuple(filter(None, (domain.rstrip(".") for domain in given)))
            case "options":
                for word in words:
                    option, _, value = word.partition(":")
                    options[option] = int(value) if value.isascii() and value.isdigit() else None
    return ResolverSettings(
        tuple(dict.fromkeys(servers)) or ("127.0.0.1",),
        search,
        _bounded(options.get("ndots"), 0, MAX_NDOTS, 1),
        _bounded(options.get("timeout"), 1, MAX_TIMEOUT_S, DEFAULT_TIMEOUT_S),
        _bounded(options.get("attempts"), 1, MAX_ATTEMPTS, 2),
        "rotate" in options,
        "edns0" in options,
        "use-vc" in options,
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _bounded(value: int | None, least: int, most: int, default: int) -> int:
    return default if value is None else max(least, min(most, value))


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each name in a hosts file, names in lower case, addresses in the order of lines."""
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        try:
            # A zone is left out: link-local addresses are reported.
            address = str(parse_address(words[0].partition("%")[0])) if words else ""
        except ValueError:
            continue
        for name in words[1:]:
            found.setdefault(name.lower().rstrip("."), {})[address] = None
    return {name: tuple(addresses) for name, addresses in found.items()}
