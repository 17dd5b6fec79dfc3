import os

import pytest
import yaml

from spectrum.simulation.flooding import FloodPlan
from spectrum.simulation.network import EDGE_LINK, TrialNetwork
from spectrum.simulation.trial import (
    Trial,
    TrialApp,
    TrialError,
    TrialFolder,
    TrialProgress,
    in_namespaces,
    on_loopback,
    trial_file,
)

APP = TrialApp("game", "udp", (7000, 7000))
FILE = {
    "filter": {
        "interfaces": ["eth0"],
        "guard": ["10.99.0.0/24"],
        "rules": {"plain": {"protocol": "udp", "length": 540}},
    },
    "apps": {
        "game": {"protocol": "udp/7000", "origin_direct": ["udp://10.0.0.1:7000"], "timeouts": {"idle": "5s"}},
        "other": {"protocol": "tcp/1", "origin_direct": ["tcp://10.0.0.1:1"]},
    },
    "metrics": {"listen": "127.0.0.1:9090"},
}
PLAN = FloodPlan("udp_fixed", "", b"", None, None, (1, 1), 20_000, 0.6, frames=4096)


def test_the_file_of_a_trial(tmp_path):
    made = trial_file(FILE, APP, tmp_path, 4000)
    assert made["filter"] == FILE["filter"] | {"interfaces": [EDGE_LINK]}
    own = {"protocol": "udp/7000", "proxy_protocol": "off", "origin_direct": ["udp://127.0.0.1:4000"]}
    assert made["apps"] == {"game": own | {"timeouts": {"idle": "5s"}}}
    assert set(made) == {"filter", "apps", "control", "drain_timeout"}
    learned = {"learning_time": "300ms", "store": str(tmp_path / "learned"), "user": "nobody"}
    for given in (True, {}, {"action": "log", "store": "/var/lib/learned"}):
        made = trial_file(FILE | {"ddos": given}, APP, tmp_path, 4000)["ddos"]
        assert made == ({"action": "log"} if given and given is not True else {}) | learned
    assert trial_file(FILE | {"ddos": {}, "user": "spectrum"}, APP, tmp_path, 4000)["ddos"]["user"] == "spectrum"
    assert trial_file(FILE | {"ddos": False}, APP, tmp_path, 4000)["ddos"] is False
    for given in ({}, {"ddos": False}, {"ddos": None}):
        with pytest.raises(TrialError, match="neither filter nor ddos"):
            trial_file({"apps": FILE["apps"]} | given, APP, tmp_path, 1)
    made = trial_file({"apps": FILE["apps"], "ddos": {}}, APP, tmp_path, 1)
    assert "filter" not in made and made["ddos"] == learned


def test_what_was_dropped():
    look = TrialProgress(
        1.0,
        10,
        {"passed": 5, "guarded": 3, "samples_lost": 2, "looks_lost": 9, "rule a": 7, "rule b": 4, "too_many": 1},
    )
    assert look.dropped() == {"rule a": 7, "rule b": 4, "too_many": 1}
    # The first three of a rule that only counted at first.
    assert look.dropped({"rule b": 3}) == {"rule a": 7, "rule b": 1, "too_many": 1}


@pytest.fixture
def network(require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    with TrialNetwork(f"spr{os.getpid() % 100000}") as made:
        yield made


def test_a_trial(network):
    with TrialFolder() as folder, Trial(in_namespaces(network), APP) as trial:
        assert "core" in trial.cores
        trial.start_origin(4000)
        control = trial.serve(yaml.safe_dump(trial_file(FILE, APP, folder, 4000)), folder)
        assert control.exists()
        *_, last = trial.run(PLAN, 0.5, 0.3)
        assert last.counts["rule plain"] >= 0.9 * last.sent > 500
        assert last.good["answered"] > 20 and last.good["failed"] == 0
        *_, last = trial.run(PLAN, 0.1, 0.1, lambda: {"rule ddos/other": 5})
        assert last.dropped() == {"rule ddos/other": 5}
        with pytest.raises(TrialError, match=r"cannot be made: .*absent"):
            next(trial.run(FloodPlan("/absent", "", b"", None, None, (1, 1), 1, 1), 0, 0))
        with pytest.raises(TrialError, match="does not serve"):
            trial.serve("apps: 5", folder)
    assert not folder.exists()


def test_the_loopback_without_a_filter(require):
    if os.geteuid() != 0:
        pytest.skip("packets of one's own need root")
    with Trial(on_loopback(), APP) as trial, pytest.raises(TrialError, match="filter of the edge is not there"):
        next(trial.run(PLAN, 0.1, 0.1))
