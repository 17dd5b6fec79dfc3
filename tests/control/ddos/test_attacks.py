import asyncio

import msgspec
import pytest

from spectrum.control.ddos.attacks import TOLD_S, AttackBook, AttacksActor
from spectrum.control.http.resource import ResourceRequest
from spectrum.core.ddos.attack_events import MOST_SAMPLES
from spectrum.core.life.attack import AttackState
from tests.core.ddos.attack_samples import NOW, event, rule, sample

ENDED = {"state": AttackState.ENDED, "ended": NOW + 60}


class Daemon:
    """A book, its actor, and what was recorded."""

    def __init__(self, folder, detects=True, most=1000):
        self.recorded = []
        self.book = AttackBook(folder, self.recorded.extend, most)
        self.detects = detects
        self.actor = AttacksActor(self.book, lambda: self.detects)
        self._answers = {one.path: one.answer for one in self.actor.resources()}

    def write(self):
        self.book.write(self.book.unwritten())

    async def ask(self, path, **query):
        return await self._answers[path](ResourceRequest(query))


def test_attacks_are_among_the_findings(tmp_path, monkeypatch):
    one = Daemon(tmp_path / "attacks")
    now = ENDED["ended"] + TOLD_S
    monkeypatch.setattr("spectrum.control.ddos.attacks.time.time", lambda: now)
    one.book.take([event(number=1, rules=(rule(packets=5),)), event(number=2, app="", state=AttackState.LEFT_ALONE)])
    for number in (3, 4):
        over = ENDED | {"ended": ENDED["ended"] + number, "bits_per_second": 1e9 / number}
        one.book.take([event("ended", number=number, rules=(rule(packets=number),), **over)])
    one.book.take([event("ended", number=5, app="old", **ENDED | {"ended": ENDED["ended"] - 1})])
    on, alone, over = one.actor.troubles()
    assert (on.kind, on.severity, on.section, on.name, on.since, on.apps) == (
        "attack",
        "degraded",
        "apps",
        "game",
        NOW,
        ("game",),
    )
    assert on.facts == {
        "attack": f"{1:016x}",
        "target": "UDP 192.0.2.1:7000",
        "state": "mitigated",
        "vectors": ["NTP reflection"],
        "packets_per_second": 100_000,
        "bits_per_second": 400_000_000,
        "dropped": 5,
        "why": "",
    }
    assert (alone.section, alone.apps, alone.facts["why"]) == ("", (), "next to no opening of any app matches")
    assert (over.kind, over.severity, over.since) == ("attacks_ended", "past", ENDED["ended"] + 4)
    assert over.facts["attack"] == f"{4:016x}" and over.facts["count"] == 2 and over.facts["dropped"] == 7
    assert over.facts["vectors"] == ["NTP reflection"] and over.facts["bits_per_second"] == 333_333_333
    one.detects = False
    assert list(one.actor.troubles()) == []


def test_attacks_are_kept_over_a_kill(tmp_path, caplog):
    first = Daemon(tmp_path / "attacks")
    first.book.take([event(samples=[sample(1)]), event("changed", rules=(rule(packets=9),), samples=[sample(2)])])
    first.book.take([event(number=2), event("ended", number=2, **ENDED)])
    first.write()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "attack 0000000000000001 on game (UDP 192.0.2.1:7000): NTP reflection began" in caplog.messages[0]
    assert "ended after 60 s" in caplog.messages[2]
    assert [one.Event for one in first.recorded] == ["attackBegan", "attackChanged", "attackBegan", "attackEnded"]
    again = Daemon(tmp_path / "attacks")
    kept = again.book.find("0000000000000001")
    assert (kept.attack.packets, kept.samples) == (9, (sample(1), sample(2)))
    assert [one.id for one in again.book.open()] == ["0000000000000001"]
    # What matched before is not recorded again.
    again.book.take([event("changed", rules=(rule(packets=11),))])
    assert [one.Packets for one in again.recorded] == [2]
    assert len(again.book.held(NOW + 100)) == 2 and len(again.book.held(NOW + 90_000)) == 1


def test_another_action_is_said_other_figures_are_not(tmp_path, caplog):
    daemon = Daemon(tmp_path)
    changed = msgspec.structs.replace(rule(), action="retry")
    more = msgspec.structs.replace(changed, packets=77)
    daemon.book.take([event(), event("changed", rules=(changed,)), event("changed", rules=(more,))])
    assert len(caplog.messages) == 2 and f"{changed.name} retry" in caplog.messages[1]


