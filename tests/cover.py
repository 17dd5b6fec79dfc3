"""How much of each source file its own test file runs: `make cover`, or `python -m tests.cover [pytest's arguments]`.

The suite runs once, with coverage.py in each process of pytest and one context per test file. The test file of
`spectrum/a/b.py` is `tests/a/test_b.py`: of each source file it has to run `ENOUGH_PERCENT` of the lines, whatever else
other tests run by the way. Lines that run when modules are imported count for every test file. Exceptions are in
`tests/cover.toml`, a list that only shrinks. With pytest's arguments that name folders or files, only the source files
whose tests these are have to be covered. Tests that fail are run once more by themselves, measured as well, and fail
there or pass: among thousands of tests on a busy machine one meets a bound on time now and then.

Of processes that tests start those are measured that run what their test file is about (`WITH_PROCESSES`), as far as
they end by themselves. Not measured: workers and other daemons, as it would slow them down, and the Cython sources,
whose tests `make asan` repeats in a debug build. So a listed percentage is the least of several runs, on an idle and on
a loaded machine.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
EXCEPTIONS = TESTS / "cover.toml"
DATA = ROOT / "build/cover"
SETTINGS = DATA / "settings"
# What pytest ends with then, rather than for a fault of its own.
TESTS_FAILED = 1
WITH_PROCESSES = (
    "tests/cli/",
    "tests/helper/test_work.py",
    "tests/kernel/",
    "tests/origin/",
    "tests/control/filter/",
    "tests/control/processes/test_account.py",
    "tests/control/test_bindings.py",
    "tests/control/test_daemon.py",
    "tests/control/flow_programs/",
    "tests/control/test_offload.py",
    "tests/control/test_tcp_protection.py",
    "tests/detector/",
    "tests/plane/test_log.py",
    "tests/plane/test_worker.py",
    "tests/simulation/",
    "tests/test_",
)
CONFIGURATION = f"""
[run]
data_file = {DATA}/data
parallel = true
include =
    {ROOT}/spectrum/*
    {ROOT}/spectrum_edge.py
context = ${{SPECTRUM_TEST_FILE-}}
patch =
    _exit
    fork
disable_warnings =
    no-data-collected
    module-not-measured

[report]
exclude_also =
    if TYPE_CHECKING:
    assert_never\\(
    ^\\s*\\.\\.\\.$
    : \\.\\.\\.$
"""
ENOUGH_PERCENT = 85
# How much more than its listed percentage a file may have: lines that wait for a timer or a race run in some runs only.
PLAY_PERCENT = 6


# --- the plugin of pytest that measures (PYTEST_PLUGINS=tests.cover) ---

_measured = coverage.Coverage(config_file=SETTINGS) if os.environ.get("PYTEST_PLUGINS") == __name__ else None


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Measure from the first import on."""
    if _measured is not None:
        _measured.start()


def pytest_configure(config: pytest.Config) -> None:
    """Measure the tests."""
    if _measured is not None:
        config.pluginmanager.register(_Meter(_measured), "cover")


class _Meter:
    """Tells coverage.py which test file runs."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Import what is tested before the first test, which else would count for whichever test imports it."""
        tested = {item.path for item in session.items}
        for source in _sources():
            if own_test(source) in tested:
                importlib.import_module(".".join(source.relative_to(ROOT).with_suffix("").parts))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        inside = str(item.path.relative_to(ROOT))
        self._measured.switch_context(inside)
        if inside.startswith(WITH_PROCESSES):
            os.environ |= {"COVERAGE_PROCESS_START": str(SETTINGS), "SPECTRUM_TEST_FILE": inside}
        else:
            os.environ.pop("COVERAGE_PROCESS_START", None)
        return (yield)

    def pytest_unconfigure(self) -> None:
        self._measured.stop()
        self._measured.save()


# --- the verdict ---


def own_test(source: Path) -> Path:
    """Return the test file of a source file."""
    inside = source.relative_to(ROOT)
    folders = inside.parent.parts[1:]
    return TESTS.joinpath(*folders, f"test_{source.stem}.py")


def faults(percents: dict[str, int], exceptions: dict[str, int]) -> list[str]:
    """Return what is wrong with the covered percents of source files, and with the list of exceptions."""
    wrong = [f"{name}: in tests/cover.toml, but not a source file" for name in exceptions if name not in percents]
    for name, percent in sorted(percents.items()):
        wanted = exceptions.get(name, ENOUGH_PERCENT)
        if percent < wanted:
            wrong.append(f"{name}: its own test file runs {percent} % of its lines, not {wanted} %")
        elif name in exceptions and percent > wanted + PLAY_PERCENT:
            to_do = f"raise its {wanted} in" if percent < ENOUGH_PERCENT else "remove it from"
            wrong.append(f"{name}: has {percent} %: {to_do} tests/cover.toml")
    return wrong


def _sources() -> list[Path]:
    inside = [path for path in (ROOT / "spectrum").rglob("*.py") if not path.name.startswith("__")]
    return sorted([*inside, ROOT / "spectrum_edge.py"])


def _percent(measured: coverage.Coverage, source: Path) -> int:
    """Return how much of a source file ran at import or in its own test file, rounded down."""
    own = str(own_test(source).relative_to(ROOT))
    measured.get_data().set_query_contexts(["^$", f"^{re.escape(own)}$"])
    _, lines, _, missing, _ = measured.analysis2(str(source))
    return 100 * (len(lines) - len(missing)) // len(lines) if lines else 100


def _run_tests(arguments: list[str]) -> int:
    """Run the tests, and once more, by themselves, those that failed beside others: time passes slowly there."""
    pytest = [sys.executable, "-m", "pytest"]
    measured = os.environ | {"PYTEST_PLUGINS": "tests.cover"}
    command = [*pytest, "--cache-clear", "--numprocesses=auto", "--dist=worksteal", *arguments]
    if (status := subprocess.run(command, cwd=ROOT, env=measured).returncode) != TESTS_FAILED:
        return status
    print("Once more, what failed beside other tests:", flush=True)
    again = [*pytest, "--last-failed", "--last-failed-no-failures=none", *arguments]
    return subprocess.run(again, cwd=ROOT, env=measured).returncode


def main(arguments: list[str]) -> int:
    """Run the tests, and return 0 if they pass and every source file is covered by its own.

    Args:
        arguments: More of pytest's.
    """
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    DATA.chmod(0o777)  # some processes that tests start are another user's
    SETTINGS.write_text(CONFIGURATION, encoding="utf-8")
    if (status := _run_tests(arguments)) not in (0, TESTS_FAILED):
        return status
    return max(status, _check(arguments))


def _check(arguments: list[str]) -> int:
    """Print what the run covered too little, and return 0 if there is nothing."""
    measured = coverage.Coverage(config_file=SETTINGS)
    measured.combine(keep=True)
    chosen = [ROOT / name.split("::")[0] for name in arguments if (ROOT / name.split("::")[0]).exists()] or [TESTS]
    sources = [path for path in _sources() if any(own_test(path).is_relative_to(folder) for folder in chosen)]
    percents = {str(path.relative_to(ROOT)): _percent(measured, path) for path in sources}
    listed = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8"))["percent"]
    exceptions = {name: least for name, least in listed.items() if name in percents or not (ROOT / name).exists()}
    for name, percent in sorted(percents.items(), key=lambda pair: pair[1]):
        if percent < ENOUGH_PERCENT:
            print(f"{percent:3} %  {name}")
    wrong = faults(percents, exceptions)
    print(*wrong, f"{len(percents)} source files, {len(wrong)} faults", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
