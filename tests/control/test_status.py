from spectrum.control.loader import load_text
from spectrum.control.status import apps_status
from spectrum.control.totals import Totals
from spectrum.core.measures import AppMeasures, WorkerMeasures
from spectrum.core.snapshot import compile_snapshot

TEXT = """
apps:
  direct: {protocol: tcp/1, edge_ips: ["::1"], origin_direct: ["tcp://[2001:db8::1]:22"]}
  named: {protocol: tcp/2, origin_dns: {name: x.example}, origin_port: 80}
  range: {protocol: tcp/3-4, origin_direct: ["tcp://192.0.2.1:3-4"]}
"""


def test_apps():
    totals = Totals()
    measures = AppMeasures(started=2)
    measures.end(1)
    measures.origin("192.0.2.9:22").connected = 2
    totals.add(0, {"direct": measures}, WorkerMeasures())
    snapshot = compile_snapshot(load_text(TEXT, "x"), 1)
    direct, named, ranged = apps_status(
        snapshot, totals, {"ANY x.example tcp 80-80": ("192.0.2.1",)}, {"ANY x.example tcp 80-80": "why"}
    )
    assert (direct["listens_on"], direct["listeners"], direct["sessions"]) == ("[::1]", 1, 1)
    assert direct["ended"] == {"client_closed": 1}
    assert [(o["address"], o["configured"]) for o in direct["origins"]] == [
        ("[2001:db8::1]:22", True),
        ("192.0.2.9:22", False),
    ]
    assert (named["origin_name"], named["origin_name_failure"]) == ("x.example", "why")
    assert named["origins"][0]["address"] == "192.0.2.1:80"
    assert (ranged["listens_on"], ranged["listeners"], ranged["origins"]) == ("every address", 2, [])
