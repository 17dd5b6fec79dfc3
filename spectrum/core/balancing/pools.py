"""A pool as it can be used now: its origins' health in, who can be picked out."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import msgspec

from spectrum.core.balancing.pickers import HashPicker, LeastPicker, Picker, RandomPicker
from spectrum.core.balancing.rendezvous import Rendezvous
from spectrum.core.balancing.settings import OriginSettings, PoolSettings

# With slow start a share grows from this; Envoy's min_weight_percent.
SLOW_START_FLOOR = 0.1


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """Whether an origin can be used, by its monitor and by what clients met there.

    Attributes:
        usable: It is healthy, as far as anybody looks, and not ejected.
        since: When it became usable after it was not (monotonic seconds); 0 when it always was.
    """

    usable: bool
    since: float = 0.0


class PoolView:
    """One pool at one moment.

    Args:
        settings: The pool.
        standings: By number; an origin that is not there is unknown, which is down where it is monitored.
        now: Monotonic seconds, for slow start.
        rendezvous: The one of a view of the same settings before.

    Attributes:
        up: How many enabled origins can be used, those with weight 0 included.
        usable: The numbers of those that clients are sent to.
        healthy: Enough origins are up, and there is one to send clients to.
        ramping: Shares still grow; a view of a second later is another one.
    """

    def __init__(
        self,
        settings: PoolSettings,
        standings: Mapping[int, Standing],
        now: float,
        rendezvous: Rendezvous | None = None,
    ) -> None:
        self.settings = settings
        self.ramping = False
        self._rendezvous = rendezvous
        origins, weights, up = [], [], 0
        for origin in settings.origins:
            standing = standings.get(origin.number)
            if not origin.enabled or not (standing.usable if standing else not settings.monitored):
                continue
            up += 1
            if origin.weight > 0:
                origins.append(origin)
                weights.append(origin.weight * self._ramp(standing, now))
        self.up = up
        self.usable = frozenset(origin.number for origin in origins)
        self.healthy = settings.enabled and up >= settings.minimum_origins and bool(origins)
        self._origins, self._weights = tuple(origins), weights

    def _ramp(self, standing: Standing | None, now: float) -> float:
        window_s = self.settings.slow_start_s
        if not window_s or standing is None or not standing.since or now >= standing.since + window_s:
            return 1.0
        self.ramping = True
        return max(SLOW_START_FLOOR, (now - standing.since) / window_s)

    @cached_property
    def rendezvous(self) -> Rendezvous:
        """The keys' home among all origins that are enabled and have a weight."""
        members = [(origin.name, origin.weight if origin.enabled else 0.0) for origin in self.settings.origins]
        return self._rendezvous or Rendezvous(members)

    @property
    def known_rendezvous(self) -> Rendezvous | None:
        """The same, if anybody needed it so far."""
        return self.__dict__.get("rendezvous") or self._rendezvous

    @cached_property
    def picker(self) -> Picker:
        """Picks as the pool's policy says. There must be a usable origin."""
        return self._picker(self._origins, self._weights)

    @cached_property
    def stable_picker(self) -> Picker:
        """Picks likewise, but what chance would decide is decided by who the client is."""
        return self._by_hash(self.usable) if self.settings.policy == "random" else self.picker

    @cached_property
    def regardless(self) -> Picker | None:
        """Picks among all that are enabled, whatever their health, as a fallback pool does; None where none is."""
        return self.regardless_without(())

    def regardless_without(self, tried: Collection[int]) -> Picker | None:
        """Return the same without the numbers `tried`."""
        origins = [origin for origin in self._enabled if origin.number not in tried]
        return self._picker(origins, [origin.weight or 1.0 for origin in origins]) if origins else None

    @cached_property
    def _enabled(self) -> list[OriginSettings]:
        """Those that a fallback pool uses: with a weight, if any has one."""
        enabled = [origin for origin in self.settings.origins if origin.enabled] if self.settings.enabled else []
        return [origin for origin in enabled if origin.weight > 0] or enabled

    @property
    def candidates(self) -> int:
        """How many origins a fallback pool has."""
        return len(self._enabled)

    def without(self, tried: Collection[int]) -> Picker | None:
        """Return a picker that leaves out the numbers `tried`; None where no usable origin is left."""
        left = [pair for pair in zip(self._origins, self._weights, strict=True) if pair[0].number not in tried]
        return self._picker([origin for origin, _ in left], [weight for _, weight in left]) if left else None

    def _picker(self, origins: Sequence[OriginSettings], weights: Sequence[float]) -> Picker:
        if self.settings.policy == "hash" and any(origin.weight for origin in origins):
            return self._by_hash({origin.number for origin in origins})
        if self.settings.policy.startswith("least"):
            return LeastPicker(self.settings.policy, origins, weights)
        return RandomPicker(origins, weights)

    def _by_hash(self, usable: Collection[int]) -> Picker:
        origins = self.settings.origins
        return HashPicker(self.rendezvous, origins, [origin.number in usable for origin in origins])

    def shares(self) -> dict[int, float]:
        """Return the present share of each usable origin, by number; they add up to 1."""
        total = sum(self._weights)
        return {origin.number: weight / total for origin, weight in zip(self._origins, self._weights, strict=True)}
