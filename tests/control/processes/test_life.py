from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.processes.life import Life

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


class Other:
    """Stands for a successor."""

    def __init__(self):
        self.lives, self.signals, self.killed = True, [], False

    def signal(self, number):
        self.signals.append(number)

    def kill(self):
        self.killed = True


def test_what_keeps_the_daemon_from_a_change():
    served = Served(load_text(APPS, "f"))
    life = Life(served)
    assert life.busy_with() == "the daemon is not serving yet"
    served.is_live = True
    assert life.busy_with() == ""
    life.successor = Other()
    assert life.busy_with() == "the daemon is being upgraded"
    life.stay()
    assert life.refuses_changes() == ""
    life.upgrading = other = Other()
    assert (life.busy_with(), life.refuses_changes()) == ("", "the daemon is being upgraded")
    life.stop()
    assert life.refuses_changes() == "the daemon is stopping"
    assert other.killed and life.stopping.is_set()
    assert life.busy_with() == "the daemon is stopping"


def test_signals_are_for_the_daemon_that_follows():
    life = Life(Served(load_text(APPS, "f")))
    assert not life.pass_on(15)
    life.successor = other = Other()
    assert life.pass_on(15) and other.signals == [15]
    other.lives = False
    assert not life.pass_on(15)
