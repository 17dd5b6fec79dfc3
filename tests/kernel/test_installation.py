"""Which code runs: in a copy of the package, since these tests change it."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from spectrum.kernel import installation

PATHS = """
import json, os, sys
before = list(sys.path)
from spectrum.kernel import installation
installation.leave_current_folder()
print(json.dumps([before, sys.path, os.environ.get("PYTHONPATH"), str(installation.PACKAGE.parent)]))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of what a fingerprint is made by, without the rest."""
    folder = tmp_path / "site"
    for name in ("__init__.py", "kernel/__init__.py", "kernel/installation.py"):
        (folder / "spectrum" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installation.PACKAGE / name, folder / "spectrum" / name)
    return folder / "spectrum"


def run(package, code, cwd=None, options=("-P",), paths=None):
    paths = [str(package.parent)] if paths is None else paths
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, *options, *(["-c", code] if code else [])]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, cwd=cwd)


def paths(package, cwd, given, options=()):
    done = run(package, PATHS if options == () else None, cwd, options, given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("relative", [[], [""], ["."], ["", "x", "."]])
def test_the_current_folder_is_left(package, tmp_path, relative):
    """By `-c`, by entries that are relative to it; PYTHONPATH of children has none of them."""
    site, here = str(package.parent), tmp_path / "here"
    (here / "x").mkdir(parents=True)
    before, after, told, root = paths(package, here, [*relative, site, "/nowhere"])
    assert root == site
    assert "" in before or str(here) in before
    assert not {"", ".", str(here), str(here / "x")} & set(after)
    assert [entry for entry in before if entry in (site, "/nowhere")] == [site, "/nowhere"]
    assert told == f"{site}{os.pathsep}/nowhere"


def test_the_current_folder_is_left_by_a_module(package, tmp_path):
    (package / "paths.py").write_text(PATHS)
    before, after, told, _ = paths(package, tmp_path, [str(package.parent)], ("-m", "spectrum.paths"))
    assert before[0] == str(tmp_path)
    assert str(tmp_path) not in after
    assert told == str(package.parent)


@pytest.mark.parametrize("given", [["/nowhere"], ["."], [""]])
def test_a_checkout_that_is_run_where_it_lies(package, given):
    """It stays where it is found, behind everything else, and children find it."""
    (package / "paths.py").write_text(PATHS)
    site = str(package.parent)
    before, after, told, _ = paths(package, site, given, ("-S", "-m", "spectrum.paths"))
    assert before[0] == site
    assert [index for index, entry in enumerate(after) if entry == site] == [len(after) - 1]
    assert told.split(os.pathsep) == [entry for entry in given if entry == "/nowhere"] + [site]


def test_nothing_is_left_where_nothing_is_to_leave(package, tmp_path):
    script = tmp_path / "script"
    script.write_text(PATHS)
    before, after, told, _ = paths(package, tmp_path / "site", [str(package.parent)], (str(script),))
    assert before == after
    assert told == str(package.parent)


@pytest.mark.parametrize(
    ("given", "found", "after", "told"),
    [
        ("/lib:/nowhere", ["CWD", "/lib"], ["/lib"], "/lib:/nowhere"),
        (":/lib", ["CWD", "", "/lib"], ["/lib"], "/lib"),
        ("x:/lib", ["CWD", "x", "CWD/x", "/lib"], ["/lib"], "/lib"),
        ("", ["CWD", "ROOT", "/lib"], ["ROOT", "/lib"], None),
        ("", ["ROOT", "/lib"], ["/lib", "ROOT"], "ROOT"),
    ],
)
def test_paths_of_this_process(monkeypatch, tmp_path, given, found, after, told):
    """As `python -m` has them. This package, where the current folder is the one it comes from, stays, as the last."""
    root = str(installation.PACKAGE.parent)
    cwd = root if found[0] == "ROOT" else str(tmp_path)

    def real(names):
        return [name.replace("CWD", cwd).replace("ROOT", root) for name in names]

    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "path", real(found))
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", object())
    monkeypatch.setenv("PYTHONPATH", given)
    installation.leave_current_folder()
    assert sys.path == real(after)
    assert os.environ["PYTHONPATH"] == (real([told])[0] if told else given)


def test_the_command():
    assert installation.python("spectrum") == [sys.executable, "-P", "-m", "spectrum"]
    assert installation.python("spectrum", "/opt/x/bin/python")[0] == "/opt/x/bin/python"


METADATA = {
    # Written by pip, by others, and by setuptools of old.
    "spectrum-0.10.0.dist-info/RECORD": "spectrum/__init__.py,sha256=x,1\n",
    "Spectrum-0.10.0.dist-info/METADATA": "",
    "spectrum-0.10.0-py3.11.egg-info/PKG-INFO": "",
    "spectrum.egg-info/PKG-INFO": "",
}


@pytest.fixture
def here(package, monkeypatch):
    """The copy, which counts as the code of the test's own process."""
    monkeypatch.setattr(installation, "PACKAGE", package)
    monkeypatch.delenv(installation.CODE_VARIABLE, raising=False)
    return package


