"""Plans and changes for actors, without a daemon."""

from spectrum.control.configuration.actor import Change, Plan
from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.core.snapshot import Snapshot

NOTHING = Snapshot(0, (), 0, True)


def plan(text, generation=1):
    """Return the plan for the text of a configuration; generation 0 is that of a daemon before its start."""
    config = load_text(text, "f")
    snapshot = compile_snapshot(config, generation) if generation else NOTHING
    return Plan(config, snapshot, {}, b"")


def first(text):
    """Return the change of a start."""
    return Change(plan(text, 0), plan(text, 1))


def change(before, after):
    """Return the change of a reload."""
    return Change(plan(before, 1), plan(after, 2))
