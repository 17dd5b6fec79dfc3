"""A pool with the current health of its origins, and the pickers for it."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import msgspec

from spectrum.core.balancing.overrides import Out
from spectrum.core.balancing.pickers import HashPicker, LeastPicker, Load, Picker, RandomPicker
from spectrum.core.balancing.rendezvous import Rendezvous
from spectrum.core.balancing.settings import OriginSettings, PoolSettings

# Initial share of slow start; Envoy's min_weight_percent.
SLOW_START_FLOOR = 0.1


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """Whether an origin can be used, according to its monitor and to clients' results.

    Attributes:
        usable: It is healthy, or has no monitor, and is not ejected.
        since: When it became usable after it was not (monotonic seconds); 0 if it always was.
        out: How an operator took it out of service, which has precedence; it is not usable then.
        weight: The weight set by an operator; None for the file's.
    """

    usable: bool
    since: float = 0.0
    out: Out = ""
    weight: float | None = None


def weight_of(origin: OriginSettings, standings: Mapping[int, Standing]) -> float:
    """Return an origin's weight: the one set by an operator, or that of the file."""
    standing = standings.get(origin.number)
    return origin.weight if standing is None or standing.weight is None else standing.weight


class PoolView:
    """A pool at one moment.

    Args:
        settings: The pool.
        standings: The standings by number; an origin without one is unknown, which counts as down if it has a monitor.
        now: Monotonic seconds, for slow start.
        before: An earlier view of the same settings.

    Attributes:
        up: Number of enabled origins that can be used, including those with weight 0.
        weights: The weights of all origins, in their order: those of the file, or of an operator.
        usable: The numbers of those that clients are sent to.
        healthy: Whether enough origins are up, and at least one takes clients.
        ramping: Whether shares still grow, so that the view must be renewed each second.
    """

    def __init__(
        self,
        settings: PoolSettings,
        standings: Mapping[int, Standing],
        now: float,
        before: "PoolView | None" = None,
    ) -> None:
        self.settings = settings
        self.ramping = False
        self.weights = tuple(weight_of(origin, standings) for origin in settings.origins)
        self._rendezvous = before.known_rendezvous if before and before.weights == self.weights else None
        self._out: set[int] = set()
        origins, weights, up = [], [], 0
        for origin, weight in zip(settings.origins, self.weights, strict=True):
            standing = standings.get(origin.number)
            if standing and standing.out:
                self._out.add(origin.number)
            if not origin.enabled or not (standing.usable if standing else not settings.monitored):
                continue
            up += 1
            if weight > 0:
                origins.append(origin)
                weights.append(weight * self._ramp(standing, now))
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
    def _bounded(self) -> list[OriginSettings]:
        return [origin for origin in self.settings.origins if origin.max_sessions]

    def full(self, load: Load) -> set[int]:
        """Return the numbers of origins that have reached `max_sessions`."""
        return {origin.number for origin in self._bounded if load.open(origin.number) >= origin.max_sessions}

    @cached_property
    def rendezvous(self) -> Rendezvous:
        """The hash space of all origins that are enabled and have a weight."""
        weighed = zip(self.settings.origins, self.weights, strict=True)
        members = [(origin.name, weight if origin.enabled else 0.0) for origin, weight in weighed]
        return self._rendezvous or Rendezvous(members)

    @property
    def known_rendezvous(self) -> Rendezvous | None:
        """The same, if it has been computed."""
        return self.__dict__.get("rendezvous") or self._rendezvous

    @cached_property
    def picker(self) -> Picker:
        """The picker of the pool's policy. There must be a usable origin."""
        return self._picker(self._origins, self._weights)

    @cached_property
    def stable_picker(self) -> Picker:
        """A picker that replaces random choices by the client's hash."""
        return self._by_hash(self.usable) if self.settings.policy == "random" else self.picker

    @cached_property
    def regardless(self) -> Picker | None:
        """The picker of a fallback pool: among all enabled origins, whatever their health; None without any."""
        return self.regardless_without(())

    def regardless_without(self, tried: Collection[int]) -> Picker | None:
        """Return the same picker without the numbers `tried`."""
        left = [pair for pair in self._enabled if pair[0].number not in tried]
        return self._picker([origin for origin, _ in left], [weight or 1.0 for _, weight in left]) if left else None

    @cached_property
    def _enabled(self) -> list[tuple[OriginSettings, float]]:
        """The origins that a fallback pool uses, with their weights: those above 0, if there are any."""
        weighed = zip(self.settings.origins, self.weights, strict=True) if self.settings.enabled else ()
        enabled = [pair for pair in weighed if pair[0].enabled and pair[0].number not in self._out]
        return [pair for pair in enabled if pair[1] > 0] or enabled

    @property
    def candidates(self) -> int:
        """The number of origins that a fallback pool uses."""
        return len(self._enabled)

    def without(self, tried: Collection[int]) -> Picker | None:
        """Return a picker without the numbers `tried`; None if no usable origin is left."""
        left = [pair for pair in zip(self._origins, self._weights, strict=True) if pair[0].number not in tried]
        return self._picker([origin for origin, _ in left], [weight for _, weight in left]) if left else None

    def _picker(self, origins: Sequence[OriginSettings], weights: Sequence[float]) -> Picker:
        if self.settings.policy == "hash" and any(self._weight_of[origin.number] for origin in origins):
            return self._by_hash({origin.number for origin in origins})
        if self.settings.policy.startswith("least"):
            return LeastPicker(self.settings.policy, origins, weights)
        return RandomPicker(origins, weights)

    @cached_property
    def _weight_of(self) -> dict[int, float]:
        return {origin.number: weight for origin, weight in zip(self.settings.origins, self.weights, strict=True)}

    def _by_hash(self, usable: Collection[int]) -> Picker:
        origins = self.settings.origins
        return HashPicker(self.rendezvous, origins, [origin.number in usable for origin in origins])

    def shares(self) -> dict[int, float]:
        """Return the current share of each usable origin, by number; they add up to 1."""
        total = sum(self._weights)
        return {origin.number: weight / total for origin, weight in zip(self._origins, self._weights, strict=True)}
