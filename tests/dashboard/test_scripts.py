"""The dashboard's scripts that need no document (scales, filters, rules, packets): node runs the tests in `js/`."""

import json
import shutil
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "spectrum" / "dashboard" / "static" / "js"
TESTS = Path(__file__).parent / "js"


def test_scripts(tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "js")
    shutil.copytree(TESTS, tmp_path / "tests")
    # Browsers are told that they are modules by the page, node by this file.
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    run = subprocess.run(
        ["node", "--test", "tests/"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stdout
    assert "# pass 0\n" not in run.stdout
