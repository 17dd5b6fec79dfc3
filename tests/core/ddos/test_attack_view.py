import json
from base64 import b64decode

from spectrum.core.ddos.attack_events import AttackSample
from spectrum.core.ddos.attack_view import as_capture, attack_shown, sample_shown
from tests.core.ddos.attack_samples import NOW, attack, frame, rule, sample


def test_an_attack_as_json():
    shown = attack_shown(attack(rules=(rule(packets=8, bytes=800), rule("", action="none")), recurs="aa"))
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["id"], shown["state"], shown["target"], shown["began"], shown["ended"]) == (
        "0000000000000001",
        "mitigated",
        "UDP 192.0.2.1:7000",
        "2027-01-15T08:00:00.000000Z",
        None,
    )
    assert (shown["bits"], shown["dropped_packets"], shown["dropped_bits"], shown["recurs"]) == (6400, 8, 6400, "aa")
    first, second = shown["rules"]
    assert first["matches"] == "protocol udp, source port 123" and "What matches is dropped." in first["in_words"]
    assert (second["name"], second["override"]) == (None, None)


def test_headers_are_decoded():
    shown = sample_shown(sample(9))
    assert b64decode(shown.pop("header")) == frame(9)
    assert shown == {
        "time": "2027-01-15T08:00:01.125000Z",
        "frame_bytes": 482,
        "source": "198.51.100.9",
        "destination": "192.0.2.1",
        "protocol": "udp",
        "source_port": 123,
        "destination_port": 7000,
        "length": 32,
        "ttl": 55,
        "tcp_flags": "",
    }
    unseen = frame(9)[:22] + b"\0" + frame(9)[23:]  # the TTL, as workers show packets
    assert sample_shown(AttackSample(NOW, 482, unseen))["ttl"] is None
    assert "source" not in sample_shown(AttackSample(NOW, 9, b"no frame"))


def test_as_a_capture():
    assert as_capture([sample(2), sample(1)]).index(frame(1)) == 24 + 16
