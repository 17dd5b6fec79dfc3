import msgspec

from spectrum.control.configuration.loader import load_text
from spectrum.control.records.app_status import apps_json
from spectrum.control.records.totals import Totals
from spectrum.core.features import compile_snapshot
from spectrum.core.records.measures import AppMeasures, WorkerMeasures


def apps_status(*args):
    return msgspec.json.decode(apps_json(*args))


TEXT = """
apps:
  direct: {protocol: tcp/1, edge_ips: ["::1"], origin_direct: ["tcp://[2001:db8::1]:22"]}
  named: {protocol: tcp/2, origin_dns: {name: x.example}, origin_port: 80}
  range: {protocol: tcp/3-4, origin_direct: ["tcp://192.0.2.1:3-4"]}
  service: {protocol: tcp/5, origin_dns: {name: _s._tcp.example, type: SRV}}
"""


def test_apps():
    totals = Totals()
    measures = AppMeasures(started=2)
    measures.end(1)
    measures.origin("192.0.2.9:22").connected = 2
    totals.add(0, {"direct": measures}, WorkerMeasures())
    snapshot = compile_snapshot(load_text(TEXT, "x"), 1)
    addresses = {"ANY x.example tcp 80-80": ("192.0.2.1",), "SRV _s._tcp.example tcp 0-0": ("10 1 99 2001:db8::1",)}
    direct, named, ranged, service = apps_status(snapshot, totals.view(), addresses, {"ANY x.example tcp 80-80": "why"})
    assert (direct["listens_on"], direct["listeners"], direct["sessions"]) == ("[::1]", 1, 1)
    assert direct["ended"] == {"client_closed": 1}
    assert [(o["address"], o["configured"]) for o in direct["origins"]] == [
        ("[2001:db8::1]:22", True),
        ("192.0.2.9:22", False),
    ]
    assert (named["origin_name"], named["origin_name_failure"]) == ("x.example", "why")
    assert named["origins"][0]["address"] == "192.0.2.1:80"
    assert (ranged["listens_on"], ranged["listeners"], ranged["origins"]) == ("every address", 2, [])
    assert [origin["address"] for origin in service["origins"]] == ["[2001:db8::1]:99"]


EVERY_KIND = """
apps:
  any: {protocol: tcp/1, tproxy: {port: 7000, prefixes: [192.0.2.0/24]}, origin_direct: ["tcp://127.0.0.1:22"]}
  bound: {protocol: tcp/2, edge_ips: [127.0.0.1], bindings: [{prefix: 198.51.100.0/24, port: 0}], origin_direct: ["tcp://127.0.0.1:22"]}
  game: {protocol: udp/3, origin_direct: ["udp://127.0.0.1:22"]}
"""


def test_what_only_some_apps_have():
    measures = AppMeasures(datagrams_from_client=7, dropped={1: 2})
    snapshot = compile_snapshot(load_text(EVERY_KIND, "x"), 1)
    any_, bound, game = apps_status(snapshot, {"game": measures}, {}, {})
    assert any_["listens_on"] == "192.0.2.0/24 (tproxy, port 7000)"
    assert bound["listens_on"] == "198.51.100.0/24 (bindings), 127.0.0.1"
    assert (game["datagrams_from_client"], game["datagrams_dropped"]) == (7, {"too_big": 2})


def test_connections_ahead_of_sessions():
    measures = AppMeasures()
    measures.origin("[2001:db8::1]:22").preconnect((5, 1, 0, 0, 0))
    direct, *_ = apps_status(compile_snapshot(load_text(TEXT, "x"), 1), {"direct": measures}, {}, {})
    assert direct["origins"][0]["preconnected"] == 4
