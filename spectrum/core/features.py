"""The features of the file, each registered once: reading, checks and compilation follow from this list. Their actors
in a daemon are in `control/features.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from spectrum.core.access.checks import ACCESS
from spectrum.core.access.rules import AccessSettings
from spectrum.core.analytics.section import ANALYTICS
from spectrum.core.api import API
from spectrum.core.balancing.checks import BALANCING
from spectrum.core.balancing.settings import labels
from spectrum.core.bindings import BINDINGS
from spectrum.core.configuration.apps import APPS
from spectrum.core.configuration.checks import ListenerIndex
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import CheckContext, Names
from spectrum.core.ddos.checks import DDOS
from spectrum.core.dns_records import DNS
from spectrum.core.filter import FILTER
from spectrum.core.flow_programs.checks import FLOW_PROGRAMS
from spectrum.core.limits.checks import LIMITS
from spectrum.core.numbers import Numbers
from spectrum.core.offload import OFFLOAD
from spectrum.core.origins import ORIGINS, place_labels
from spectrum.core.records.objects import RECORDS
from spectrum.core.snapshot import MAX_NUMBERS, AppSettings, Snapshot
from spectrum.core.tcp import TCP
from spectrum.core.tcp_protection.checks import TCP_PROTECTION
from spectrum.core.tenants.checks import TENANTS
from spectrum.core.tls.checks import TLS
from spectrum.core.tls.settings import TlsFiles
from spectrum.core.tproxy import TPROXY
from spectrum.wire.address import IPAddress

# The order in which changes of their objects are listed.
FEATURES = (
    TENANTS,
    ACCESS,
    TLS,
    BALANCING,
    APPS,
    ORIGINS,
    TCP,
    TPROXY,
    BINDINGS,
    LIMITS,
    RECORDS,
    FILTER,
    DDOS,
    TCP_PROTECTION,
    FLOW_PROGRAMS,
    OFFLOAD,
    DNS,
    API,
    ANALYTICS,
)
SECTIONS = tuple(section for feature in FEATURES for section in feature.sections)
# Settings that require a restart.
FIXED = tuple(path for feature in FEATURES for path in feature.fixed)


def check(
    config: Config, names: Names, local: Iterable[IPAddress] = (), whole: Config | None = None
) -> Iterator[Fault]:
    """Yield the conflicts in a file.

    Args:
        config: The well-formed objects, or some of them (`Fitting`).
        names: All names of each section.
        local: The addresses of this machine, to detect a loop through a wildcard listener.
        whole: All well-formed objects; None if `config` has all.
    """
    surroundings = CheckContext(names, ListenerIndex(config.apps, local), whole or config)
    for feature in FEATURES:
        yield from feature.check(config, surroundings)
    if whole is None and (message := too_many(config)):
        yield Fault(("pools",) if config.pools else ("apps",), message)
    for name, app in config.apps.items():
        for feature in FEATURES:
            for path, message in feature.misfits(app):
                yield Fault(("apps", name, *path), message)


def idle(config: Config) -> list[str]:
    """Return warnings about settings of a file without effect."""
    return [line for feature in FEATURES for line in feature.idle(config)]


def number_labels(config: Config) -> list[str]:
    """Return the labels of everything in a file that needs a number in shared counters."""
    return [*labels(config.pools), *place_labels(config.apps)]


def too_many(config: Config) -> str:
    """Return that a file has more origins than shared counters have numbers; empty if it does not."""
    count = len(set(number_labels(config)))
    what = "pools, origins in pools, and origins of apps with origin_max_sessions"
    return f"{count} {what}; at most {MAX_NUMBERS}" if count > MAX_NUMBERS else ""


def compile_app(name: str, app: App) -> AppSettings:
    """Return the settings of an app."""
    fields: dict[str, Any] = {}
    for feature in FEATURES:
        fields.update(feature.compile_app(app))
    return AppSettings(name=name, **fields)


def compile_apps(config: Config) -> tuple[AppSettings, ...]:
    """Return the settings of all apps, in their order."""
    return tuple(compile_app(name, app) for name, app in config.apps.items())


def compile_snapshot(
    config: Config,
    generation: int,
    numbers: Mapping[str, int] | None = None,
    access: AccessSettings = AccessSettings(),  # noqa: B008 - it is frozen
    tls: TlsFiles = TlsFiles(),  # noqa: B008
    compile_all: Callable[[Config], tuple[AppSettings, ...]] = compile_apps,
) -> Snapshot:
    """Return the snapshot of a checked configuration.

    Args:
        config: The configuration.
        generation: Its generation.
        numbers: Those of `number_labels`.
        access: The compiled `access_rules`.
        tls: The contents of the TLS files.
        compile_all: `compile_apps`, or a function that caches its results.
    """
    if numbers is None:
        numbers = Numbers(MAX_NUMBERS).plan(number_labels(config))
    fields: dict[str, Any] = {}
    for feature in FEATURES:
        fields.update(feature.compile(config, numbers))
    return Snapshot(generation=generation, apps=compile_all(config), access=access, tls=tls, **fields)
