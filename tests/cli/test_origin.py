import signal
import socket
import subprocess

import pytest

from spectrum.kernel.installation import python
from tests.cli.harness import spectrum
from tests.engine.harness import eventually


def test_wrong_command_lines():
    assert spectrum("origin").exit_code == 2
    assert spectrum("origin", "--tcp", "nowhere").exit_code == 2


def test_an_address_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = spectrum("origin", "--tcp", f"127.0.0.1:{taken.getsockname()[1]}")
        assert result.exit_code == 1
        assert "in use" in result.stderr


def test_it_answers_until_it_is_told_to_end(free_port):
    port = free_port()
    process = subprocess.Popen([*python("spectrum"), "origin", "--tcp", f"127.0.0.1:{port}"])

    def listens():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (("drain", "p/a"), "/origins/drain?origin=p%2Fa"),
        (("disable", "p/a"), "/origins/disable?origin=p%2Fa"),
        (("enable", "p/a"), "/origins/enable?origin=p%2Fa"),
        (("weight", "p/a", "0.50"), "/origins/weight?origin=p%2Fa&value=0.5"),
        (("weight", "p/a"), "/origins/weight?origin=p%2Fa"),
    ],
)
def test_the_daemon_is_asked(monkeypatch, command, asked):
    heard = []
    answers = [{"message": "done"}, {"errors": ["no", "never"]}]

    def ask_daemon(socket_path, method, resource):
        heard.append((method, resource))
        return answers.pop(0)

    monkeypatch.setattr("spectrum.cli.origin.ask_daemon", ask_daemon)
    assert spectrum("origin", *command).output == "done\n"
    refused = spectrum("origin", *command)
    assert (refused.exit_code, refused.stderr) == (1, "no\nnever\n")
    assert heard == [("POST", asked)] * 2
    assert spectrum("origin", "--tcp", "127.0.0.1:1", *command).exit_code == 2
    assert spectrum("origin", "weight", "p/a", "2").exit_code == 2
