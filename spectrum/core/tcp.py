"""`tcp` of an app: TCP options of the kernel towards clients and origins, for long or lossy paths."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PlainValidator

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Feature, Misfit
from spectrum.core.configuration.fields import Shown, Strict, size, text
from spectrum.core.tcp_options import TcpOptions

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App, Config

# TCP_CA_NAME_MAX of linux/include/net/tcp.h, without its terminator.
_ALGORITHM = re.compile(r"[a-z0-9_-]{1,15}")
# Below it a sender waits for its own process after each segment or two; the kernel's type is an int.
MIN_NOTSENT, MAX_NOTSENT = 4096, 2**30


def _algorithm(value: Any) -> str:
    name = text(value, "bbr")
    if not _ALGORITHM.fullmatch(name):
        raise ValueError(f"{name!r} is not an algorithm; write bbr or cubic (tcp_available_congestion_control)")
    return name


def _notsent(value: Any) -> int:
    bytes_unsent = size(value)
    if not MIN_NOTSENT <= bytes_unsent <= MAX_NOTSENT:
        raise ValueError(f"{value!r}: between {MIN_NOTSENT // 1024}KiB and {MAX_NOTSENT // 2**30}GiB")
    return bytes_unsent


class OriginTcp(Strict):
    """`tcp.origin`: options of the sockets to origins."""

    congestion_control: Annotated[
        str,
        PlainValidator(_algorithm),
        Shown("`bbr`, `cubic`, ...", default="the machine's (`net.ipv4.tcp_congestion_control`)"),
    ] = Field(
        "",
        description="the congestion control algorithm for sending to this side",
    )
    notsent_lowat: Annotated[
        int,
        PlainValidator(_notsent),
        Shown("size, `4KiB` to `1GiB`", default="the machine's (`net.ipv4.tcp_notsent_lowat`, no limit)"),
    ] = Field(
        0,
        description="unsent bytes that the kernel keeps for one connection; the peer is read again when there "
        "are fewer",
    )

    @property
    def options(self) -> TcpOptions:
        """The options for workers and listeners."""
        return TcpOptions(self.congestion_control, self.notsent_lowat)


class ClientTcp(OriginTcp):
    """`tcp.client`: options of the sockets to clients.

    Fast Open is for clients only. Towards origins connect(2) would succeed without an answer of the origin: an origin
    that is down would appear to be up, and one that sends first would wait for ever (tcp(7), TCP_FASTOPEN_CONNECT).
    """

    fast_open: bool = Field(
        False,
        description="clients may send data with their SYN (RFC 7413)",
    )

    @property
    def options(self) -> TcpOptions:
        """The options for workers and listeners."""
        return TcpOptions(self.congestion_control, self.notsent_lowat, self.fast_open)


class Tcp(Strict):
    """`tcp` of an app."""

    client: ClientTcp = ClientTcp()
    origin: OriginTcp = OriginTcp()


class TcpKeysOfApp(Strict):
    """In an app."""

    tcp: Annotated[
        Tcp,
        Shown(
            "`{client: {congestion_control, notsent_lowat, fast_open}, origin: {congestion_control, notsent_lowat}}`",
            default="the machine's",
        ),
    ] = Field(
        Tcp(),
        description="TCP: settings of the kernel for sending to clients and origins, see [Far clients and far "
        "origins](far-paths.md)",
    )


def _misfits(app: "App") -> Iterator[Misfit]:
    if app.protocol.transport == "udp" and "tcp" in app.model_fields_set:
        yield ("tcp",), "it is for TCP; this app's protocol is UDP"


def _check(config: "Config", surroundings: CheckContext) -> Iterator[Fault]:
    """Yield apps that set other options of a listener than apps that share it."""
    first: dict[object, str] = {}
    for name, app in config.apps.items():
        if not app.is_named:
            continue
        other = first.setdefault((app.addresses, app.protocol, app.tproxy), name)
        if config.apps[other].tcp.client != app.tcp.client:
            message = f"differs from app {other}, which shares the listener: options apply before the app is known"
            yield Fault(("apps", name, "tcp", "client"), message)


def _compile_app(app: "App") -> Mapping[str, Any]:
    return {"client_tcp": app.tcp.client.options, "origin_tcp": app.tcp.origin.options}


TCP = Feature("tcp", check=_check, misfits=_misfits, compile_app=_compile_app)
