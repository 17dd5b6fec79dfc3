"""The types of values in the configuration file, with their error messages. Every field takes the value that YAML
gives; its message says in one sentence what is wrong and what would be right.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from spectrum.core.address import (
    OriginAddress,
    PortRange,
    Protocol,
    SocketAddress,
    parse_local_address,
    parse_origin,
    parse_ports,
    parse_protocol,
    parse_socket_address,
)
from spectrum.core.durations import parse_duration_s
from spectrum.core.sizes import parse_size
from spectrum.wire.address import IPAddress, unmapped_network

# RFC 6793: 32 bits.
MAX_ASN = 2**32 - 1
# Of an object; it labels metrics.
MAX_NAME = 63
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class Shown:
    """How the docs' tables show a field or a type, in an annotation, where its type alone does not say it. The meaning
    of a field is its description.

    Attributes:
        values: The accepted values.
        default: The default.
        unit: The unit of the value in this process: "s" is seconds, from a duration; "B" bytes, from a size.
        opens: Whether the keys of a mapping have rows of their own, beside its own row.
    """

    values: str = ""
    default: str = ""
    unit: Literal["", "s", "B"] = ""
    opens: bool = False


class KeyFault(ValueError):
    """A fault that a check of a whole mapping finds at one of its keys.

    Args:
        message: The fault.
        place: The key, and where in its value.
    """

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


def text(value: object, example: str = "") -> str:
    """Return a text unchanged; raise ValueError for anything else, with an example."""
    if not isinstance(value, str):
        raise ValueError(f"expected text{example and f' such as {example}'}, found {describe(value)}")
    return value


def describe(value: object) -> str:
    """Return a value from the file in the form for messages."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list():
            return "a list" if value else "an empty list"
        case bool():
            return "true" if value else "false"
        case _:
            shown = repr(value)
            return shown if len(shown) <= 60 else shown[:57] + "..."


def duration(value: Any) -> float:
    """Return a duration in seconds; raise ValueError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a duration such as 5s or 1h, found {describe(value)}")
    return parse_duration_s(value)


def positive_duration(value: Any) -> float:
    """Return a duration above zero in seconds; raise ValueError if it is not one."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError(f"{value!r}: a duration must be longer than 0")
    return seconds


def size(value: Any) -> int:
    """Return a size in bytes; raise ValueError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a size such as 64MiB, found {describe(value)}")
    return parse_size(value)


def _whole_seconds(value: Any) -> int:
    seconds = positive_duration(value)
    # TCP_KEEPIDLE and TCP_KEEPINTVL count seconds, 1 to 32767 (linux/include/net/tcp.h, MAX_TCP_KEEPIDLE).
    if seconds != int(seconds) or not 1 <= seconds <= 32767:
        raise ValueError(f"{value!r}: write whole seconds between 1s and 32767s, the kernel's unit")
    return int(seconds)


def network(value: Any) -> IPv4Network | IPv6Network:
    """Return a prefix, or a single address as one, unmapped; raise ValueError if it is not one."""
    try:
        if "%" in text(value):
            raise ValueError("a zone is not supported")
        return unmapped_network(ip_network(value))
    except ValueError as exc:
        raise ValueError(f"{value!r} is not a prefix; write 192.0.2.0/24 or 2001:db8::/32 ({exc})") from exc


def read_networks(data: bytes) -> tuple[list[IPv4Network | IPv6Network], list[tuple[int, str]]]:
    """Return the prefixes of a list, one address or prefix per line, and the faults by line. `#` and `;` begin a
    comment, as in lists of access rules.

    `#` and `;` begin a comment, as in the lists of access rules.
    """
    found: list[IPv4Network | IPv6Network] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        content = re.split("[#;]", line, maxsplit=1)[0].strip()
        if not content:
            continue
        try:
            found.append(network(content))
        except ValueError as exc:
            wrong.append((number, str(exc)))
    return found, wrong


def country(value: Any) -> str:
    """Return a country code; raise ValueError if it is not one."""
    code = text(value)
    if not re.fullmatch("[A-Z]{2}", code):
        raise ValueError(f"{value!r} is not a country; write two capital letters of ISO 3166, such as DE")
    return code


def asn(value: Any) -> int:
    """Return the number of an autonomous system, as AS64500 or 64500; raise ValueError if it is not one."""
    digits = "" if isinstance(value, bool) else str(value).upper().removeprefix("AS")
    if digits.isascii() and digits.isdecimal() and 0 < len(digits) < 11 and 0 < int(digits) <= MAX_ASN:
        return int(digits)
    raise ValueError(f"{describe(value)} is not an autonomous system; write AS64500")


def _absolute(value: Any) -> str:
    path = text(value, "/var/lib/spectrum/records")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"expected an absolute path, found {describe(path)}")
    return path


def _path(value: str) -> str:
    if "\0" in value:  # no system call takes it
        raise ValueError(f"expected a path, found {describe(value)}")
    return value


def _ports(value: Any) -> PortRange:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a port or a range of ports, found {describe(value)}")
    return parse_ports(value)


def _listen(value: Any) -> SocketAddress:
    return parse_socket_address(text(value, "127.0.0.1:9090"))


def _dns_server(value: Any) -> SocketAddress:
    given = text(value, "192.0.2.53 or 192.0.2.53:53")
    try:
        return parse_socket_address(given)
    except ValueError:
        return parse_socket_address(f"[{given}]:53" if ":" in given else f"{given}:53")


Duration = Annotated[float, PlainValidator(duration), Shown("duration", unit="s")]
PositiveDuration = Annotated[float, PlainValidator(positive_duration), Shown("duration above 0", unit="s")]
Size = Annotated[int, PlainValidator(size), Shown("size", unit="B")]
WholeSeconds = Annotated[int, PlainValidator(_whole_seconds), Shown("whole seconds, up to `32767s`", unit="s")]
Address = Annotated[
    IPAddress, PlainValidator(lambda value: parse_local_address(text(value, "192.0.2.1"))), Shown("address")
]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(network), Shown("prefix")]
AbsolutePath = Annotated[str, PlainValidator(_absolute), Shown("absolute path")]
FilePath = Annotated[str, Field(min_length=1), AfterValidator(_path), Shown("path")]
Ports = Annotated[PortRange, PlainValidator(_ports), Shown('`22`, `"3000-4000"`')]
Listen = Annotated[SocketAddress, PlainValidator(_listen), Shown("address and port, such as `127.0.0.1:9090`")]
# A server that accepts dynamic updates (RFC 2136).
DnsServer = Annotated[SocketAddress, PlainValidator(_dns_server), Shown("address, with a port if it is not 53")]
Origin = Annotated[
    OriginAddress,
    PlainValidator(lambda value: parse_origin(text(value, "tcp://192.0.2.1:22"))),
    Shown("`tcp://192.0.2.1:22`, `udp://[2001:db8::1]:3000-4000`"),
]
AppProtocol = Annotated[
    Protocol,
    PlainValidator(lambda value: parse_protocol(text(value, "tcp/2222"))),
    Shown("`tcp/22`, `tcp/8000-8009`, `udp/53`"),
]


class Strict(BaseModel):
    """A mapping that accepts only known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, defer_build=True)


def check_name(name: object, kind: str) -> str | None:
    """Return the fault of the name of a `kind` of object, such as "an app", or None."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return f"{describe(name)} is not a name for {kind}; letters, digits, dot, dash and underscore, at most 63"


def switch(value: Any) -> Any:
    """Read `true` as an empty section, and `false` as none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def sequence(value: Any) -> Any:
    """Return a list from the file as a tuple, anything else unchanged."""
    return tuple(value) if isinstance(value, list) else value


AsTuple = BeforeValidator(sequence)
