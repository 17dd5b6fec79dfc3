import pytest

from spectrum.control import tcp
from spectrum.core.configuration.config import Config
from spectrum.kernel.tcp import accepts_fast_open, allowed_congestion_controls, congestion_controls
from tests.core.configuration.checking import TCP, app


def found(side, **options):
    config = Config(apps={"x": app(*TCP, tcp={side: options})})
    return [(fault.path, fault.message) for fault in tcp.tcp_faults(config)]


def test_an_algorithm_that_the_kernel_has():
    assert not found("client", congestion_control=allowed_congestion_controls()[0])


@pytest.mark.parametrize("side", ["client", "origin"])
def test_one_that_it_has_not(side):
    ((path, message),) = found(side, congestion_control="none_such")
    assert path == ("apps", "x", "tcp", side, "congestion_control")
    assert message.startswith(f"this kernel has no none_such; it has {', '.join(congestion_controls())}")


def test_one_for_root_only(monkeypatch):
    monkeypatch.setattr(tcp, "allowed_congestion_controls", lambda: ["other"])
    ((_, message),) = found("origin", congestion_control=congestion_controls()[0])
    assert "is for root only here" in message
    assert f"tcp_allowed_congestion_control='other {congestion_controls()[0]}'" in message


def test_fast_open_where_it_is_off():
    assert [path[-1] for path, _ in found("client", fast_open=True)] == ["fast_open"] * (not accepts_fast_open())
