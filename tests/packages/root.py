"""A clean Debian root, made by scripts/root, to install packages in: each test has a layer of its own over it."""

import subprocess
from pathlib import Path

# What a started system has there. Processes see the test's own network and processes.
MOUNTS = (
    ("-t", "proc", "proc", "proc"),
    ("--rbind", "/dev", "dev"),
    ("-t", "tmpfs", "tmpfs", "run"),
    ("-t", "tmpfs", "tmpfs", "tmp"),
)


class Root:
    """A folder with a whole system in it; `with` mounts it.

    Args:
        lower: The clean root, which stays as it is.
        folder: An empty folder, for what the test changes.
    """

    def __init__(self, lower: Path, folder: Path) -> None:
        self.path = folder / "root"
        self._lower = lower
        self._folder = folder

    def __enter__(self) -> "Root":
        for name in ("layer", "layer/upper", "layer/work", "root"):
            (self._folder / name).mkdir()
        layer = self._folder / "layer"
        _mount("-t", "tmpfs", "tmpfs", str(layer))
        for name in ("upper", "work"):
            (layer / name).mkdir()
        _mount(
            "-t",
            "overlay",
            "overlay",
            "-o",
            f"lowerdir={self._lower},upperdir={layer}/upper,workdir={layer}/work",
            str(self.path),
        )
        for *options, name in MOUNTS:
            _mount(*options, str(self.path / name))
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--recursive", "--lazy", self.path], check=True)
        subprocess.run(["umount", "--lazy", self._folder / "layer"], check=True)

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another one in the root, with none of the test's environment."""
        return [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
            "chroot",
            str(self.path),
            *words,
        ]

    def run(self, *words: str, timeout_s: float = 300.0) -> str:
        """Run a command, which has to succeed, and return what it printed."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout_s)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
