"""`flow_programs` in the file: programs of operators that judge the datagrams of apps."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spectrum.core.configuration.fields import AbsolutePath, AsTuple, Shown, Strict

# The modes: verdicts are only counted; packets are dropped by them; the program does not run.
FlowMode = Literal["log", "enabled", "disabled"]


class FlowProgram(Strict):
    """One of `flow_programs`."""

    source: Annotated[AbsolutePath | None, Shown(default="one of the two")] = Field(
        None,
        description="the program in C",
    )
    object: Annotated[AbsolutePath | None, Shown(default="one of the two")] = Field(
        None,
        description="the program, compiled by clang (`-target bpf`)",
    )
    apps: Annotated[tuple[str, ...], AsTuple] = Field(
        min_length=1,
        description="the UDP apps whose datagrams it judges. An app has at most one program",
    )
    mode: FlowMode = Field(
        "log",
        description="`log`: only count; `enabled`: drop what the program rejects; `disabled`: do not run the program",
    )
    in_use: bool = Field(
        False,
        description="also judge datagrams of flows in use",
    )
    description: str = Field(
        "",
        max_length=500,
        description="a note",
    )

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

    flow_programs: dict[str, FlowProgram] = Field(
        default_factory=dict,
        description="C programs that judge the datagrams of apps in the kernel: [Flow "
        "programs](flow-programs.md). They need `filter` and `ddos`",
    )
