"""The compiled modules are hardened as a distribution's own programs are, and packages have their sources."""

import platform
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "spectrum").rglob("*.so"))
SOURCES = sorted(path for kind in ("pyx", "pxd", "pyi") for path in (ROOT / "spectrum").rglob(f"*.{kind}"))


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name.split(".")[0])
def test_modules_are_linked_hardened(module, require):
    require("readelf")
    text = output("readelf", "--wide", "--dynamic", "--segments", module)
    assert "BIND_NOW" in text
    assert "GNU_RELRO" in text
    # Folders of the machine that built it would be searched for libraries before the system's.
    assert "RUNPATH" not in text
    assert "RPATH" not in text
    (stack,) = (line for line in text.splitlines() if "GNU_STACK" in line)
    assert stack.split()[-2] == "RW"


def test_modules_are_compiled_hardened(require):
    require("nm", "objdump")
    symbols = "".join(output("nm", "--dynamic", module) for module in MODULES)
    assert "__stack_chk_fail" in symbols  # -fstack-protector-strong: in those that have arrays on the stack
    if platform.machine() == "x86_64":
        relay = next(module for module in MODULES if module.name.startswith("relay."))
        assert output("objdump", "-d", relay).count("endbr64") > 20  # -fcf-protection


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_packages_have_the_sources_of_compiled_modules(source):
    """setuptools finds those of Python itself."""
    taken = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = taken.get(".".join(source.parent.relative_to(ROOT).parts), ())
    assert any(source.match(pattern) for pattern in patterns)
