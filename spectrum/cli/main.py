"""The first steps of every command, before it imports what it needs."""

import sys

from spectrum.kernel import init, installation, signals
from spectrum.kernel.descriptors import open_standard

# Commands that run until they are told to end.
SERVERS = {"run", "mmproxy", "origin"}
# Commands that reload at SIGHUP, once they serve.
RELOADING = {"run", "mmproxy"}


def main() -> None:
    """Run the `spectrum` command with this process's arguments."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    open_standard()
    installation.leave_current_folder()
    if fault := installation.fault():
        sys.exit(fault)
    if command in SERVERS and init.is_needed():
        init.become_parent()
    signals.prepare(hold=signals.EARLY if command in RELOADING else ())

    from spectrum.cli.commands import main as run

    run(prog_name="spectrum")
