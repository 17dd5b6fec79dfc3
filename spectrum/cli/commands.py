"""The `spectrum` command.

Exit codes: 0 success; 1 failure (a file with faults, an address in use, no daemon); 2 a wrong command line.
"""

from importlib import import_module

import click

from spectrum import __version__

# The module of each command, and its name there if that differs. It is imported on demand: `spectrum status` needs no
# code of the server.
COMMANDS = {
    "analytics": "analytics",
    "app": "app",
    "balancer": "objects",
    "bindings": "bindings",
    "certificate": "objects",
    "check": "serving",
    "ddos": "ddos",
    "doctor": "doctor",
    "explain": "running",
    "export": "export",
    "group": "objects",
    "import": "export:import_",
    "kernel": "kernel",
    "kill": "sessions",
    "limits": "limits",
    "list": "objects:lists",
    "mmproxy": "mmproxy",
    "monitor": "objects",
    "origin": "origin",
    "pool": "objects",
    "reload": "running",
    "report": "report",
    "rule": "objects",
    "run": "serving",
    "samples": "running",
    "schema": "schema",
    "sessions": "sessions",
    "status": "running",
    "story": "story",
    "token": "token",
    "top": "top",
    "upgrade": "running",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(f"spectrum.cli.{module}"), name or cmd_name)
        assert isinstance(command, click.Command), "each module has the commands of its name"
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="spectrum")
def main() -> None:
    """Spectrum, a self-hosted layer-4 edge.

    One file describes apps: their listeners and origins. `spectrum check` tests a file, `spectrum run` serves it,
    `spectrum status` shows the current state, `spectrum reload` applies changes without losing a session.
    """
