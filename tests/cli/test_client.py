import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from spectrum.cli.client import DaemonError, ask


@pytest.fixture
def answering():
    """A function that has a thread answer at a socket, one client after the other; it ends with the test."""
    opened = ExitStack()

    def start(path, *answers):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()

        def serve():
            with suppress(OSError):  # closed, or gone before its answer
                for answer in answers:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        opened.callback(server.close)
        opened.callback(thread.join, 10)
        opened.callback(server.shutdown, socket.SHUT_RDWR)

    with opened:
        yield start


def test_an_answer(tmp_path, answering):
    answering(tmp_path / "s", b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')
    assert ask(tmp_path / "s", "GET", "/status") == {"a": 1}


@pytest.mark.parametrize("begun", [b"", b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a"'])
def test_one_that_ends_and_its_successor(tmp_path, answering, begun):
    answering(tmp_path / "s", begun, b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')
    assert ask(tmp_path / "s", "GET", "/status") == {"a": 1}


def test_what_changes_something_is_asked_once(tmp_path, answering):
    answering(tmp_path / "s", b"")
    with pytest.raises(DaemonError, match="gave no answer"):
        ask(tmp_path / "s", "POST", "/reload")


def test_no_server(tmp_path):
    with pytest.raises(DaemonError, match="no daemon answers on"):
        ask(tmp_path / "none", "GET", "/status")


def test_no_permission(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError

    monkeypatch.setattr("spectrum.cli.client.UnixConnection.connect", refuse)
    with pytest.raises(DaemonError, match="sudo"):
        ask(tmp_path / "s", "GET", "/status")


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{"])
def test_no_answer(tmp_path, answering, answer):
    answering(tmp_path / "s", answer, answer)
    with pytest.raises(DaemonError, match="gave no answer"):
        ask(tmp_path / "s", "GET", "/status")
