"""`tcp` of an app: how the kernel sends to clients and to origins, for paths that are long or lose packets."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import Feature, Misfit, Surroundings
from spectrum.core.configuration.fields import Strict, size, text
from spectrum.core.tcp_options import TcpOptions

if TYPE_CHECKING:
    from spectrum.core.configuration.config import App, Config

# TCP_CA_NAME_MAX of linux/include/net/tcp.h, less its end.
_ALGORITHM = re.compile(r"[a-z0-9_-]{1,15}")
# Below it a sender waits for its own process after each segment or two; the kernel's type is an int.
MIN_NOTSENT, MAX_NOTSENT = 4096, 2**30


def _algorithm(value: Any) -> str:
    name = text(value, "bbr")
    if not _ALGORITHM.fullmatch(name):
        raise ValueError(f"{name!r} is no algorithm; write bbr or cubic (tcp_available_congestion_control)")
    return name


def _notsent(value: Any) -> int:
    bytes_unsent = size(value)
    if not MIN_NOTSENT <= bytes_unsent <= MAX_NOTSENT:
        raise ValueError(f"{value!r}: between {MIN_NOTSENT // 1024}KiB and {MAX_NOTSENT // 2**30}GiB")
    return bytes_unsent


class OriginTcp(Strict):
    """`tcp.origin`: options of the sockets to origins."""

    congestion_control: Annotated[str, PlainValidator(_algorithm)] = ""
    notsent_lowat: Annotated[int, PlainValidator(_notsent)] = 0

    @property
    def options(self) -> TcpOptions:
        """What workers and listeners get."""
        return TcpOptions(self.congestion_control, self.notsent_lowat)


class ClientTcp(OriginTcp):
    """`tcp.client`: options of the sockets to clients.

    Fast Open is for clients only. Towards origins connect(2) would succeed before the origin was asked: an origin that
    is down would look as if it were up, and one that speaks first would wait for ever (tcp(7), TCP_FASTOPEN_CONNECT).
    """

    fast_open: bool = False

    @property
    def options(self) -> TcpOptions:
        """What workers and listeners get."""
        return TcpOptions(self.congestion_control, self.notsent_lowat, self.fast_open)


class Tcp(Strict):
    """`tcp` of an app."""

    client: ClientTcp = ClientTcp()
    origin: OriginTcp = OriginTcp()


class TcpKeysOfApp(Strict):
    """In an app."""

    tcp: Tcp = Tcp()


def _misfits(app: "App") -> Iterator[Misfit]:
    if app.protocol.transport == "udp" and "tcp" in app.model_fields_set:
        yield ("tcp",), "it is for TCP; this app's protocol is UDP"


def _check(config: "Config", surroundings: Surroundings) -> Iterator[Fault]:
    """Yield the apps that want other options of a listener than those that share it with them."""
    first: dict[object, str] = {}
    for name, app in config.apps.items():
        if not app.is_named:
            continue
        other = first.setdefault((app.addresses, app.protocol, app.tproxy), name)
        if config.apps[other].tcp.client != app.tcp.client:
            message = f"another than that of app {other}, which shares the listener: who is asked for is known later"
            yield Fault(("apps", name, "tcp", "client"), message)


def _compile_app(app: "App") -> Mapping[str, Any]:
    return {"client_tcp": app.tcp.client.options, "origin_tcp": app.tcp.origin.options}


TCP = Feature("tcp", check=_check, misfits=_misfits, compile_app=_compile_app)
