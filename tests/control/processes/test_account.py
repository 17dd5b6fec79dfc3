"""Who the daemon runs as; that it does is in tests/e2e/test_user.py."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.control.processes.account import (
    AccountError,
    account,
    account_faults,
    account_refusals,
    folder_refusals,
    have_folder,
    leave_root,
    make_folder,
    only_for_root,
)
from spectrum.core.configuration.config import Config


def test_the_user_of_a_file():
    assert account_faults(Config()) == account_faults(Config(user="root")) == []
    (fault,) = account_faults(Config(user="nobody-of-this-name"))
    assert (fault.path, "useradd" in fault.message) == (("user",), True)


def test_a_folder_is_made_once(tmp_path):
    make_folder(folder := tmp_path / "a" / "b", "root")
    assert folder.is_dir()
    make_folder(folder, "nobody-of-this-name")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "x", "root")


def test_a_folder_that_nobody_else_reads(tmp_path):
    have_folder(folder := tmp_path / "a", "", "store")
    assert folder.stat().st_mode & 0o777 == 0o700
    have_folder(folder, "root", "store")
    with pytest.raises(AccountError, match=f"store: {folder} belongs to another user; chown -R nobody {folder}"):
        have_folder(folder, "nobody", "store")
    (tmp_path / "file").write_text("")
    with pytest.raises(AccountError, match=r"store: .*/file/x: not a directory"):
        have_folder(tmp_path / "file/x", "", "store")


def test_a_folder_of_another_user_is_seen_before(tmp_path):
    assert folder_refusals(tmp_path / "new", "nobody", "api.store") == []
    assert folder_refusals(tmp_path, "root", "api.store") == folder_refusals(tmp_path, "", "api.store") == []
    (fault,) = folder_refusals(tmp_path, "nobody", "api.store")
    says = f"{tmp_path} belongs to another user; chown -R nobody {tmp_path}"
    assert (fault.path, fault.message) == (("api", "store"), says)
    (tmp_path / "file").touch()
    (fault,) = folder_refusals(tmp_path / "file", "root", "api.store")
    assert fault.message == f"{tmp_path / 'file'} is not a folder"


@pytest.fixture
def interpreter(monkeypatch):
    """A program in place of the interpreter that every user can run; the one of the tests may be root's alone."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "python"
        program.write_text('#!/bin/sh\n[ "$1 $2 $3" = "-S -E -c" ] && [ -r "$5" ]\n')
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        yield program


def test_what_root_would_be_refused(tmp_path, monkeypatch, interpreter):
    file = tmp_path / "spectrum.yaml"
    file.touch(mode=0o600)
    assert account_refusals(Config(), file) == account_refusals(Config(user="root"), file) == []
    (fault,) = account_refusals(Config(user="nobody"), file)
    assert (fault.path, fault.message.partition(",")[0]) == (("user",), f"nobody cannot read {file}")
    assert account_refusals(Config(user="nobody"), Path("/etc/passwd")) == []
    assert account_refusals(Config(user="nobody"), None) == []
    assert account_refusals(Config(user="nobody-of-this-name"), file) == []
    interpreter.chmod(0o700)
    (fault,) = account_refusals(Config(user="nobody"), None)
    assert fault.message.startswith(f"nobody cannot run {interpreter}; install it where others can")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account_refusals(Config(user="nobody"), None) == []


def test_what_only_root_can_start(monkeypatch):
    assert only_for_root(Config(user="nobody")) == only_for_root(Config()) == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert only_for_root(Config(user="nobody")) == [
        "user: only root can switch to nobody; start it with sudo, or leave user out"
    ]
    assert only_for_root(Config()) == []
    monkeypatch.setattr(os, "geteuid", lambda: account("nobody").pw_uid)
    assert only_for_root(Config(user="nobody")) == []


def test_account():
    assert account("root").pw_uid == 0
    with pytest.raises(AccountError, match="no user 'nobody-of-this-name'"):
        account("nobody-of-this-name")


def test_who_it_is_already(tmp_path):
    folder = tmp_path / "new"
    leave_root("root", tmp_path / "spectrum.yaml", folder, shared=False)
    assert not folder.exists()


def failure(code):
    """What `leave_root` raises in a process of its own."""
    code = f"""
import os, sys
from pathlib import Path
from spectrum.control.processes.account import AccountError, leave_root
try:
    {code}
except AccountError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_root_can_become_somebody(tmp_path):
    said = failure(f"os.setresuid(65534, 65534, 65534); leave_root('root', Path('x'), Path({str(tmp_path)!r}), False)")
    assert said.startswith("user: only root can switch to root")


def test_a_file_that_the_user_cannot_read(tmp_path):
    said = failure(f"leave_root('nobody', Path('/etc/shadow'), Path({str(tmp_path)!r}), True)")
    assert "user: nobody cannot read /etc/shadow" in said


def test_an_interpreter_that_the_user_cannot_run(tmp_path):
    program = tmp_path / "python"
    program.touch(mode=0o700)
    said = failure(
        f"sys.executable = {str(program)!r}; leave_root('nobody', Path('/etc/passwd'), Path({str(tmp_path)!r}), True)"
    )
    assert f"user: nobody cannot run {program}" in said


@pytest.mark.parametrize(("shared", "owner"), [(True, 0), (False, 65534)])
def test_a_folder_that_is_there(tmp_path, shared, owner):
    failure(f"leave_root('nobody', Path('/etc/passwd'), Path({str(tmp_path)!r}), {shared})")
    assert tmp_path.stat().st_uid == owner


def test_a_folder_that_is_not(tmp_path):
    failure(f"leave_root('nobody', Path('/etc/passwd'), Path({str(tmp_path / 'new')!r}), True)")
    assert (tmp_path / "new").stat().st_uid == 65534


def test_other_folders_are_made_and_given_those_that_are_there_are_not(tmp_path):
    there, made = tmp_path / "there", tmp_path / "a/b"
    there.mkdir()
    failure(
        f"leave_root('nobody', Path('/etc/passwd'), Path({str(tmp_path)!r}), True, "
        f"[Path({str(there)!r}), Path({str(made)!r})])"
    )
    assert [path.stat().st_uid for path in (there, made, made.parent)] == [0, 65534, 0]


def test_an_unknown_user_in_the_file():
    app = "apps: {x: {protocol: tcp/1, origin_direct: [tcp://127.0.0.1:2]}}"
    with pytest.raises(ConfigError) as caught:
        load_text(f"user: nobody-of-this-name\n{app}", "f.yaml")
    assert str(caught.value).startswith("f.yaml:1:7: user: there is no user 'nobody-of-this-name'")
