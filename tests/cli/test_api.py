import socket

import click
import pytest

from spectrum.cli.api import request
from tests.cli.api_server import error, result, serving


def test_a_result(tmp_path):
    with serving(tmp_path / "s", {("POST", "/client/v4/a?page=2"): result({"id": 1})}) as asked:
        assert request(tmp_path / "s", "POST", "/a", {"b": [1]}, page="2") == {"id": 1}
    assert asked == [("POST", "/client/v4/a?page=2", {"b": [1]})]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error("no such pool", "/default_pools/0"), "default_pools.0: no such pool"),
        (error("no"), "no"),
        ({"success": False}, "sent an invalid answer"),
        ([], "sent an invalid answer"),
        (b"<html>", "gave no answer: "),
    ],
)
def test_errors(tmp_path, answer, message):
    with serving(tmp_path / "s", {("GET", "/client/v4/a"): answer}), pytest.raises(click.ClickException) as caught:
        request(tmp_path / "s", "GET", "/a")
    assert message in caught.value.message


def test_no_server(tmp_path):
    with pytest.raises(click.ClickException) as caught:
        request(tmp_path / "none", "GET", "/a")
    assert "does its file have api:" in caught.value.message


def test_no_permission(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError

    monkeypatch.setattr("spectrum.cli.client.UnixConnection.connect", refuse)
    with pytest.raises(click.ClickException) as caught:
        request(tmp_path / "s", "GET", "/a")
    assert "sudo" in caught.value.message


def test_no_answer_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.cli.api.READING_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with pytest.raises(click.ClickException) as caught:
            request(tmp_path / "s", "GET", "/a")
    assert "spectrum status shows whether it is served" in caught.value.message
