"""`ddos` in the file: whether attacks are looked for in samples of packets, and stopped by rules."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spectrum.core.configuration.fields import AbsolutePath, AsTuple, Network, PositiveDuration, Strict, switch
from spectrum.core.ddos.managed import Sensitivity
from spectrum.core.ddos.overrides import OverrideAction, Setting
from spectrum.core.ddos.sampling import MAX_SAMPLES, MIN_SAMPLES


class Ddos(Strict):
    """`ddos`: detection of attacks, in a process of its own."""

    # What holds where no override of `rulesets` says anything: None is what each managed rule says.
    sensitivity_level: Sensitivity | None = None
    action: OverrideAction | None = None
    # At most so many packets are looked at in a second; the rest is counted by these.
    samples_per_second: int = Field(8_000, ge=MIN_SAMPLES, le=MAX_SAMPLES)
    # Before that, rules about an app only count what they match.
    learning_s: PositiveDuration = Field(86_400.0, alias="learning_time")
    # A rule ends so long after little matches it; of an attack that comes again, 5 and 30 times as long.
    expiry_s: PositiveDuration = Field(60.0, alias="expire_after")
    # Without `filter`: from or to these nothing is refused.
    guard: Annotated[tuple[Network, ...], AsTuple] = Field((), max_length=64)
    # The folder of profiles. None: beside the daemon's state.
    store: AbsolutePath | None = None
    # What its process becomes where the daemon stays root.
    user: str | None = Field(None, min_length=1, max_length=32)

    @property
    def everywhere(self) -> Setting:
        """What holds where no override says anything."""
        return Setting(self.sensitivity_level, self.action)


class DdosKeys(Strict):
    """At the top of the file."""

    ddos: Annotated[Ddos | None, BeforeValidator(switch)] = None
