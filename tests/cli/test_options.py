import pytest
from click import ClickException

from spectrum.cli.options import ask_daemon, failure, load


def test_failures_are_for_people(tmp_path, capsys):
    with pytest.raises(ClickException) as caught:
        load(tmp_path / "nothing.yaml")
    caught.value.show()
    assert "nothing.yaml:1:1: can not be read: no such file or directory\n" in capsys.readouterr().err
    assert caught.value.exit_code == 1
    with pytest.raises(ClickException, match="sock"):
        ask_daemon(tmp_path / "no.sock", "GET", "/status")
    assert failure("text").message == "text"