@pytest.mark.parametrize("metadata", METADATA)
def test_another_project_of_this_name(here, metadata):
    path = here.parent / metadata
    path.parent.mkdir()
    path.write_text(METADATA[metadata])
    said = installation.fault()
    assert str(path.parent) in said
    assert "spectrum-edge" in said


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ("spectrum_edge-0.1.0.dist-info/RECORD", "spectrum/__init__.py,,\n"),
        ("spectrum_edge.egg-info/PKG-INFO", ""),
        ("spectrum_tools-1.dist-info/RECORD", "spectrum_tools/__init__.py,,\n"),
        ("spectrum-2.dist-info/RECORD", "spectrum-2.dist-info/METADATA,,\nother/spectrum/x.py,,\n"),
    ],
)
def test_unmixed_installations(here, metadata, text):
    path = here.parent / metadata
    path.parent.mkdir()
    path.write_text(text)
    assert installation.fault() == ""


@pytest.mark.parametrize("text", ['"""Spectrum Analysis Tools."""\n', None])
def test_its_first_file_is_anothers_or_gone(package, text):
    first = package / "__init__.py"
    first.write_text(text) if text else first.unlink()
    said = run(package, "from spectrum.kernel import installation; print(installation.fault())").stdout
    assert "another project's files" in said


def test_a_package_without_our_name(here, monkeypatch):
    monkeypatch.delattr("spectrum.__distribution__")
    assert "another project's files" in installation.fault()


def test_this_one_is_ours():
    assert installation.fault() == ""
    assert installation.DISTRIBUTION == "spectrum-edge"


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        (lambda package: None, False),
        (lambda package: (package / "__init__.py").touch(), False),
        (lambda package: (package / "notes.txt").write_text("x"), False),
        (lambda package: (package / "__init__.py").write_text("x"), True),
        (lambda package: (package / "new.so").write_text("x"), True),
        (lambda package: (package / "kernel" / "__init__.py").unlink(), True),
        (lambda package: shutil.rmtree(package), True),
    ],
)
def test_a_change_is_seen(here, monkeypatch, change, is_told):
    installation.verify()
    monkeypatch.setenv(installation.CODE_VARIABLE, "")
    installation.remember()
    installation.verify()
    change(here)
    with pytest.raises(installation.PackageChanged, match="spectrum upgrade") if is_told else nullcontext():
        installation.verify()


def test_code_from_elsewhere(monkeypatch):
    """A worker of another installation than its supervisor's."""
    monkeypatch.setenv(installation.CODE_VARIABLE, installation.fingerprint())
    installation.verify()
    monkeypatch.setattr(installation, "PACKAGE", installation.PACKAGE / "kernel")
    with pytest.raises(installation.PackageChanged, match="spectrum upgrade"):
        installation.verify()


def test_what_a_confined_process_reads():
    """Each module that is imported late is below one of these, also in a checkout; an import reads no other folder."""
    readable = installation.readable()
    assert str(installation.PACKAGE) in readable and {*sys.path} <= {*readable}
    assert any(Path(json.__file__).is_relative_to(folder) for folder in readable)
