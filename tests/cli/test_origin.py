import signal
import socket
import subprocess

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
