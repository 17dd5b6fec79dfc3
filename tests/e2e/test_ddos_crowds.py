"""Flash crowds of real sessions at a daemon that looks for attacks: nobody is refused."""

import json
import time

import pytest

from benchmarks.ddos.crowds import CROWD_FROM, USUAL_FROM, add_clients, build
from spectrum.cli.client import ask
from tests.e2e.flood_lab import FOUR, TCP_PORT, UDP_PORT
from tests.engine.harness import eventually

KINDS = {"web": (TCP_PORT, 900), "dns": (UDP_PORT, 2_400)}
USUAL_PER_S, LEARNED_S, CROWD_S = 40, 5.0, 3.0


@pytest.fixture
def come(lab, require, tmp_path):
    """Let clients come: a kind, from which address on, how many, how many a second, for how long."""
    require("gcc")
    tool = build("crowd", tmp_path)
    add_clients(lab.network)

    def begin(kind, first, clients, per_s, seconds):
        command = [str(word) for word in (tool, kind, FOUR, KINDS[kind][0], first, clients, per_s, seconds)]
        return lab.begin_at_clients(command)

    return begin


@pytest.mark.parametrize("filter_text", ["  guard: [192.0.2.0/24]\n", ""], ids=["filter", "workers"])
def test_crowds_are_no_attack(lab, learned, come, filter_text):
    daemon = lab.serve(filter_text, f"ddos: {{store: {learned}, learning_time: 1s}}\n")

    def attacks():
        return ask(daemon.socket, "GET", "/attacks")["attacks"]

    eventually(lambda: daemon.status()["ddos"].get("samples_per_second") is not None, 30, daemon.messages)
    for kind in KINDS:
        come(kind, USUAL_FROM, 200, USUAL_PER_S, LEARNED_S + CROWD_S)
    time.sleep(LEARNED_S)
    eventually(lambda: daemon.status()["ddos"]["state"] == "on", 30, daemon.status)
    crowds = [come(kind, CROWD_FROM, 4_000, per_s, CROWD_S) for kind, (_, per_s) in KINDS.items()]
    told = [json.loads(crowd.communicate(timeout=60)[0]) for crowd in crowds]
    rules = [rule for attack in attacks() for rule in attack["rules"] if rule["name"]]
    if any(one["failed"] > 0.05 * one["answered"] for one in told):
        pytest.skip("the machine cannot serve such a crowd now")
    assert not rules, attacks()
    assert all(one["answered"] > 500 and one["broken"] == 0 for one in told), told
