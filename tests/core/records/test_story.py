"""Whose story is asked for, when, and what records tell: tables, and copies in any order."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.records.story import (
    Story,
    StoryTeller,
    Subject,
    Window,
    parse_subject,
    parse_time,
    several_lines,
    story_lines,
    summary,
    times_of,
)


def tell(found, of_several=(), limit=1000):
    teller = StoryTeller(limit)
    for one in found:
        teller.add(one)
    return teller.story(of_several)


NOW = datetime(2026, 11, 26, 14, 10, 30, 500, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("203.0.113.8", Subject("client", "203.0.113.8")),
        ("2001:DB8:0::1", Subject("client", "2001:db8::1")),
        ("::ffff:203.0.113.8", Subject("client", "203.0.113.8")),
        ("13351.200000000", Subject("session", "13351.200000000")),
        ("u0.5000000c1", Subject("session", "u0.5000000c1")),
        ("edge1/0/66121c7704295/1042", Subject("record", "edge1/0/66121c7704295/1042")),
    ],
)
def test_subjects(text, subject):
    assert parse_subject(text) == subject


@pytest.mark.parametrize("text", ["", "x", "203.0.113", "203.0.113.0/24", "1.2g", "a/b/c", "edge1/0/66121c77/x"])
def test_invalid_subjects(text):
    with pytest.raises(ValueError, match=r"is neither an address .* nor the id of a session .* or of a record"):
        parse_subject(text)


def test_marks_and_owners():
    client, session = parse_subject("203.0.113.8"), parse_subject("1.2")
    record = parse_subject("n/0/a/7")
    assert client.mark == b'"ClientIP":"203.0.113.8"'
    assert session.mark == b'"SessionId":"1.2"'
    assert record.mark == b'{"RecordId":"n/0/a/7"'
    assert record.place == ("n/0/a", 7)
    fields = {"RecordId": "n/0/a/7", "ClientIP": "203.0.113.8", "SessionId": "1.2"}
    assert all(one.owns(fields) for one in (client, session, record))
    assert not any(one.owns(dict.fromkeys(fields, "other")) for one in (client, session, record))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("14:02", datetime(2026, 11, 26, 14, 2, tzinfo=UTC)),
        ("14:10:30", datetime(2026, 11, 26, 14, 10, 30, tzinfo=UTC)),
        ("14:11", datetime(2026, 11, 25, 14, 11, tzinfo=UTC)),
        ("2026-11-25T09:00", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25T09:00+02:00", datetime(2026, 11, 25, 7, tzinfo=UTC)),
        ("2026-11-25", datetime(2026, 11, 25, tzinfo=UTC)),
        ("30m", NOW - timedelta(minutes=30)),
    ],
)
def test_times(text, at):
    assert parse_time(text, NOW) == at


@pytest.mark.parametrize("text", ["", "noon", "25:00", "14:61", "5 minutes", "900000000s" * 9])
def test_invalid_times(text):
    with pytest.raises(ValueError, match=r"is not a time.*write 14:02, 14:02:30"):
        parse_time(text, NOW)


def at(minute, second=0):
    return f"2026-11-26T14:{minute:02}:{second:02}.250000Z"


def test_a_window_holds_what_was_open_in_it():
    session = {"Timestamp": at(10), "ConnectTimestamp": at(5)}
    refusal = {"Timestamp": at(10), "ConnectTimestamp": None}

    def held(fields, since, until):
        ends = [NOW.replace(minute=minute, second=0) if minute else None for minute in (since, until)]
        return Window(*ends).holds(fields)

    assert held(session, None, None)
    assert held(session, 6, 7)
    assert held(session, 9, None)
    assert not held(session, 11, None)
    assert not held(session, None, 5)
    assert held(session, None, 6)
    assert held(refusal, 10, 11)
    assert not held(refusal, 8, 9)
    with pytest.raises(ValueError, match="without Timestamp"):
        times_of({})


def ended(minute, reason="client_closed", status=200, **more):
    return {
        "Event": "disconnect",
        "Status": status,
        "Reason": reason,
        "Application": "web",
        "SessionId": f"1.{minute}",
        "Timestamp": at(minute),
        "ConnectTimestamp": at(minute - 1),
        "ClientIP": "203.0.113.8",
        "ClientPort": 5000,
        "EdgeIP": "203.0.113.1",
        "EdgePort": 80,
        "OriginIP": "10.0.0.11",
        "OriginPort": 8080,
        "ClientBytes": 14,
        "OriginBytes": 2000,
        "ConnectDuration": 1_500_000,
    } | more


def refused(minute, **more):
    nowhere = {"ConnectTimestamp": None, "OriginIP": "", "OriginPort": 0}
    return ended(minute, "client_rate", 403, Limit="app: client_new_per_second 2") | nowhere | more


def text(count):
    return f"{count} B"


@given(st.permutations([ended(1), refused(2), refused(3, Sessions=5, ClientPort=0), ended(4)] * 2))
def test_each_record_once_in_the_order_of_time(records):
    story = tell(records)
    assert [one["Timestamp"] for one in story.records] == [at(1), at(2), at(3), at(4)]
    assert (story.reasons, story.refused, story.omitted) == ({"client_rate": 6, "client_closed": 2}, 6, 0)
    assert summary(story) == "8 sessions, 6 of them refused: client_rate 6, client_closed 2"
    assert story.apps == ("web",)
    assert story.open_session is None


def test_the_latest_of_too_many():
    story = tell([ended(minute) for minute in range(1, 10)], limit=2)
    assert [one["Timestamp"] for one in story.records] == [at(8), at(9)]
    assert story.omitted == 7
    assert sum(story.reasons.values()) == 9


def test_of_very_many_few_are_held(monkeypatch):
    monkeypatch.setattr("spectrum.core.records.story.SLACK_RECORDS", 0)
    teller = StoryTeller(3)
    for minute in (*range(30, 59), *range(1, 30)):
        teller.add(refused(minute) if minute % 2 else ended(minute))
        assert len(teller._records) <= 7
    story = teller.story()
    assert [one["Timestamp"] for one in story.records] == [at(56), at(57), at(58)]
    assert (story.omitted, story.refused, sum(story.reasons.values())) == (55, 29, 58)


def test_sentences():
    records = [
        refused(1),
        refused(2, Sessions=5, ClientPort=0),
        refused(
            3, Reason="client_blocked", Limit=None, AccessRule="bad", AccessPrefix="203.0.113.0/24", AccessList="/x:7"
        ),
        ended(4, Pool="p", OriginName="one"),
        ended(
            5,
            "connect_refused",
            521,
            ConnectTimestamp=None,
            Attempts=[{"Origin": "10.0.0.11:80", "Reason": "connect_refused"}],
        ),
        ended(6, "sni_unknown", 400, ConnectTimestamp=None, OriginIP="", ClientTlsClientHelloServerName="shpo"),
        ended(7, "client_reset", 499, ConnectTimestamp=None, OriginIP="", Sessions=3),
        ended(8, "", 0, Event="connect", Timestamp=at(7)),
        ended(9, "", 0, Event="progress"),
    ]
    lines = story_lines(tell(records), text)
    assert [line[25:] for line in lines] == [
        "app web: refused: client_rate (403), limit of app: client_new_per_second 2",
        "app web: refused 5 times within a second: client_rate (403), limit of app: client_new_per_second 2",
        "app web: refused: client_blocked (403), access rule bad (203.0.113.0/24, /x:7)",
        "app web: session 1.4 to 10.0.0.11:8080 (p/one) ended after 60.0 s, 14 B from the client,"
        " 2000 B from the origin: client_closed (200)",
        "app web: session 1.5 had no origin: connect_refused (521) (10.0.0.11:80: connect_refused)",
        "app web: refused: sni_unknown (400), it asked for shpo",
        "app web: session 1.8 to 10.0.0.11:8080: connected",
        "app web: 3 sessions ended within a second: client_reset (499)",
        "app web: session 1.9 to 10.0.0.11:8080: open, 14 B from the client, 2000 B from the origin",
    ]
    assert lines[0].startswith("2026-11-26 14:01:00.250  ")


def test_a_session_in_steps():
    record = ended(
        4,
        "origin_reset",
        444,
        Attempts=[{"Origin": "10.0.0.9:80", "Reason": "connect_timeout", "Name": "p/two"}],
        ClientTlsClientHelloServerName="shop.example",
        ClientTlsProtocol="TLSv1.3",
        AccessRule="office",
    )
    assert story_lines(tell([record]), text, in_steps=True) == [
        "2026-11-26 14:03:00.248  from 203.0.113.8:5000 to 203.0.113.1:80, app web",
        "                         asked for shop.example (TLSv1.3)",
        "                         named by access rule office",
        "                         10.0.0.9:80 (p/two) could not be reached: connect_timeout",
        "2026-11-26 14:03:00.250  connected to 10.0.0.11:8080 after 1.5 ms",
        "2026-11-26 14:04:00.250  ended after 60.0 s, 14 B from the client, 2000 B from the origin: origin_reset (444)",
    ]
    record = ended(4, "connect_refused", 521, ConnectTimestamp=None)
    assert story_lines(tell([record]), text, in_steps=True) == [
        "                         from 203.0.113.8:5000 to 203.0.113.1:80, app web",
        "2026-11-26 14:04:00.250  ended without an origin: connect_refused (521) (10.0.0.11:8080)",
    ]


def test_a_session_that_is_open():
    story = tell([ended(4, "", 0, Event="connect"), ended(5, "", 0, Event="progress", SessionId="1.4")])
    assert story.open_session == "1.4"
    assert summary(story) == "its end is not kept, or it is still open"
    assert Story((), 0, {}, 0).open_session is None


def test_refusals_of_several_clients():
    several = refused(2, ClientIP="", Sessions=470, Clients=300)
    assert several_lines(tell([], [several, several])) == [
        "2026-11-26 14:02:00.250  app web: 470 refusals of 300 clients together: client_rate (403),"
        " limit of app: client_new_per_second 2"
    ]
