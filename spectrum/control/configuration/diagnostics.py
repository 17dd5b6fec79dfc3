"""Faults of a configuration that is read from text, each with its place."""

from dataclasses import dataclass

from spectrum.control.configuration.yaml_faults import Position


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A fault with its place: `file:line:column: path: message`."""

    file: str
    place: Position
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.place.line}:{self.place.column}: {where}{self.message}"


class ConfigError(Exception):
    """A file that cannot be used; `diagnostics` lists every reason."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics
