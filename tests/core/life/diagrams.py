"""The diagrams of docs/architecture.md, drawn from the tables of `spectrum.core.life`."""

from pathlib import Path

DOCS = Path(__file__).parent.parent.parent.parent / "docs" / "architecture.md"


def diagram(start, table, ends):
    """Return a Mermaid state diagram: each line has a state, the next one, and the event / the command."""
    lines = ["stateDiagram-v2", f"    [*] --> {start.name}"]
    for (state, event), (following, command) in table.items():
        lines.append(f"    {state.name} --> {following.name}: {event.value} / {command.value}")
    lines += [f"    {end.name} --> [*]" for end in ends]
    return "\n".join(lines)


def is_drawn(text):
    """Tell whether docs/architecture.md has a diagram."""
    return f"```mermaid\n{text}\n```\n" in DOCS.read_text()
