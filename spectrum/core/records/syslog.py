"""Syslog messages (RFC 5424), how they follow each other on a stream (RFC 6587), and the local form of syslog(3)."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from spectrum.core.address import is_name, parse_local_address, parse_ports

FACILITIES = {
    "user": 1,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "authpriv": 10,
    **{f"local{number}": 16 + number for number in range(8)},
}
_WARNING, _NOTICE, _INFO = 4, 5, 6
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")

# RFC 5426, RFC 6587 (port of IANA's syslog-conn, RFC 3195), RFC 5425.
_PORTS = {"udp": 514, "tcp": 601, "tls": 6514}


class SyslogServer(NamedTuple):
    """Where messages go.

    Attributes:
        transport: "udp", "tcp", "tls" or "unix".
        host: A name or an address; for "unix" the path of the socket.
        port: 0 for "unix".
    """

    transport: str
    host: str
    port: int


def parse_syslog(text: str) -> SyslogServer:
    """Return the server in a text such as udp://192.0.2.1:514, tcp://, tls://logs.example.net or unix:///dev/log.

    Raises:
        ValueError: If it is something else.
    """
    transport, separator, rest = text.partition("://")
    if separator and transport == "unix" and rest.startswith("/") and "\0" not in rest:
        return SyslogServer(transport, rest, 0)
    right = "write udp://192.0.2.1:514, tcp://192.0.2.1:601, tls://logs.example.net:6514 or unix:///dev/log"
    if not separator or transport not in _PORTS:
        raise ValueError(f"{text!r} is no syslog server; {right}")
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?|([^:\[\]]*)(?::(\d+))?", rest)
    if bracketed is None:
        raise ValueError(f"{text!r} is no syslog server; {right}")
    host, port = bracketed[1] or bracketed[3] or "", bracketed[2] or bracketed[4]
    try:
        if not is_name(host):
            host = str(parse_local_address(host))
        ports = parse_ports(port) if port else None
    except ValueError as exc:
        raise ValueError(f"{text!r} is no syslog server ({exc}); {right}") from exc
    return SyslogServer(transport, host, ports.first if ports else _PORTS[transport])


def severity_of(fields: Mapping[str, Any]) -> int:
    """Return the severity of a record: warning for faults of origins and of ours, notice for refusals, else info."""
    status = fields.get("Status")
    if status is None:
        return _INFO if fields.get("Healthy", True) else _WARNING
    return _WARNING if status >= 500 else _NOTICE if status >= 400 else _INFO


def name_field(text: str, max_length: int) -> str:
    """Return a text as a field of the header takes it (RFC 5424, section 6): printable ASCII, "-" for none."""
    return _NOT_PRINTABLE.sub("_", text)[:max_length] or "-"


class SyslogForm:
    """Makes messages.

    Args:
        facility: A name of `FACILITIES`.
        host: The name of this machine.
        app_name: The name of this program.
        process: Its number.
    """

    def __init__(self, facility: str, host: str, app_name: str, process: int) -> None:
        self._facility = FACILITIES[facility] * 8
        self._tag = f"{name_field(app_name, 48)}[{process}]: "
        self._origin = f"{name_field(host, 255)} {name_field(app_name, 48)} {process}"

    def message(self, fields: Mapping[str, Any], text: bytes) -> bytes:
        """Return a record as RFC 5424 has it; its kind is the MSGID."""
        priority = self._facility + severity_of(fields)
        at, kind = fields.get("Timestamp") or "-", name_field(str(fields.get("Event", "")), 32)
        return f"<{priority}>1 {at} {self._origin} {kind} - ".encode() + text

    def local_message(self, fields: Mapping[str, Any], text: bytes) -> bytes:
        """Return a record as syslog(3) writes it to /dev/log; the reader adds time and host."""
        return f"<{self._facility + severity_of(fields)}>{self._tag}".encode() + text


def counted(message: bytes) -> bytes:
    """Return a message as it goes over a stream (RFC 6587, section 3.4.1; RFC 5425, section 4.3)."""
    return b"%d %b" % (len(message), message)
