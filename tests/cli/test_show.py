import io

from rich.console import Console

from spectrum.cli.show import show_status

ORIGIN = {
    "address": "192.0.2.1:22",
    "configured": True,
    "sessions": 1,
    "connected": 9,
    "failed": 0,
    "last_failure": None,
}
APP = {
    "name": "ssh",
    "protocol": "tcp/2222",
    "listens_on": "127.0.0.1",
    "sessions": 1,
    "sessions_started": 9,
    "bytes_from_client": 999,
    "bytes_from_origin": 1_234_567_890_123_456,
    "origins": [ORIGIN, ORIGIN | {"configured": False, "failed": 2, "last_failure": "connect_refused"}],
    "load_balancer": None,
    "origin_name": None,
    "origin_name_failure": None,
}
NAMED = APP | {"name": "named", "origins": [], "origin_name": "x.example", "origin_name_failure": "unknown"}
MEMBER = {
    "name": "a",
    "address": "192.0.2.1",
    "port": 22,
    "share": 0.7,
    "health": "healthy",
    "reason": None,
    "rtt_ms": 12.34,
    "sessions": 3,
    "certificate_expires_in_days": None,
}
POOL = {
    "name": "eu",
    "health": "degraded",
    "rtt_ms": 12.34,
    "sessions": 3,
    "origins_up": 1,
    "minimum_origins": 1,
    "origins": [
        MEMBER,
        MEMBER | {"name": "b", "health": "down", "reason": "said b'[x]'", "rtt_ms": None, "port": None},
        MEMBER | {"name": "c", "certificate_expires_in_days": 3.4},
        MEMBER
        | {
            "name": "d",
            "monitors": [
                {"monitor": "ssh", "counts": "majority", "health": "down", "reason": "timeout"},
                {"monitor": "ping", "counts": "majority", "health": "healthy", "reason": None},
            ],
        },
    ],
}
BALANCER = {
    "name": "game",
    "enabled": True,
    "steering_policy": "random",
    "pools": ["eu", "us"],
    "fallback_pool": "us",
    "fallback_in_use": False,
}
STATUS = {
    "version": "1.2.3",
    "pid": 5,
    "config": "/f.yaml",
    "generation": 1,
    "uptime_s": 90061.0,
    "draining": False,
    "workers": [{"number": 0, "pid": 6, "ready": True, "sessions": 1, "stalled": True, "deaf": 0, "offloaded": 2}],
    "kernel": {"bindings": "off", "filter": "off", "udp_offload": "on: lo"},
    "load_balancers": [],
    "pools": [],
    "names": [
        {"name": "fine.example", "reason": None, "addresses": ["192.0.2.9"], "age_s": 1.0},
        {"name": "db.example", "reason": "no [such] name", "addresses": ["192.0.2.1", "192.0.2.2"], "age_s": 125.0},
        {"name": "dead.example", "reason": "no answer", "addresses": [], "age_s": None},
    ],
    "apps": [APP, NAMED, NAMED | {"origin_name_failure": None}],
}


def shown(status):
    console = Console(file=io.StringIO(), width=200)
    show_status(status, console)
    return console.file.getvalue()


def test_status_output():
    text = shown(STATUS)
    assert "spectrum 1.2.3 serving, pid 5, up 1d 1h, generation 1 of /f.yaml" in text
    assert "worker 0: pid 6, 1 session, 2 UDP flows in the kernel (not accepting: out of descriptors)" in text
    assert "kernel: bindings off; filter off; udp_offload on: lo" in text
    assert "192.0.2.1:22 1 open, 9 connected" in text
    assert "2 failed (connect_refused) (no longer in the file)" in text
    assert "999 B" in text
    assert "1234.6 TB" in text
    assert "x.example: unknown" in text
    assert "name db.example: no [such] name; addresses from 2m 5s ago are in use: 192.0.2.1, 192.0.2.2" in text
    assert "name dead.example: no answer\n" in text


