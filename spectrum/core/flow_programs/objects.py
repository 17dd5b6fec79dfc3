"""`flow_programs` in the file: programs of operators that judge the datagrams of apps."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spectrum.core.configuration.fields import AbsolutePath, AsTuple, Strict

# What a program's verdict comes to: it is counted; what it refuses is dropped; it judges nothing.
FlowMode = Literal["log", "enabled", "disabled"]


class FlowProgram(Strict):
    """One of `flow_programs`."""

    # The program in C, or as clang has compiled it (`-target bpf`).
    source: AbsolutePath | None = None
    object: AbsolutePath | None = None
    # The UDP apps whose datagrams it judges.
    apps: Annotated[tuple[str, ...], AsTuple] = Field(min_length=1)
    mode: FlowMode = "log"
    # Whether it judges datagrams of flows that are in use, too.
    in_use: bool = False
    description: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _has_one(self) -> "FlowProgram":
        if (self.source is None) == (self.object is None):
            raise ValueError("a program is either source, a file in C, or object, as clang has compiled it")
        return self

    @property
    def is_on(self) -> bool:
        """Whether it judges anything."""
        return self.mode != "disabled"

    @property
    def file(self) -> str:
        """Where the program is."""
        return self.source or self.object or ""


class FlowProgramKeys(Strict):
    """At the top of the file."""

    flow_programs: dict[str, FlowProgram] = Field(default_factory=dict)
