"""The corpus holds, and a bounded run of the fuzzer finds nothing new. `make fuzz` runs for longer."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

# There are wheels for x86-64 Linux only; where there are none the corpus has to do.
fuzzed = pytest.mark.skipif(find_spec("atheris") is None and not os.environ.get("CI"), reason="no atheris here")
CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target):
    inputs = sorted((CORPUS / target).iterdir())
    assert len(inputs) >= 5
    for path in inputs:
        TARGETS[target](path.read_bytes())


@fuzzed
@pytest.mark.parametrize("target", TARGETS)
def test_a_bounded_run(target, tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", target, str(tmp_path), str(CORPUS / target)]
    options = [f"-max_total_time={SECONDS}", "-max_len=5000", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "Done " in done.stderr  # how many runs it was, says libFuzzer


@fuzzed
def test_the_fuzzer_finds_a_fault(tmp_path):
    """It is not blind: a parser that trusts a length is found out."""
    script = tmp_path / "trusting.py"
    script.write_text(
        "import sys, atheris\n"
        "@atheris.instrument_func\n"
        "def trusting(data):\n"
        "    if data[:2] == b'PR' and len(data) > 3:\n"
        "        data[data[2]]\n"
        "atheris.Setup(sys.argv, trusting)\n"
        "atheris.Fuzz()\n"
    )
    command = [sys.executable, str(script), "-max_total_time=60", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "IndexError" in done.stdout + done.stderr