def test_a_damaged_file_is_left_out_and_said(tmp_path, caplog):
    first = Daemon(tmp_path)
    first.book.take([event()])
    first.write()
    (tmp_path / "0000000000000009.json").write_text("{")
    assert len(Daemon(tmp_path).book.open()) == 1
    assert "0000000000000009.json: an attack cannot be read" in caplog.text


def test_the_oldest_that_ended_are_forgotten(tmp_path):
    daemon = Daemon(tmp_path, most=10)
    daemon.book.take([event(number=0)])
    daemon.book.take(event("ended", number=number, **ENDED) for number in range(1, 13))
    daemon.write()
    assert len(daemon.book.latest()) == len(list(tmp_path.iterdir())) == 10
    assert daemon.book.find("0" * 16) and daemon.book.find(f"{4:016x}")
    with pytest.raises(ValueError, match='there is no attack "0000000000000003"; `spectrum ddos attacks` lists'):
        daemon.book.find(f"{3:016x}")
    with pytest.raises(ValueError, match="attacks begin so"):
        daemon.book.find("00")


def test_ids_that_are_none_and_too_many_samples(tmp_path, caplog):
    daemon = Daemon(tmp_path)
    told = event()
    bad = msgspec.structs.replace(told.attack, id="../../etc/passwd")
    daemon.book.take([msgspec.structs.replace(told, attack=bad)])
    assert not daemon.book.latest() and "with a malformed id: '../../etc/passwd'" in caplog.text
    daemon.book.take([event(samples=[sample(1)] * (MOST_SAMPLES + 1))])
    assert len(daemon.book.find("0").samples) == MOST_SAMPLES


def test_a_failure_is_reported_once_and_tried_again(tmp_path, caplog):
    (tmp_path / "attacks").write_text("a file, not a folder")
    daemon = Daemon(tmp_path / "attacks")
    daemon.book.take([event()])
    caplog.clear()
    daemon.write()
    daemon.write()
    assert [one for one in caplog.messages if "not kept over a restart" in one] == caplog.messages[:1]
    (tmp_path / "attacks").unlink()
    daemon.write()
    assert [path.name for path in (tmp_path / "attacks").iterdir()] == ["0000000000000001.json"]


async def test_what_is_asked(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.book.take([event(samples=[sample()]), event("ended", number=2, app="", **ENDED)])
    found = await daemon.ask("/attacks")
    assert (found["total"], [one["id"][-1] for one in found["attacks"]]) == (2, ["1", "2"])
    for query, ids in (
        ({"state": "open"}, ["1"]),
        ({"state": "ended"}, ["2"]),
        ({"apps": "game,web"}, ["1"]),
        ({"apps": ""}, ["2"]),
        ({"limit": "0"}, []),
    ):
        assert [one["id"][-1] for one in (await daemon.ask("/attacks", **query))["attacks"]] == ids
    with pytest.raises(ValueError, match="'none' is not a state of attacks: open, seen"):
        await daemon.ask("/attacks", state="none")
    (shown,) = (await daemon.ask("/attack", id="0000000000000001"))["samples"]
    assert shown["source"] == "198.51.100.1"
    assert await daemon.ask("/attack/rule", name="ddos/ddos-1") == await daemon.ask("/attack/rule", name="ddos-1")
    found = await daemon.ask("/attack/rule", name="ddos-1")
    assert found["attack"] == "0000000000000001" and found["rule"]["in_words"]
    with pytest.raises(ValueError, match='no attack has a rule "ddos-9"; in force: ddos-1'):
        await daemon.ask("/attack/rule", name="ddos-9")


async def test_what_is_seen_of_it(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.book.take([event()])
    assert await daemon.actor.status() == {"attacks": 1}
    assert {family.name for family in await daemon.actor.metrics()} > {"spectrum_ddos_attacks"}
    daemon.detects = False
    assert (await daemon.actor.status(), await daemon.actor.metrics()) == ({}, ())


async def test_open_attacks_end_when_nothing_is_detected_any_more(tmp_path):
    daemon = Daemon(tmp_path, detects=False)
    daemon.book.take([event()])
    (job,) = daemon.actor.jobs().values()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job(), 0.2)
    (ended,) = Daemon(tmp_path).book.latest()
    assert ended.state is AttackState.ENDED and ended.rules[0].ended is not None


async def test_the_end_of_the_daemon_is_the_end_of_attacks(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.book.take([event()])
    await daemon.actor.drain()
    await daemon.actor.close()
    assert Daemon(tmp_path).book.latest()[0].state is AttackState.ENDED
