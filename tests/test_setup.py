"""The compiled modules are hardened as a distribution's own programs are."""

import platform
import subprocess
from pathlib import Path

import pytest

MODULES = sorted((Path(__file__).parents[1] / "spectrum").rglob("*.so"))


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
