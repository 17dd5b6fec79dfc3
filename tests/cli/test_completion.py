import click
import pytest

from spectrum.cli import completion as module
from spectrum.cli.client import DaemonError

STATUS = {"apps": [{"name": "web"}, {"name": "ssh"}], "paused": [{"app": "web"}, {"app": "was"}], "pools": []}


@pytest.fixture
def context():
    return click.Context(click.Command("x"))


def test_names_of_apps(monkeypatch, context):
    monkeypatch.setattr(module, "ask", lambda *_: STATUS)
    assert module.complete_apps(context, None, "w") == ["web", "was"]


def test_without_a_daemon_nothing_is_completed(monkeypatch, context):
    def ask(*_):
        raise DaemonError("no daemon")

    monkeypatch.setattr(module, "ask", ask)
    assert module.complete_apps(context, None, "w") == []
