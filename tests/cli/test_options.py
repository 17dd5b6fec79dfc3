import multiprocessing
import os
import socket

import pytest
from click import ClickException

from spectrum.cli.options import ask_daemon, failure, load
from tests.cli.harness import spectrum


def test_failures_are_for_people(tmp_path, capsys):
    with pytest.raises(ClickException) as caught:
        load(tmp_path / "nothing.yaml")
    caught.value.show()
    assert "nothing.yaml:1:1: cannot be read: no such file or directory\n" in capsys.readouterr().err
    assert caught.value.exit_code == 1
    with pytest.raises(ClickException, match="sock"):
        ask_daemon(tmp_path / "no.sock", "GET", "/status")
    assert failure("text").message == "text"


def as_nobody(results, *arguments):
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    done = spectrum(*arguments)
    results.put((done.exit_code, done.stderr))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_what_another_user_may_not_read_is_said_in_our_words(tmp_path):
    """Exit code 1, not 2: the command line is right."""
    spectrum("status", "--socket", tmp_path / "none")  # imports what that user may not be able to read
    spectrum("check", "-c", tmp_path / "none")
    path, text = tmp_path / "c.sock", tmp_path / "s.yaml"
    text.write_text("apps: {}")
    text.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    fork = multiprocessing.get_context("fork")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        for arguments, says in (
            (("status", "--socket", path), f"{path}: the daemon belongs to another user; try sudo"),
            (("check", "-c", text), f"{text}:1:1: cannot be read: permission denied"),
        ):
            results = fork.SimpleQueue()
            process = fork.Process(target=as_nobody, args=(results, *arguments))
            process.start()
            assert results.get() == (1, f"{says}\n")
            process.join()