def test_other_states():
    for seconds, up in ((5.0, "up 5s"), (65.0, "up 1m 5s"), (3700.0, "up 1h 1m")):
        assert up in shown(STATUS | {"uptime_s": seconds})
    text = shown(STATUS | {"workers": [STATUS["workers"][0] | {"deaf": 3}]})
    assert "3 listeners are not served" in text
    earlier = {name: value for name, value in STATUS["workers"][0].items() if name != "deaf"}
    assert "are not served" not in shown(STATUS | {"workers": [earlier]}), "an earlier version says nothing of it"
    off = dict.fromkeys(STATUS["kernel"], "off")
    assert "kernel:" not in shown(STATUS | {"kernel": off | {"helper": "on: pid 7"}})
    assert "helper off: pid 7: gone" in shown(STATUS | {"kernel": off | {"helper": "off: pid 7: gone"}})
    text = shown(STATUS | {"draining": True, "workers": [STATUS["workers"][0] | {"ready": False, "stalled": False}]})
    assert "draining" in text
    assert " starting, pid" in shown(STATUS | {"starting": True}) and " serving, pid" in shown(STATUS)
    assert "(starting)" in text
    former = STATUS["workers"][0] | {"ready": False, "stalled": False, "relieved": True}
    assert "(from before an upgrade)" in shown(STATUS | {"workers": [former]})


def test_paused_apps():
    one = {"app": "x", "since": "2026-01-02T03:04:05+00:00", "uid": 7, "in_file": True}
    text = shown(
        STATUS | {"apps": [APP | {"paused": True}, NAMED], "paused": [one, one | {"app": "y", "in_file": False}]}
    )
    assert "app x: paused since 2026-01-02T03:04:05+00:00, by uid 7\n" in text
    assert "app y, which is not in the file: paused since" in text
    assert text.count("(paused)") == 1


def test_certificates_by_acme():
    one = {"certificate": "auto", "ends_at": 0.0, "ordering": False, "failures": 0, "failure": "", "try_at": 0.0}
    one["renew_at"] = 0.0
    failed = one | {"failures": 2, "failure": "the CA [x] refuses", "try_at": 3600.0}
    issued = one | {"ends_at": 86400.0, "renew_at": 7200.0}
    text = shown(STATUS | {"acme": [one, one | {"ordering": True}, failed, issued]})
    assert "certificate auto: not issued yet\n" in text
    assert "certificate auto: not issued yet, being ordered\n" in text
    assert "not issued yet; the CA [x] refuses (2 failures, the next order is at 1970-01-01 01:00 UTC)" in text
    assert "certificate auto: valid until 1970-01-02 00:00 UTC, to be renewed at 1970-01-01 02:00 UTC" in text


def test_records():
    part = {"lost": 0, "failure": None}
    journal = part | {"path": "/var/lib/[x]", "bytes": 12_300_000, "max_bytes": 2**30, "records": 100}
    sink = part | {"name": "archive", "records": 100, "lag_records": 0, "lag_s": 0.0}
    late = sink | {"lag_records": 5, "lag_s": 65.0, "lost": 3, "failure": "no [such] disk"}
    text = shown(STATUS | {"records": {"journal": journal, "sinks": [sink, late]}})
    assert "journal /var/lib/[x]: 12.3 MB of 1.1 GB\n" in text
    assert "sink archive: 100 records, 0 records behind\n" in text
    assert "sink archive: 100 records, 5 records behind (1m 5s), 3 lost: no [such] disk\n" in text
    assert "journal" not in shown(STATUS | {"records": None})


def test_detection_of_attacks():
    part = {"state": "off: the detector does not run", "why": "killed by SIGKILL", "rules": []}
    assert "ddos off: the detector does not run (the last one ended: killed by SIGKILL)\n" in shown(
        STATUS | {"ddos": part}
    )
    rules = [{"name": "udp-1", "what": "UDP [x]: block", "ends_in_s": 65.2}]
    part |= {"state": "on", "why": "", "packets_per_second": 20_044, "lost": 1_000, "rules": rules}
    text = shown(STATUS | {"ddos": part})
    assert "ddos on; 20,044 pps, 1,000 looks lost\n" in text
    assert "rule ddos/udp-1, 65 s more: UDP [x]: block\n" in text


