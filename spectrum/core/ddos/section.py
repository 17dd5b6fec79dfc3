"""`ddos` in the file: detection of attacks in samples of packets, and mitigation by rules."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spectrum.core.configuration.fields import AbsolutePath, AsTuple, Network, PositiveDuration, Shown, Strict, switch
from spectrum.core.ddos.managed import Sensitivity
from spectrum.core.ddos.overrides import OverrideAction, Setting
from spectrum.core.ddos.sampling import MAX_SAMPLES, MIN_SAMPLES


class Ddos(Strict):
    """`ddos`: detection of attacks, in a process of its own."""

    sensitivity_level: Annotated[Sensitivity | None, Shown(default="that of each managed rule")] = Field(
        None,
        description="how far traffic must exceed the normal level to count as an attack, unless an "
        "[override](ddos-rules.md#overrides) applies",
    )
    action: Annotated[OverrideAction | None, Shown(default="that of each managed rule")] = Field(
        None,
        description="the action against an attack, unless an override applies. `log` only counts",
    )
    samples_per_second: int = Field(
        8_000,
        ge=MIN_SAMPLES,
        le=MAX_SAMPLES,
        description="the maximum number of packets that are examined per second",
    )
    learning_s: PositiveDuration = Field(
        86_400.0,
        alias="learning_time",
        description="until an app has been learned for this time, rules about it only count, unless they "
        "[need no profile](ddos.md#the-first-minute)",
    )
    expiry_s: PositiveDuration = Field(
        60.0,
        alias="expire_after",
        description="a rule ends this long after its matches have become few; if the attack returns within a "
        "day, after 5 times, then 30 times as long. With less than 20 s, rules may end before a "
        "stalled detector is replaced",
    )
    guard: Annotated[tuple[Network, ...], AsTuple] = Field(
        (),
        max_length=64,
        description="without `filter`: traffic from or to these prefixes is never refused. With `filter`, set "
        "`filter.guard` instead",
    )
    store: Annotated[AbsolutePath | None, Shown(default="beside the daemon's state")] = Field(
        None,
        description="folder of the [profiles](ddos-profiles.md)",
    )
    user: Annotated[str | None, Shown("user", default="`user` of the file, else `nobody`")] = Field(
        None,
        min_length=1,
        max_length=32,
        description="the user of the detector if the daemon stays root",
    )

    @property
    def everywhere(self) -> Setting:
        """What holds where no override says anything."""
        return Setting(self.sensitivity_level, self.action)


class DdosKeys(Strict):
    """At the top of the file."""

    ddos: Annotated[Ddos | None, BeforeValidator(switch)] = Field(
        None,
        description="detection of attacks in packet samples, with rules of the `filter`, or without it [in "
        "the workers](ddos.md#without-the-filter): [DDoS](ddos.md)",
    )
