"""`api:` in the file: the addresses of the control API, and where its objects are kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator

from spectrum.core.address import SocketAddress, parse_socket_address
from spectrum.core.configuration.faults import Fault, nearest
from spectrum.core.configuration.feature import CheckContext, Feature
from spectrum.core.configuration.fields import AbsolutePath, PositiveDuration, Shown, Strict, describe, switch, text

if TYPE_CHECKING:
    from spectrum.core.configuration.config import Config

UNIX = "unix:"
# sun_path without its terminator (unix(7)).
MAX_PATH_BYTES = 107
# Maximum number of addresses: each is a socket that every process waits on.
MAX_LISTENERS = 16
DEFAULT_LISTEN = parse_socket_address("127.0.0.1:8787")


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a UNIX socket."""

    path: str

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


ApiAddress = SocketAddress | UnixAddress


def parse_api_address(given: str) -> ApiAddress:
    """Return an address and port, or the path of a UNIX socket, such as "127.0.0.1:8787" or "unix:/run/api.sock".

    Raises:
        ValueError: If it is something else.
    """
    if not given.startswith(UNIX):
        try:
            return parse_socket_address(given)
        except ValueError as exc:
            raise ValueError(f"{exc}, or unix:/run/spectrum/api.sock") from exc
    path = given.removeprefix(UNIX)
    size = len(path.encode("utf-8", "surrogateescape"))
    if not path.startswith("/") or "\0" in path or size > MAX_PATH_BYTES:
        raise ValueError(f"{describe(given)}: expected unix: and an absolute path of at most {MAX_PATH_BYTES} bytes")
    return UnixAddress(path)


def _one_or_several(value: Any) -> Any:
    if isinstance(value, list):
        if not value:
            raise ValueError("an empty list would make the API unreachable; omit listen for 127.0.0.1:8787")
        return tuple(value)
    return (value,)


class ApiRate(Strict):
    """`rate_limit` of the API: the number of requests of one token or address in a period."""

    requests: int = Field(
        1200,
        ge=1,
        le=10_000_000,
        description="requests in the period",
    )
    per_s: PositiveDuration = Field(
        300.0,
        alias="per",
        description="the period",
    )


def _endpoint(value: Any) -> str:
    given = text(value, "http://127.0.0.1:4318/v1/traces")
    found = urlsplit(given)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise ValueError(f"{given!r} is not a URL of a collector, such as http://127.0.0.1:4318/v1/traces")
    return given


class ApiTraces(Strict):
    """`traces` of the API: spans of requests, by OTLP over HTTP."""

    endpoint: Annotated[str, PlainValidator(_endpoint), Shown("URL")] = Field(
        description="the collector, by OTLP over HTTP",
    )
    sample: float = Field(
        0.01,
        ge=0,
        le=1,
        description="the share of requests that are traced if the caller does not say",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="headers of requests to the collector, such as a token",
    )


class Api(Strict):
    """`api`: the control API, in a process of its own; sessions do not depend on it."""

    listen: Annotated[
        tuple[
            Annotated[ApiAddress, PlainValidator(lambda value: parse_api_address(text(value, "127.0.0.1:8787")))], ...
        ],
        BeforeValidator(_one_or_several),
        Field(max_length=MAX_LISTENERS),
        Shown("address and port, `unix:/path`, or a list of them", default="`127.0.0.1:8787`"),
    ] = Field(
        (DEFAULT_LISTEN,),
        description="where it listens. An address that other machines can reach needs `certificate`; the "
        "socket beside the control socket is always there",
    )
    certificate: Annotated[str | None, Shown("one of [`certificates`](tls.md)")] = Field(
        None,
        description="clients on addresses and ports must then use TLS. A renewed certificate is used at once",
    )
    store: Annotated[AbsolutePath | None, Shown(default="beside the daemon's state")] = Field(
        None,
        description="the folder of the objects that the API creates. It is owned by the user of the API's process",
    )
    user: Annotated[str | None, Shown("user")] = Field(
        None,
        min_length=1,
        max_length=32,
        description="the user of the API's process if the daemon stays root, that is, without `user:` at the "
        "top of the file. One of the two is required then",
    )
    rate_limit: ApiRate = Field(
        ApiRate(),
        description="the limit per token, or per address without one; the default is Cloudflare's",
    )
    max_connections: int = Field(
        200,
        ge=1,
        le=100_000,
        description="concurrent connections of clients",
    )
    traces: Annotated[ApiTraces | None, Shown("`{endpoint, sample: 0.01, headers}`")] = Field(
        None,
        description="spans of requests: [Traces](api.md#traces)",
    )


class ApiKeys(Strict):
    """At the top of the file."""

    api: Annotated[Api | None, BeforeValidator(switch), Shown("`true`, mapping, `false`")] = Field(
        None,
        description="the control API: [The control API](api.md). With it the file needs no `apps`",
    )


def _check(config: "Config", surroundings: CheckContext) -> Iterator[Fault]:
    if config.api is None:
        return
    certificates = surroundings.names["certificates"]
    name = config.api.certificate
    if name is not None and name not in certificates:
        hint = nearest(name, list(certificates)) if certificates else "; write certificates: {NAME: ...}"
        yield Fault(("api", "certificate"), f'there is no certificate "{name}"{hint}')
    seen: list[ApiAddress] = []
    for where in config.api.listen:
        if where in seen:
            yield Fault(("api", "listen"), f"{where} is listed twice")
        elif beside := next((other for other in seen if _overlap(where, other)), None):
            yield Fault(("api", "listen"), f"{where} and {beside} overlap: one of them is enough")
        elif _is_of_metrics(where, config):
            yield Fault(("api", "listen"), f"{where} is taken by metrics")
        elif app := _taken_by(where, surroundings):
            yield Fault(("api", "listen"), f"{where} is taken by app {app}", taken_by=app)
        if isinstance(where, SocketAddress) and not where.address.is_loopback and name is None:
            yield Fault(
                ("api", "listen"),
                f"{where} is reachable from other machines and needs api.certificate, one of certificates; "
                f"without one write 127.0.0.1:{where.port} or unix:/run/spectrum/api.sock",
            )
        seen.append(where)


def _overlap(one: ApiAddress, other: ApiAddress) -> bool:
    return isinstance(one, SocketAddress) and isinstance(other, SocketAddress) and one.overlaps(other)


def _is_of_metrics(where: ApiAddress, config: "Config") -> bool:
    return isinstance(where, SocketAddress) and config.metrics is not None and config.metrics.listen.overlaps(where)


def _taken_by(where: ApiAddress, surroundings: CheckContext) -> str:
    """Return the app that listens there; empty without one. UNIX sockets: `control.unix_sockets`."""
    return "" if isinstance(where, UnixAddress) else surroundings.index.taken_by("tcp", where) or ""


API = Feature("api", check=_check)
