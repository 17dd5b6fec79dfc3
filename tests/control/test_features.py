from spectrum.control.balancing.actor import HealthActor
from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.loader import load_text
from spectrum.control.listeners import ListenersActor
from spectrum.link.messages import OutcomesReport
from spectrum.link.takeover import Events
from tests.control.supervised import made

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


class Worker:
    """Notes what it is told."""

    def __init__(self):
        self.names, self.health, self.tickets = [], [], []

    def tell_names(self, addresses):
        self.names.append(addresses)

    def tell_health(self, standings, latencies):
        self.health.append((standings, latencies))

    def tell_tickets(self, keys):
        self.tickets.append(keys)


async def test_features_are_wired_to_each_other_and_to_workers(monkeypatch):
    daemon = made(load_text(APPS, "f"))
    features, worker = daemon.features, Worker()
    daemon.fleet.workers[0] = worker
    features.tickets.rotate()
    assert worker.tickets == [features.tickets.keys]
    features.names.addresses["ANY a tcp 1-1"] = ("192.0.2.1",)
    features._names_changed({"ANY a tcp 1-1": ("192.0.2.1",)})
    assert worker.names == [{"ANY a tcp 1-1": ("192.0.2.1",)}]
    met, added = [], []
    monkeypatch.setattr(features.health, "count_outcomes", met.append)
    monkeypatch.setattr(features.records, "add", added.append)
    features.heard(OutcomesReport([]))
    features.heard(Events(0, b"", "0/5f", 1))
    assert met == [[]] and len(added) == 1
    daemon.fleet.workers.clear()
    await daemon.close()


async def test_the_order_of_actors():
    daemon = made(load_text(APPS, "f"))
    actors = daemon.features.actors
    assert isinstance(actors[-1], HealthActor), "it forgets what it knew of origins that leave"
    assert any(isinstance(actor, ListenersActor) for actor in actors)
    refusable = [type(actor).prepare is not Actor.prepare for actor in actors]
    assert not any(refusable[actors.index(daemon.served) :]), "what is served changes when all else is there"
    await daemon.close()
