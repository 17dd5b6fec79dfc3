"""scripts/manual.py: a page for every command, which man reads without a complaint."""

import subprocess
import sys

import pytest

from spectrum.cli.commands import COMMANDS
from tests.packages.conftest import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All pages."""
    made = tmp_path_factory.mktemp("manual")
    subprocess.run([sys.executable, ROOT / "scripts/manual.py", made], check=True, cwd=ROOT)
    return made


def test_every_command_has_a_page(folder):
    names = {path.name for path in folder.iterdir()}
    assert {f"spectrum-{name}.1" for name in COMMANDS} <= names
    assert {"spectrum.1", "spectrum.yaml.5", "spectrum-kernel-status.1"} <= names


def test_pages_say_what_help_says(folder):
    text = (folder / "spectrum-run.1").read_text()
    assert "spectrum\\-run \\- Serve the apps of a file\n" in text
    assert "\\-\\-watch\nReload when the file changes." in text
    assert "\\-\\-succeed" not in text  # hidden


def test_tables_of_the_docs_are_lists(folder):
    text = (folder / "spectrum.yaml.5").read_text()
    assert ".B origin_direct\n" in text
    assert ".B log.omit_empty\nvalues: true, false\n" in text
    assert "|" not in text.replace("||", "")


def test_pages_are_good_roff(folder, require):
    require("groff")
    for page in folder.iterdir():
        done = subprocess.run(
            ["groff", "-Kutf8", "-man", "-Tutf8", "-ww", "-z", page], capture_output=True, text=True, check=True
        )
        assert done.stderr == "", page.name
