"""The installed code of this process: its location, conflicts with other packages, and a fingerprint for workers."""

import hashlib
import os
import re
import sys
from pathlib import Path

import spectrum

PACKAGE = Path(__file__).parents[1]
DISTRIBUTION = "spectrum-edge"
# In the environment of workers: the fingerprint of the supervisor's code.
CODE_VARIABLE = "SPECTRUM_CODE"
CHANGED = "the installed package was changed since this daemon started: `spectrum upgrade` lets the new one take over"
_CODE_SUFFIXES = (".py", ".so", ".o")
_SAME_NAME = re.compile(r"spectrum(-.*)?\.(dist|egg)-info", re.IGNORECASE)
_APART = (
    f"our distribution is {DISTRIBUTION}, and another project's, spectrum, has a package of the same name: the two "
    f"cannot share an environment. Make a new one, and install {DISTRIBUTION} into it"
)


def readable() -> tuple[str, ...]:
    """Return the folders from which Python and this package are imported, for processes with restricted file access.

    An editable installation (`make run`) is in none of the other folders, and some modules are imported late.
    """
    return (str(PACKAGE), sys.prefix, sys.base_prefix, *sys.path, "/usr", "/lib", "/lib64", "/proc")


class PackageChanged(Exception):
    """The files of this package have changed since this process was started."""


def leave_current_folder() -> None:
    """Stop importing from the current folder, here and in child processes.

    `python -m` puts it first in the path; a relative or empty entry of PYTHONPATH adds it elsewhere. If this package is
    imported from there, as in a checkout that is not installed, the entry is moved to the end of the path.
    """
    given = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    entries = given.split(os.pathsep) if given else []
    relative = [entry for entry in entries if not os.path.isabs(entry)]
    added = [*relative, *dict.fromkeys(map(os.path.abspath, relative))]
    started_as = sys.modules["__main__"].__spec__
    if not sys.flags.safe_path and (started_as is not None or not sys.path[0]):  # `python -m` or `python -c`
        added.append(sys.path[0])
    for entry in added:
        if entry in sys.path:
            sys.path.remove(entry)
    kept = [entry for entry in entries if entry not in relative]
    root = str(PACKAGE.parent)
    if root in map(os.path.abspath, added) and root not in sys.path:
        sys.path.append(root)
        kept.append(root)
    if kept != entries:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)


def python(module: str, interpreter: str = "") -> list[str]:
    """Return the command that runs a module of this package, without the current folder in the path (`-P`).

    Args:
        module: Its name.
        interpreter: Another installation's; empty for this one's.
    """
    return [interpreter or sys.executable, "-P", "-m", module]


def fault() -> str:
    """Return the reason if this package is mixed with another one; empty otherwise."""
    if getattr(spectrum, "__distribution__", None) != DISTRIBUTION:
        return f"{PACKAGE}: another project's files lie among ours; {_APART}"
    folder = PACKAGE.parent
    for name in os.listdir(folder):
        if _SAME_NAME.fullmatch(name) and _has_our_package(folder / name):
            return f"{folder / name}: another project's files lie among ours; {_APART}"
    return ""


def _has_our_package(metadata: Path) -> bool:
    """Return whether a distribution has files in a package `spectrum`; True if it does not list its files."""
    try:
        return "\nspectrum/" in f"\n{(metadata / 'RECORD').read_text(encoding='utf-8')}"
    except OSError:
        return True


def fingerprint() -> str:
    """Return a fingerprint of the code: its path, and a hash of the current files."""
    digest = hashlib.blake2b(str(PACKAGE).encode(), digest_size=16)
    for folder, folders, names in os.walk(PACKAGE):
        folders.sort()
        for name in sorted(names):
            if name.endswith(_CODE_SUFFIXES):
                path = os.path.join(folder, name)
                digest.update(path.encode())
                with open(path, "rb") as file:
                    digest.update(file.read())
    return digest.hexdigest()


def remember() -> None:
    """Store the fingerprint in the environment, so that workers can verify it."""
    os.environ[CODE_VARIABLE] = fingerprint()


def verify() -> None:
    """Compare the code with the stored fingerprint.

    Raises:
        PackageChanged: If they differ.
    """
    try:
        now = fingerprint()
    except OSError:  # files are being replaced
        now = ""
    if os.environ.get(CODE_VARIABLE, now) != now:
        raise PackageChanged(CHANGED)