def test_flow_programs():
    one = {"mode": "log", "judged": 1_200, "would_drop": 0, "dropped": 0, "ns_per_datagram": None}
    assert "flow program game log: 1,200 datagrams judged\n" in shown(STATUS | {"flow_programs": {"game": one}})
    one |= {"mode": "enabled", "would_drop": 7, "dropped": 1_000, "ns_per_datagram": 120}
    text = shown(STATUS | {"flow_programs": {"game": one}})
    assert "flow program game enabled: 1,200 datagrams judged, 7 would drop, 1,000 dropped, 120 ns each\n" in text


def test_analytics():
    part = {
        "bytes": 5_000_000,
        "max_bytes": 2**30,
        "rows": 9,
        "lag_records": 0,
        "lag_s": 0.0,
        "lost": 0,
        "failure": None,
    }
    text = shown(STATUS | {"analytics": part | {"store": "/var/lib/[x]"}})
    assert "analytics /var/lib/[x]: 5.0 MB of 1.1 GB, 9 records, 0 records behind\n" in text
    late = part | {
        "store": "http://h",
        "max_bytes": None,
        "lag_records": 5,
        "lag_s": 65.0,
        "lost": 3,
        "failure": "full",
    }
    text = shown(STATUS | {"analytics": late})
    assert "analytics http://h: 9 records, 5 records behind (1m 5s), 3 lost: full\n" in text


def test_pools_and_load_balancers():
    led = APP | {"origins": [], "load_balancer": "game"}
    text = shown(STATUS | {"apps": [led], "pools": [POOL], "load_balancers": [BALANCER]})
    assert "load balancer game: steering random, pools eu, us" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "eu 1 up, 1 needed degraded 12.3 ms 3" in lines
    assert "a 192.0.2.1 port 22 healthy 70% 12.3 ms 3" in lines
    assert "b 192.0.2.1 down 70% 3 said b'[x]'" in lines
    assert "c 192.0.2.1 port 22 healthy 70% 12.3 ms 3 certificate expires in 3 days" in lines
    assert "d 192.0.2.1 port 22 healthy 70% 12.3 ms 3 ssh fails: timeout" in lines
    fallen = shown(STATUS | {"pools": [POOL], "load_balancers": [BALANCER | {"fallback_in_use": True}]})
    assert "none is healthy: us serves as fallback" in fallen
    assert "(disabled)" in shown(STATUS | {"pools": [POOL], "load_balancers": [BALANCER | {"enabled": False}]})


def test_origins_that_are_set_by_hand():
    one = {"origin": "p/[a]", "out": "drain", "weight": 0.5, "since": "2026-01-02T03:04:05+00:00", "uid": 7}
    text = shown(
        STATUS
        | {
            "origins_by_hand": [
                one | {"in_file": True},
                one | {"origin": "p/b", "out": None, "in_file": False},
                one | {"origin": "p/c", "out": "disable", "weight": None, "in_file": True},
            ]
        }
    )
    assert "origin p/[a]: drained and weight 0.5 since 2026-01-02T03:04:05+00:00, by uid 7\n" in text
    assert "origin p/b, which is not in the file: weight 0.5 since" in text
    assert "origin p/c: disabled since" in text


def test_the_api():
    one = {"listen": ["unix:/run/api.sock", "[::1]:8787"], "pid": 7, "why": "", "set_aside": []}
    assert "API on unix:/run/api.sock, [::1]:8787: pid 7\n" in shown(STATUS | {"api": one})
    aside = {"section": "apps", "name": "x", "message": "[::]:1 is taken"}
    text = shown(STATUS | {"api": one | {"pid": 0, "why": "exit status 1", "set_aside": [aside]}})
    assert "[::1]:8787: not served: exit status 1\n" in text
    assert "apps.x of its store is set aside: [::]:1 is taken\n" in text
    assert "8787: not served\n" in shown(STATUS | {"api": one | {"pid": 0}})
