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
    "origin_name": None,
    "origin_name_failure": None,
}
NAMED = APP | {"name": "named", "origins": [], "origin_name": "x.example", "origin_name_failure": "unknown"}
STATUS = {
    "version": "1.2.3",
    "pid": 5,
    "config": "/f.yaml",
    "generation": 1,
    "uptime_s": 90061.0,
    "draining": False,
    "workers": [{"number": 0, "pid": 6, "ready": True, "sessions": 1, "stalled": True}],
    "apps": [APP, NAMED, NAMED | {"origin_name_failure": None}],
}


def shown(status):
    console = Console(file=io.StringIO(), width=200)
    show_status(status, console)
    return console.file.getvalue()


def test_what_people_see():
    text = shown(STATUS)
    assert "spectrum 1.2.3 serving, pid 5, up 1d 1h, generation 1 of /f.yaml" in text
    assert "worker 0: pid 6, 1 sessions (not accepting: out of descriptors)" in text
    assert "192.0.2.1:22 1 open, 9 connected" in text
    assert "2 failed (connect_refused) (no longer in the file)" in text
    assert "999 B" in text
    assert "1234.6 TB" in text
    assert "x.example: unknown" in text


def test_other_states():
    for seconds, up in ((5.0, "up 5s"), (65.0, "up 1m 5s"), (3700.0, "up 1h 1m")):
        assert up in shown(STATUS | {"uptime_s": seconds})
    text = shown(STATUS | {"draining": True, "workers": [STATUS["workers"][0] | {"ready": False, "stalled": False}]})
    assert "draining" in text
    assert "(starting)" in text
