"""Advanced TCP protection of this node: the kernel's filter gets the policies of the configuration."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from spectrum.control.filter.tables import FilterTablesActor
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.config import Config
from spectrum.core.tcp_protection.checks import SECTIONS
from spectrum.core.tcp_protection.objects import BURSTS, RATES
from spectrum.core.tcp_protection.policies import COMPONENTS, compile_policies, is_enabled, rule_of
from spectrum.kernel.filter.names import TCP_REASONS, TCP_RESULTS
from spectrum.kernel.filter.tcp_protection import TcpPolicies, pack_policies
from spectrum.link.helper import Done, SetTcpProtection

_KEYS = frozenset(section.key for section in SECTIONS)
# The metric's values by mode.
_MODES = ("disabled", "monitoring", "enabled")


class TcpProtectionActor(FilterTablesActor[TcpPolicies]):
    """TCP protection as a configuration says.

    Args:
        helper: Changes the kernel's tables.
        counts: What the filter counts.
    """

    what = "TCP protection"
    keys = _KEYS

    def __init__(self, helper: Helper, counts: KernelCounts) -> None:
        super().__init__()
        self._helper = helper
        self._counts = counts

    def _wanted(self, config: Config) -> TcpPolicies:
        return pack_policies(compile_policies(config))

    def _give(self, wanted: TcpPolicies) -> None:
        self._helper.ensure(SetTcpProtection(wanted), Done)

    async def metrics(self) -> Iterable[Metric]:
        """Return the mode of each component. Its packets are among those of the filter."""
        if not _is_said(self._config):
            return ()
        family = GaugeMetricFamily(
            "spectrum_tcp_protection_mode",
            "Mode of a component of TCP protection: 0 disabled, 1 monitoring, 2 enabled",
            labels=["component"],
        )
        for component in COMPONENTS:
            family.add_metric([component], _MODES.index(_mode(self._config, component)))
        return (family,)

    def resources(self) -> Iterable[Resource]:
        """GET /tcp-protection."""
        return (Resource("GET", "/tcp-protection", self._shown),)

    async def _shown(self, asked: ResourceRequest) -> dict[str, Any]:
        config = self._config
        counted = await self._counts.read() if config.filter is not None else {}
        return {
            "enabled": is_enabled(config) and config.filter is not None,
            "components": {component: _component(config, component) for component in COMPONENTS},
            "prefixes": [{"prefix": str(one.prefix), "excluded": one.excluded} for one in config.tcp_prefixes.values()],
            "allowlist": [str(one.prefix) for one in config.tcp_allowlist.values() if one.enabled],
            "packets": packets_by_reason(counted),
        }


def packets_by_reason(counted: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
    """Return the packets of each reason, by outcome: dropped, monitored, passed."""
    return {
        reason: {result.removeprefix("tcp_"): counted.get(f"{result} {reason}", (0, 0))[0] for result in TCP_RESULTS}
        for reason in TCP_REASONS
    }


def _is_said(config: Config) -> bool:
    return any(getattr(config, key) for key in _KEYS)


def _mode(config: Config, component: Any) -> str:
    found = rule_of(config, component)
    return found[1].mode if found is not None and is_enabled(config) and config.filter is not None else "disabled"


def _component(config: Config, component: Any) -> dict[str, Any]:
    filters = [one.mode for one in config.tcp_filters.values() if one.component == component]
    shown: dict[str, Any] = {
        "mode": _mode(config, component),
        "filters": {mode: filters.count(mode) for mode in _MODES if mode in filters},
    }
    if (found := rule_of(config, component)) is not None:
        name, rule = found
        rate = RATES[rule.rate_sensitivity]
        shown |= {
            "rule": name,
            "scope": rule.scope,
            "place": rule.place,
            "packets_per_second": rate,
            "burst": round(rate * BURSTS[rule.burst_sensitivity]),
        }
        if component == "syn_protection":
            shown["mitigation_type"] = rule.mitigation_type or "challenge"
    return shown
