"""The diagrams of docs/architecture.md, drawn from the tables of `spectrum.core.life`."""

from pathlib import Path

DOCS = Path(__file__).parent.parent.parent.parent / "docs" / "architecture.md"


def diagram(start, table, ends, groups=()):
    """Return a Mermaid state diagram: each line has a state, the next one, and the events / the command.

    What all states of a group have in common is drawn once, from the group; what changes nothing, and has no command,
    is not drawn.

    Args:
        start: The first state.
        table: The next state and the command, by state and event.
        ends: The last states.
        groups: (name, states), the largest first.
    """
    lines = ["stateDiagram-v2", f"    [*] --> {start.name}"]
    lines += [f"    {name}: any of {', '.join(state.name for state in states)}" for name, states in groups]
    edges = {}
    for (state, event), (following, command) in table.items():
        if following is not state or command.value != "nothing":
            edges.setdefault((state.name, following.name, command.value), []).append(event.value)
    for name, states in groups:
        for event in {event: None for _, event in table}:
            _join(edges, name, states, event.value, [table.get((state, event)) for state in states])
    for (name, following, command), events in edges.items():
        action = "" if command == "nothing" else f" / {command}"
        lines.append(f"    {name} --> {following}: {', '.join(events)}{action}")
    lines += [f"    {end.name} --> [*]" for end in ends]
    return "\n".join(lines)


def _join(edges, name, states, event, rows):
    """Replace the edges of an event from all states of a group by one from the group, if they are the same."""
    if None in rows or len({command for _, command in rows}) > 1:
        return
    targets = [following for following, _ in rows]
    if targets != list(states) and len(set(targets)) > 1:
        return
    command = rows[0][1].value
    drawn = [(state.name, following.name, command) for state, following in zip(states, targets, strict=True)]
    if not all(event in edges.get(edge, ()) for edge in drawn):  # of a larger group, or not drawn at all
        return
    for edge in drawn:
        edges[edge].remove(event)
        if not edges[edge]:
            del edges[edge]
    edges.setdefault((name, name if targets == list(states) else targets[0].name, command), []).append(event)


def is_drawn(text):
    """Tell whether docs/architecture.md has a diagram."""
    return f"```mermaid\n{text}\n```\n" in DOCS.read_text()
