"""Keys of Cloudflare's objects that have no meaning here, or only one possible value. Its clients (of the API,
Terraform) send them and expect them back, so the file accepts them. A value that requests other behaviour is a fault,
so that no setting is ignored silently. Settings of Cloudflare's DNS answers and cookies are accepted with any value:
layer 4 has neither.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from spectrum.core.configuration.fields import AsTuple, Strict, describe


def _only(expected: Any, why: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value != expected or type(value) is not type(expected):
            raise ValueError(f"expected {describe(expected)}, found {describe(value)}: {why}")
        return value

    return BeforeValidator(check)


class CloudflareKeysOfApp(Strict):
    """In an app."""

    traffic_type: Annotated[str, _only("direct", "bytes are not changed on the way to the origin")] = "direct"
    argo_smart_routing: Annotated[bool, _only(False, "no other routes exist")] = False


class NotificationsOf(Strict):
    """`notification_filter` of a pool, for the pool or for its origins."""

    disable: bool = False
    healthy: bool | None = None


class NotificationFilter(Strict):
    """`notification_filter` of a pool."""

    origin: NotificationsOf | None = None
    pool: NotificationsOf | None = None


CheckRegion = Literal[
    "WNAM", "ENAM", "WEU", "EEU", "NSAM", "SSAM", "OC", "ME", "NAF", "SAF", "SAS", "SEAS", "NEAS", "ALL_REGIONS"
]
Networks = Annotated[tuple[Annotated[str, _only("cloudflare", "there are no others")], ...], AsTuple]


class CloudflareKeysOfPool(Strict):
    """In a pool. Origins are probed from the daemon, whatever `check_regions` says."""

    check_regions: Annotated[tuple[CheckRegion, ...] | None, AsTuple] = None
    notification_email: Annotated[str, _only("", "no mail is sent")] = ""
    notification_filter: NotificationFilter = NotificationFilter()
    networks: Networks = ()


class CloudflareKeysOfOrigin(Strict):
    """In an origin of a pool."""

    flatten_cname: Annotated[bool, _only(True, "names are always resolved to addresses")] = True


class CloudflareKeysOfMonitor(Strict):
    """In a monitor."""

    probe_zone: Annotated[str, _only("", "probes are sent to the origin directly")] = ""


class CloudflareKeysOfCertificate(Strict):
    """In a certificate: the chain is served unchanged, and each app defines the certificate for clients without SNI."""

    bundle_method: Literal["ubiquitous", "optimal", "force"] = "ubiquitous"
    type: Literal["legacy_custom", "sni_custom"] = "legacy_custom"


class LocationStrategy(Strict):
    """`location_strategy` of a load balancer: for answers of Cloudflare's DNS."""

    mode: Literal["pop", "resolver_ip"] = "pop"
    prefer_ecs: Literal["always", "never", "proximity", "geo"] = "proximity"


class CloudflareKeysOfAffinity(Strict):
    """In `session_affinity_attributes`: settings of cookies or headers."""

    samesite: Literal["Auto", "Lax", "None", "Strict"] = "Auto"
    secure: Literal["Auto", "Always", "Never"] = "Auto"
    headers: Annotated[tuple[str, ...], AsTuple] = Field((), max_length=0)
    require_all_headers: bool = False


class CloudflareKeysOfBalancer(Strict):
    """In a load balancer."""

    proxied: bool = False
    # Time to live of the DNS name, in seconds.
    ttl: float | None = Field(None, ge=0)
    networks: Networks = ()
    location_strategy: LocationStrategy = LocationStrategy()
    rules: Annotated[tuple[str, ...], AsTuple] = Field((), max_length=0)
