"""`flow_programs` in the file: programs of operators that judge the datagrams of apps."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spectrum.core.configuration.fields import AbsolutePath, AsTuple, Strict

# The modes: verdicts are only counted; packets are dropped by them; the program does not run.
FlowMode = Literal["log", "enabled", "disabled"]


class FlowProgram(Strict):
    """One of `flow_programs`."""

    # The program in C, or compiled by clang (`-target bpf`).
    source: AbsolutePath | None = None
    object: AbsolutePath | None = None
    # The UDP apps whose datagrams it judges.
    apps: Annotated[tuple[str, ...], AsTuple] = Field(min_length=1)
    mode: FlowMode = "log"
    # Whether it also judges datagrams of flows in use.
    in_use: bool = False
    description: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _has_one(self) -> "FlowProgram":
        if (self.source is None) == (self.object is None):
            raise ValueError("a program needs either source, a file in C, or object, a file compiled by clang")
        return self

    @property
    def is_on(self) -> bool:
        """Whether it judges anything."""
        return self.mode != "disabled"

    @property
    def file(self) -> str:
        """The program's file."""
        return self.source or self.object or ""


class FlowProgramKeys(Strict):
    """At the top of the file."""

    flow_programs: dict[str, FlowProgram] = Field(default_factory=dict)
