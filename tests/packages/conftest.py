"""What was built: by scripts/wheels, scripts/debian and scripts/container, into dist/; and a root to install it in."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packages.root import Root

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"


@pytest.fixture
def built() -> Callable[[str], list[Path]]:
    """A function that returns what of dist/ has such a name; a test without is skipped, but in CI fails."""

    def find(pattern: str) -> list[Path]:
        found = sorted(DIST.glob(pattern))
        if not found and os.environ.get("CI"):
            pytest.fail(f"not built by .ci/run: dist/{pattern}")
        if not found:
            pytest.skip(f"not built: dist/{pattern}; see docs/install.md")
        return found

    return find


@pytest.fixture
def root(require, tmp_path: Path) -> Iterator[Root]:
    """A clean Debian root, without a compiler."""
    require("mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("a root of its own needs root")
    lower = subprocess.run([ROOT / "scripts/root"], capture_output=True, text=True, check=True).stdout.strip()
    with Root(Path(lower), tmp_path) as made:
        yield made
