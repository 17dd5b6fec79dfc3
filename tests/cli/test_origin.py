import socket

from tests.cli.harness import spectrum


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
