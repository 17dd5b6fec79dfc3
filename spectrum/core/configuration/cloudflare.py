"""Keys of Cloudflare's objects that have no meaning here, or only one possible value. Its clients (of the API,
Terraform) send them and expect them back, so the file accepts them. A value that requests other behaviour is a fault,
so that no setting is ignored silently. Settings of Cloudflare's DNS answers and cookies are accepted with any value:
layer 4 has neither.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from spectrum.core.configuration.fields import AsTuple, Shown, Strict, describe


def _only(expected: Any, why: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value != expected or type(value) is not type(expected):
            raise ValueError(f"expected {describe(expected)}, found {describe(value)}: {why}")
        return value

    return BeforeValidator(check)


class CloudflareKeysOfApp(Strict):
    """In an app."""

    traffic_type: Annotated[
        str, _only("direct", "bytes are not changed on the way to the origin"), Shown("`direct`")
    ] = Field(
        "direct",
        description="bytes are forwarded unchanged",
    )
    argo_smart_routing: Annotated[bool, _only(False, "no other routes exist"), Shown("`false`")] = Field(
        False,
        description="no other routes exist",
    )


class NotificationsOf(Strict):
    """`notification_filter` of a pool, for the pool or for its origins."""

    disable: bool = Field(
        False,
        description="no effect",
    )
    healthy: bool | None = Field(
        None,
        description="no effect",
    )


class NotificationFilter(Strict):
    """`notification_filter` of a pool."""

    origin: Annotated[NotificationsOf | None, Shown("`{disable, healthy}`")] = Field(
        None,
        description="no effect",
    )
    pool: Annotated[NotificationsOf | None, Shown("`{disable, healthy}`")] = Field(
        None,
        description="no effect",
    )


CheckRegion = Literal[
    "WNAM", "ENAM", "WEU", "EEU", "NSAM", "SSAM", "OC", "ME", "NAF", "SAF", "SAS", "SEAS", "NEAS", "ALL_REGIONS"
]
Networks = Annotated[tuple[Annotated[str, _only("cloudflare", "there are no others")], ...], AsTuple]


class CloudflareKeysOfPool(Strict):
    """In a pool. Origins are probed from the daemon, whatever `check_regions` says."""

    check_regions: Annotated[tuple[CheckRegion, ...] | None, AsTuple, Shown("list of regions, `ALL_REGIONS`")] = Field(
        None,
        description="none: origins are probed from the daemon's location",
    )
    notification_email: Annotated[str, _only("", "no mail is sent"), Shown('`""`')] = Field(
        "",
        description="no mail is sent",
    )
    notification_filter: Annotated[
        NotificationFilter, Shown("`{origin, pool: {disable, healthy}}`", default="none")
    ] = Field(
        NotificationFilter(),
        description="none",
    )
    networks: Annotated[Networks, Shown("`[cloudflare]`")] = Field(
        (),
        description="none",
    )


class CloudflareKeysOfOrigin(Strict):
    """In an origin of a pool."""

    flatten_cname: Annotated[bool, _only(True, "names are always resolved to addresses"), Shown("`true`")] = Field(
        True,
        description="names are always resolved to addresses",
    )


class CloudflareKeysOfMonitor(Strict):
    """In a monitor."""

    probe_zone: Annotated[str, _only("", "probes are sent to the origin directly"), Shown('`""`')] = Field(
        "",
        description="probes are sent to the origin directly",
    )


class CloudflareKeysOfCertificate(Strict):
    """In a certificate: the chain is served unchanged, and each app defines the certificate for clients without SNI."""

    bundle_method: Literal["ubiquitous", "optimal", "force"] = Field(
        "ubiquitous",
        description="none: the chain is served as it was sent",
    )
    type: Literal["legacy_custom", "sni_custom"] = Field(
        "legacy_custom",
        description="none: the app determines the certificate for clients that send no server name",
    )


class LocationStrategy(Strict):
    """`location_strategy` of a load balancer: for answers of Cloudflare's DNS."""

    mode: Literal["pop", "resolver_ip"] = Field(
        "pop",
        description="no effect",
    )
    prefer_ecs: Literal["always", "never", "proximity", "geo"] = Field(
        "proximity",
        description="no effect",
    )


class CloudflareKeysOfAffinity(Strict):
    """In `session_affinity_attributes`: settings of cookies or headers."""

    samesite: Literal["Auto", "Lax", "None", "Strict"] = Field(
        "Auto",
        description="none: there are no cookies",
    )
    secure: Literal["Auto", "Always", "Never"] = Field(
        "Auto",
        description="none: there are no cookies",
    )
    headers: Annotated[tuple[str, ...], AsTuple, Shown("`[]`")] = Field(
        (),
        max_length=0,
        description="none",
    )
    require_all_headers: bool = Field(
        False,
        description="none: there are no headers",
    )


class CloudflareKeysOfBalancer(Strict):
    """In a load balancer."""

    proxied: bool = Field(
        False,
        description="none: it concerns Cloudflare's DNS answers",
    )
    ttl: Annotated[float | None, Shown("seconds")] = Field(
        None,
        ge=0,
        description="none: it concerns Cloudflare's DNS answers",
    )
    networks: Annotated[Networks, Shown("`[cloudflare]`")] = Field(
        (),
        description="none",
    )
    location_strategy: LocationStrategy = Field(
        LocationStrategy(),
        description="none: it concerns Cloudflare's DNS answers",
    )
    rules: Annotated[tuple[str, ...], AsTuple, Shown("`[]`")] = Field(
        (),
        max_length=0,
        description="there are none",
    )
