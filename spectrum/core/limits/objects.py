"""Limits in the file, top-level and in apps."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, field_validator

from spectrum.core.configuration.fields import Shown, Size, Strict, size
from spectrum.core.limits.rules import Limits, Paces

MAX_LIMIT = 1_000_000_000
# Below it a datagram of the usual size takes more than a second's worth.
MIN_BYTES_PER_SECOND = 2_000
# Buffered data for slow receivers, for all workers together.
MIN_MEMORY = 2**20


def _pace(value: Any) -> int:
    pace: int = size(value)
    if pace < MIN_BYTES_PER_SECOND:
        raise ValueError(f"{value!r}: at least {MIN_BYTES_PER_SECOND} bytes per second")
    return pace


Pace = Annotated[int, PlainValidator(_pace)]
OpenSessions = Annotated[
    int | None, Field(ge=1, le=MAX_LIMIT, description="maximum of TCP sessions open at the same time")
]
OpenFlows = Annotated[int | None, Field(ge=1, le=MAX_LIMIT, description="maximum of UDP flows open at the same time")]


class ClientCounts(Strict):
    """Top-level `limits.client`: open sessions and new ones per second of a client, by its prefix."""

    sessions: OpenSessions = None
    flows: OpenFlows = None
    new_per_second: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="new sessions or flows per second, with a burst of one second's worth",
    )


class ClientLimits(ClientCounts):
    """`limits.client` of an app: also bytes or datagrams per second."""

    bytes_per_second: Pace | None = Field(
        None,
        description="bytes per second in each direction",
    )
    datagrams_per_second: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="UDP: datagrams per second from clients; excess ones are dropped (`rate`)",
    )


class Counts(Strict):
    """Open sessions and new ones per second. TCP counts sessions, UDP flows."""

    sessions: OpenSessions = None
    flows: OpenFlows = None
    new_per_second: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="new sessions or flows per second, with a burst of one second's worth; at the top level "
        "for TCP and UDP separately",
    )
    client: Annotated[ClientCounts, Shown(default="none")] = Field(
        ClientCounts(),
        description="the same for each client: all addresses with the same first `client_prefix` bits. Behind "
        "`accept_proxy_protocol` the client is the one that the header names",
    )
    prefix: Annotated[ClientCounts, Shown(default="none")] = Field(
        ClientCounts(),
        description="the same for all clients together whose addresses have the same first `prefix_length` bits",
    )
    action: Literal["refuse", "delay"] = Field(
        "refuse",
        description="TCP: new sessions above `new_per_second` are reset, or delayed for at most five seconds; "
        "a session that would wait longer is reset",
    )

    def for_transport(self, transport: str) -> Limits:
        """Return the limits for sessions of "tcp", or for flows of "udp"."""
        tcp, client, prefix = transport == "tcp", self.client, self.prefix
        return Limits(
            sessions=(self.sessions if tcp else self.flows) or 0,
            new_per_second=self.new_per_second or 0,
            client_sessions=(client.sessions if tcp else client.flows) or 0,
            client_new_per_second=client.new_per_second or 0,
            prefix_sessions=(prefix.sessions if tcp else prefix.flows) or 0,
            prefix_new_per_second=prefix.new_per_second or 0,
            delays=tcp and self.action == "delay",
        )


class AppLimits(Counts):
    """`limits` of an app: also bytes or datagrams per second, in each direction."""

    client: Annotated[ClientLimits, Shown(default="none")] = Field(
        ClientLimits(),
        description="the same for each client: all addresses with the same first `limits.client_prefix` bits "
        "of the top level. Behind `accept_proxy_protocol` the client is the one that the header "
        "names",
    )
    prefix: Annotated[ClientLimits, Shown(default="none")] = Field(
        ClientLimits(),
        description="the same for all clients together whose addresses have the same first "
        "`limits.prefix_length` bits of the top level",
    )
    bytes_per_second: Pace | None = Field(
        None,
        description="bytes per second in each direction, for the app as a whole. TCP sessions are read more "
        "slowly, so that their senders wait; excess UDP datagrams are dropped (`rate`)",
    )
    datagrams_per_second: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="UDP: datagrams per second from clients; excess ones are dropped (`rate`)",
    )

    @property
    def paces(self) -> Paces:
        """The rates of bytes and datagrams."""
        of = (self, self.client, self.prefix)
        return Paces(
            *(limits.bytes_per_second or 0 for limits in of), *(limits.datagrams_per_second or 0 for limits in of)
        )


class ClientPrefix(Strict):
    """`limits.client_prefix`: the prefix length of one client. IPv6 hosts have at least a /64 (RFC 6177)."""

    ipv4: int = Field(
        32,
        ge=8,
        le=32,
        description="bits of IPv4 addresses",
    )
    ipv6: int = Field(
        64,
        ge=16,
        le=128,
        description="bits of IPv6 addresses; hosts have at least a /64 (RFC 6177)",
    )


class Prefix(Strict):
    """`limits.prefix_length`: the prefix length for `limits.prefix`. A site has a /48 (RFC 6177)."""

    ipv4: int = Field(
        24,
        ge=8,
        le=32,
        description="bits of IPv4 addresses",
    )
    ipv6: int = Field(
        48,
        ge=16,
        le=128,
        description="bits of IPv6 addresses; a site has a /48 (RFC 6177)",
    )


class NodeLimits(Counts):
    """`limits`: the same for all apps together; `new_per_second` for TCP and UDP each."""

    memory: Annotated[Size, Shown("size, at least `1MiB`")] = Field(
        512 * 2**20,
        description="memory that buffers data for slow receivers, over all sessions. Above it the sessions "
        "with the most buffered data are reset (`memory_limit`)",
    )
    client_prefix: ClientPrefix = Field(
        ClientPrefix(),
        description="the length of the prefix that counts as one client",
    )
    prefix_length: Prefix = Field(
        Prefix(),
        description="the length of the prefixes of `prefix`",
    )

    @field_validator("memory")
    @classmethod
    def _holds_a_read_per_worker(cls, value: int) -> int:
        if value < MIN_MEMORY:
            raise ValueError(f"at least {MIN_MEMORY // 2**20}MiB: one read is half of one")
        return value


class LimitKeys(Strict):
    """At the top of the file."""

    limits: Annotated[NodeLimits, Shown("mapping", default="none; `memory` 512MiB")] = Field(
        NodeLimits(),
        description="limits for all apps together: see [Limits](configuration.md#limits)",
    )


class LimitKeysOfApp(Strict):
    """In an app."""

    limits: Annotated[AppLimits, Shown("mapping", default="none")] = Field(
        AppLimits(),
        description="see [Limits](configuration.md#limits)",
    )
