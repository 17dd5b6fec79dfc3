"""Status and metrics of names."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from spectrum.control.names.name_watch import NameReading, WatchedName


def names_status(names: "list[WatchedName]") -> list[dict[str, Any]]:
    """Return the status of every name that is looked up."""
    return [
        {
            "name": watched.name,
            "type": watched.type or "any",
            # stale: the last look-up failed, the addresses are of an earlier one.
            "state": _name_state(watched),
            "reason": watched.failure or None,
            "age_s": None if watched.age_s is None else round(watched.age_s, 1),
            "addresses": list(watched.addresses),
        }
        for watched in names
    ]


def _name_state(watched: "WatchedName") -> str:
    if not watched.result:
        return "unknown"
    if not watched.failure:
        return "answered"
    return "stale" if watched.addresses else "failed"


def name_metrics(names: "tuple[NameReading, ...]") -> Iterator[Metric]:
    """Yield the metrics of names."""
    labels = ["name", "type"]
    addresses = GaugeMetricFamily("spectrum_name_addresses", "Addresses of the last good answer", labels=labels)
    age = GaugeMetricFamily("spectrum_name_age_seconds", "Time since the last good answer", labels=labels)
    lookups = CounterMetricFamily("spectrum_name_lookups", "Look-ups that ended", labels=[*labels, "result"])
    for name in names:
        key = [name.name, name.type or "any"]
        addresses.add_metric(key, name.addresses)
        if name.age_s is not None:
            age.add_metric(key, name.age_s)
        for result, count in sorted(name.results.items()):
            lookups.add_metric([*key, result], count)
    yield from (addresses, age, lookups)
