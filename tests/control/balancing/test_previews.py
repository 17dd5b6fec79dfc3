import pytest

from spectrum.control.balancing import previews
from spectrum.control.balancing.previews import MAX_RUNNING_OF_OWNER, Previews, PreviewsBusy
from spectrum.core.balancing.objects import Monitor
from tests.control.keepers import Keeper, Origin, until

TCP = Monitor(type="tcp", timeout=5, retries=0)


@pytest.fixture
async def keeper():
    made = Keeper()
    yield made
    await made.health.stop()


@pytest.fixture
async def running(keeper):
    made = Previews(keeper.health)
    yield made
    await made.stop()


def text(up, down):
    return f"""
pools:
  p:
    origins:
      - {{name: a, address: 127.0.0.1, port: {up}}}
      - {{name: b, address: 127.0.0.1, port: {down}}}
      - {{name: c, address: 127.0.0.1, port: {up}, enabled: false}}
      - {{name: d, address: d.example, port: 9}}
      - {{name: e, address: 203.0.113.1}}
  q: {{origins: [{{name: a, address: 127.0.0.1, port: {up}}}], minimum_origins: 1}}
load_balancers: {{lb: {{default_pools: [p, q]}}}}
apps: {{x: {{protocol: tcp/1, load_balancer: lb}}}}
"""


async def over(running, preview_id, owner="acme"):
    pools = len(running._kept[owner][preview_id].pools)
    await until(lambda: len(running.results(owner, preview_id)["pools"]) == pools)
    return running.results(owner, preview_id)["pools"]


async def test_pools_are_probed_and_nothing_that_is_served_changes(keeper, running):
    up, down = Origin(), Origin()
    down.close()
    keeper.apply(text(up.port, down.port))
    standings, events = dict(keeper.health.standings), len(keeper.events)
    preview_id, pools = running.begin("acme", TCP, ["p", "q", "gone"])
    assert (len(preview_id), pools) == (32, ["p", "q"])
    found = await over(running, preview_id)
    assert (found["p"]["healthy"], found["q"]["healthy"]) == (True, True)
    a, b, c, d, e = found["p"]["origins"]
    assert [one["health"] for one in (a, b, c, d, e)] == ["healthy", "down", "disabled", "down", "down"]
    assert (a["rtt_ms"] > 0, a["reason"], a["address"]) == (True, None, "127.0.0.1")
    assert (b["reason"], d["reason"]) == ("connection refused", "its name has no address")
    assert e["reason"].startswith("no port to probe")
    assert (keeper.health.standings, len(keeper.events), keeper.health.probes) == (standings, events, {})
    assert running.results("other", preview_id) is None
    up.close()


async def test_previews_have_bounds(keeper, running, monkeypatch):
    silent = Origin()  # the kernel takes connections, and nobody answers
    keeper.apply(text(silent.port, silent.port))
    http = Monitor(type="http", timeout=30, retries=0)
    begun = [running.begin("acme", http, ["q"])[0] for _ in range(MAX_RUNNING_OF_OWNER)]
    with pytest.raises(PreviewsBusy, match="of this account"):
        running.begin("acme", http, ["q"])
    monkeypatch.setattr(previews, "MAX_RUNNING", MAX_RUNNING_OF_OWNER)
    with pytest.raises(PreviewsBusy, match="of all accounts"):
        running.begin("other", http, ["q"])
    assert running.results("acme", begun[0]) == {"monitor_type": "http", "pools": {}}
    monkeypatch.undo()
    monkeypatch.setattr(previews, "MAX_ADDRESSES", 3)
    with pytest.raises(ValueError, match="5 addresses are more than the 3"):
        running.begin("other", http, ["p"])
    monkeypatch.setattr(previews, "MAX_S", 0.05)
    late = (await over(running, running.begin("other", http, ["q"])[0], "other"))["q"]
    assert (late["healthy"], late["origins"][0]["reason"]) == (False, "not probed: the 0.05 s of the preview were over")
    await running.stop()
    silent.close()


async def test_results_are_kept_for_a_while(keeper, running, monkeypatch):
    up = Origin()
    keeper.apply(text(up.port, up.port))
    monkeypatch.setattr(previews, "MAX_KEPT_OF_OWNER", 2)
    ids = []
    for _ in range(4):
        ids.append(running.begin("acme", TCP, ["q"])[0])
        await over(running, ids[-1])
        await until(lambda: running._kept["acme"][ids[-1]].is_over)
    assert [running.results("acme", one) is not None for one in ids] == [False, False, True, True]
    monkeypatch.setattr(previews, "KEPT_S", 0.0)
    assert running.results("acme", ids[-1]) is None
    assert running._kept == {}
    up.close()
