"""`ddos` in the file: detection of attacks in samples of packets, and mitigation by rules."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spectrum.core.configuration.fields import AbsolutePath, AsTuple, Network, PositiveDuration, Strict, switch
from spectrum.core.ddos.managed import Sensitivity
from spectrum.core.ddos.overrides import OverrideAction, Setting
from spectrum.core.ddos.sampling import MAX_SAMPLES, MIN_SAMPLES


class Ddos(Strict):
    """`ddos`: detection of attacks, in a process of its own."""

    # Settings without a matching override of `rulesets`: None is the default of each managed rule.
    sensitivity_level: Sensitivity | None = None
    action: OverrideAction | None = None
    # Maximum number of samples per second; rates are estimated from them.
    samples_per_second: int = Field(8_000, ge=MIN_SAMPLES, le=MAX_SAMPLES)
    # For this time, rules about a new app only count.
    learning_s: PositiveDuration = Field(86_400.0, alias="learning_time")
    # How long a rule stays after few packets match it; for an attack that recurs, 5 and 30 times as long.
    expiry_s: PositiveDuration = Field(60.0, alias="expire_after")
    # Without `filter`: packets from or to these prefixes are never dropped.
    guard: Annotated[tuple[Network, ...], AsTuple] = Field((), max_length=64)
    # The folder of profiles. None: beside the daemon's state.
    store: AbsolutePath | None = None
    # The user of its process if the daemon runs as root.
    user: str | None = Field(None, min_length=1, max_length=32)

    @property
    def everywhere(self) -> Setting:
        """What holds where no override says anything."""
        return Setting(self.sensitivity_level, self.action)


class DdosKeys(Strict):
    """At the top of the file."""

    ddos: Annotated[Ddos | None, BeforeValidator(switch)] = None
