"""A folder imports only from those below it (docs/architecture.md), and the pure ones do no I/O."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "spectrum"
ALLOWED = {
    "cli": {"analytics", "core", "control", "kernel", "origin", "simulation", "store"},
    "api": {"core", "wire", "link", "store", "analytics", "kernel", "tasks", "log", "child"},
    "control": {"wire", "core", "link", "kernel", "plane", "probes", "store", "garbage", "tasks", "log"},
    "helper": {"core", "link", "kernel"},
    "detector": {"core", "link", "kernel", "tasks", "log", "child"},
    "plane": {"wire", "core", "link", "engine", "kernel", "garbage", "tasks", "log", "child"},
    "probes": {"wire", "core", "tasks"},
    "link": {"core", "kernel"},
    "store": {"core"},
    "analytics": {"core"},
    "simulation": {"core", "kernel", "wire"},
    "dashboard": set(),
    "garbage": set(),
    "tasks": set(),
    "log": {"kernel"},
    "child": {"kernel", "log"},
    "kernel": {"core"},
    "engine": {"core"},
    "core": {"wire"},
    "origin": {"wire"},
    "wire": set(),
}
IMPURE = {"asyncio", "socket", "ssl", "time", "random", "os", "threading", "logging", "uvloop", "aiohttp"}
FORBIDDEN = {
    "core": IMPURE,
    "wire": IMPURE,
    "kernel": {"asyncio", "uvloop"},
    "engine": {"asyncio", "uvloop"},
    "helper": {"asyncio", "uvloop"},
    "store": {"asyncio", "uvloop"},
    "analytics": {"asyncio", "uvloop"},
}
FILES = [path for path in ROOT.rglob("*.py*") if path.suffix in (".py", ".pyi", ".pyx", ".pxd")]


def _imported(path: Path) -> set[str]:
    if path.suffix in (".pyx", ".pxd"):
        lines = [line.split() for line in path.read_text().splitlines()]
        return {
            words[1] for words in lines if len(words) > 3 and words[0] == "from" and words[2] in ("import", "cimport")
        }
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer not in ALLOWED:
        return
    names = _imported(path)
    layers = {name.split(".")[1] for name in names if name.startswith("spectrum.")}
    assert layers <= ALLOWED[layer] | {layer}
    assert not {name.split(".")[0] for name in names} & FORBIDDEN.get(layer, set())


def test_no_two_classes_have_one_name():
    homes: dict[str, set[str]] = {}
    for path in FILES:
        for name in re.findall(r"^\s*(?:(?:cdef|cpdef) )?class (\w+)", path.read_text(), re.MULTILINE):
            homes.setdefault(name, set()).add(str(path.relative_to(ROOT).with_suffix("")))  # .pyx, .pxd, .pyi are one
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_every_source_file_has_its_test_file():
    tests = Path(__file__).parent
    missing = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py*")
        if path.suffix in (".py", ".pyx")
        and not path.name.startswith("__")
        and not (tests / path.relative_to(ROOT).parent / f"test_{path.stem}.py").exists()
    ]
    assert missing == []


# What composes and starts a daemon, reads and rolls out configurations, and shows what there is knows no feature:
# `core/features.py`, `control/configuration/machine.py` and `control/features.py` have them.
FEATURES = ("access", "api", "balancing", "bindings", "filter", "names", "offload", "tls")


@pytest.mark.parametrize(
    "name",
    [
        "control/supervisor.py",
        "control/daemon.py",
        "control/processes",
        "control/http",
        "control/configuration/loader.py",
        "control/configuration/rollout.py",
        "core/configuration/changes.py",
        "core/configuration/checks.py",
        "core/configuration/faults.py",
        "core/configuration/feature.py",
    ],
)
def test_what_composes_knows_no_feature(name):
    path = ROOT / name
    for file in path.rglob("*.py") if path.is_dir() else [path]:
        layer = f"spectrum.{name.split('/')[0]}."
        parts = [module.split(".") for module in _imported(file) if module.startswith(layer)]
        assert not {part[2] for part in parts} & set(FEATURES), file


def test_each_actor_is_registered_once():
    sources = {path: path.read_text() for path in (ROOT / "control").rglob("*.py")}
    actors = {
        name
        for text in sources.values()
        for name in re.findall(r"^class (\w+)\((?:Actor\)|FilterTablesActor\[)", text, re.MULTILINE)
    }
    composed = sources[ROOT / "control" / "features.py"] + sources[ROOT / "control" / "supervisor.py"]
    registered = [name for name in re.findall(r"(\w+)\(", composed) if name in actors]
    by_itself = {"Served", "Planner"}  # by the supervisor, which others need, too
    assert sorted(registered) == sorted(actors), actors ^ {*registered, *by_itself}


# A worker takes settings, not files; the helper reads no files and speaks no HTTP; what asks a daemon starts without
# what a daemon is made of.
@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("spectrum.plane.worker", {"pydantic", "yaml", "aiohttp", "spectrum.core.configuration.config"}),
        ("spectrum.helper.__main__", {"pydantic", "yaml", "aiohttp", "uvloop", "asyncio", "ssl"}),
        (
            "spectrum.control.daemon",
            {"fastapi", "starlette", "uvicorn", "opentelemetry", "spectrum.store.store", "dns", "acme"},
        ),
        ("spectrum.cli.running", {"pydantic", "aiohttp", "uvloop"}),
        ("spectrum.cli.origin", {"pydantic", "aiohttp", "uvloop"}),
    ],
)
def test_what_starts_often_loads_little(module, spared):
    program = f"import sys, spectrum.cli.commands, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not spared & set(loaded)
