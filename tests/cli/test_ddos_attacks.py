import asyncio
import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from spectrum.cli import ddos_attacks as module
from spectrum.control.ddos.attacks import AttackBook, AttacksActor
from spectrum.control.http.resource import ResourceTable
from spectrum.core.life.attack import AttackState
from tests.cli.harness import spectrum
from tests.core.ddos.attack_samples import NOW, event, frame, rule, sample


@pytest.fixture
def book(tmp_path, monkeypatch):
    """What a daemon knows that answers without a socket."""
    kept = AttackBook(tmp_path, lambda records: None)
    table = ResourceTable(AttacksActor(kept, lambda: True).resources(), 0)

    def ask(path, method, resource):
        if resource == "/status":
            return {"ddos": {"state": kept.state}} if kept.state else {}
        asked = urlsplit(resource)
        answer = table.answer(method, asked.path, dict(parse_qsl(asked.query)), b"")
        return json.loads(asyncio.run(answer)[1])

    kept.state = ""
    monkeypatch.setattr(module, "ask_daemon", ask)
    return kept


def test_the_list(book):
    nobody = "detection is off: the file has no ddos\n"
    assert spectrum("ddos", "attacks").output == f"there was no attack; {nobody}"
    assert spectrum("ddos", "attacks", "--open").output == f"no attack is open; {nobody}"
    book.state = "starting"
    assert spectrum("ddos", "attacks").output == "there was no attack; detection is starting\n"
    book.take([event(), event("ended", number=2, app="", state=AttackState.ENDED, ended=NOW + 61)])
    heading, first, second = spectrum("ddos", "attacks").output.splitlines()
    assert heading.split() == ["id", "began", "lasted", "state", "target", "pps", "bit/s", "vectors"]
    assert first.split("  ")[0] == "0000000000000001" and "ongoing" in first and first.endswith("NTP reflection")
    assert "2027-01-15 08:00:00  61 s     ended      UDP 192.0.2.1:7000  100 k" in second
    assert spectrum("ddos", "attacks", "--limit", 1).output.endswith("and 1 more; use --limit to show them\n")
    assert [one["id"] for one in json.loads(spectrum("ddos", "attacks", "--open", "--json").output)] == [
        "0000000000000001"
    ]


def test_one_of_them(book):
    rules = rule(packets=5000, bytes=2_000_000, override="night"), rule("", action="none")
    book.take([event(rules=rules, samples=[sample(1), sample(2)], sources=4000)])
    shown = spectrum("ddos", "show", "0000").output
    assert shown.startswith("attack 0000000000000001 on game: NTP reflection\n")
    for text in (
        "mitigated          after 200 ms",
        "dropped            5,000 packets, 16.0 Mbit",
        "sources            about 4,000",
        "normal traffic hit at most 0.1 % of an app's normal openings",
        "The override night defines",
        "2 sampled packets",
        "udp 198.51.100.2:123 > 192.0.2.1:7000 length 32 ttl 55",
    ):
        assert text in shown, shown
    assert "seen before" not in shown
    assert json.loads(spectrum("ddos", "show", "0000", "--json").output)["sources"] == 4000
    wrong = spectrum("ddos", "show", "ffff")
    assert wrong.exit_code == 1 and 'there is no attack "ffff"' in wrong.output


def test_a_rule_in_words(book):
    book.take([event()])
    assert "What matches is dropped." in spectrum("ddos", "explain", "ddos-1").output.splitlines()
    assert json.loads(spectrum("ddos", "explain", "ddos-1", "--json").output)["attack"] == "0000000000000001"
    assert 'no attack has a rule "x"' in spectrum("ddos", "explain", "x").output


def test_a_capture(book, tmp_path):
    book.take([event(samples=[sample(1)])])
    made = spectrum("ddos", "pcap", "0000").stdout_bytes
    assert made[:4] == b"\x4d\x3c\xb2\xa1" and made.endswith(frame(1))
    path = tmp_path / "out.pcap"
    assert spectrum("ddos", "pcap", "0000", "-o", path).exit_code == 0
    assert path.read_bytes() == made
    assert "no such file" in spectrum("ddos", "pcap", "0000", "-o", tmp_path / "no" / "x").output


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"frame_bytes": 60}, "60 bytes"),
        (
            {"protocol": "tcp", "source": "2001:db8::1", "source_port": 5, "destination": "2001:db8::2"}
            | {"destination_port": 0, "tcp_flags": "syn", "length": 60, "ttl": 4},
            "tcp [2001:db8::1]:5 > 2001:db8::2 syn length 60 ttl 4",
        ),
        (
            {"protocol": "udp", "source": "192.0.2.1", "source_port": 5, "destination": "192.0.2.2"}
            | {"destination_port": 7, "tcp_flags": "", "length": 32, "ttl": None},
            "udp 192.0.2.1:5 > 192.0.2.2:7 length 32",
        ),
    ],
)
def test_packets_in_a_line(given, line):
    assert module._packet(given) == line
