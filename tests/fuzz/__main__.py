"""Fuzz one target with atheris: `python -m tests.fuzz TARGET CORPUS... [libFuzzer options]`.

New inputs are written to the first corpus. `make fuzz` keeps what it finds in tests/fuzz/corpus/.
"""

import sys

import atheris

with atheris.instrument_imports(include=["spectrum.wire"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
