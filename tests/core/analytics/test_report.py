from dataclasses import replace

import pytest

from spectrum.core.analytics.figures import NB
from spectrum.core.analytics.outages import HealthChange
from spectrum.core.analytics.report import AttackSums, Failures, Refusals, ReportFacts, Volume, report

WEEK = 7 * 86400
SINCE = 1_795_392_000.0  # 2026-11-23T00:00:00Z, a Monday
UNTIL = SINCE + WEEK
DOWN = SINCE + 2 * 86400 + 14 * 3600 + 120
TOTAL = Volume(sessions=70_400_000, failed=37, bytes_in=9 * 10**12, bytes_out=80 * 10**12, clients=412_000)
QUIET = ReportFacts(
    "edge.example.net",
    SINCE,
    UNTIL,
    UNTIL,
    replace(TOTAL, failed=0),
    replace(TOTAL, failed=0, bytes_out=76 * 10**12, sessions=67_000_000),
    pools={"db": ["pg-1", "pg-2"]},
    events=141_204_881,
)
PG2_DOWN = HealthChange(DOWN, "originHealth", "db/pg-2", False, "connect_timeout")
LOST = replace(
    QUIET,
    total=replace(TOTAL, refused=12_400),
    refusals=[
        Refusals("ssh", "client_blocked", "scanners", 10_000),
        Refusals("web", "client_rate", "", 2400),
    ],
    failures=[Failures("db/pg-2", "origin_timeout", 30), Failures("", "no_origin", 7)],
    health=[PG2_DOWN],
)


def told(facts):
    made = report(facts)

    def plain(value):
        match value:
            case str():
                return value.replace(NB, " ")
            case dict():
                return {key: plain(one) for key, one in value.items()}
            case list():
                return [plain(one) for one in value]
        return value

    return plain(made)


def section(made, title):
    return next((one for one in made["sections"] if one["title"] == title), None)


def test_a_quiet_week_is_short():
    made = told(QUIET)
    assert made["headline"] == "Every origin up"
    assert made["paragraph"] == (
        "The edge carried 89.0 TB in 70.4 M sessions, 5 % more than the week before. No session failed."
    )
    assert made["subtitle"] == "edge.example.net, 23 – 29 November 2026, UTC"
    assert (made["sections"], made["to_do"]) == ([], [])
    assert made["footer"] == "Made on 30 November 2026, 00:00 UTC, from 141 M events."
    assert [one["label"] for one in made["figures"]] == ["Carried", "Sessions", "Failed sessions", "Clients"]


def test_an_outage_is_named():
    made = told(LOST)
    assert made["headline"] == "12,400 sessions kept out, one origin lost, no pool unavailable"
    assert (
        "Origin pg-2 of db has been down since Wednesday 14:02 (connect_timeout). Others served in its place."
        in made["paragraph"]
    )
    assert "12,400 sessions were refused, 81 % of them by rule scanners at ssh." in made["paragraph"]
    assert "37 sessions failed (< 0.01 %), most of them at db/pg-2." in made["paragraph"]
    outage = section(made, "Outages of origins")
    assert outage["rows"] == [["db/pg-2", "Wednesday 14:02", "ongoing", "connect_timeout", "4 d 10 h", "30"]]
    assert section(made, "Availability")["rows"] == [["db", "100 %", "1.37 of 2", "pg-2, 36.9 %", "4 d 10 h, ongoing"]]
    assert section(made, "Availability")["lede"].endswith("Every pool was.")
    assert section(made, "Kept out")["rows"][1] == ["web", "", "client_rate", "2,400"]
    assert made["to_do"] == ["Repair pg-2, or remove it from pool db: one origin is left."]
    assert [one["label"] for one in made["figures"]] == ["Carried", "Sessions", "Failed sessions", "Refused"]


def test_a_pool_without_any_origin():
    health = [PG2_DOWN, HealthChange(DOWN + 240, "originHealth", "db/pg-2", True, "")]
    made = told(replace(QUIET, health=health, pools={"db": ["pg-2"]}))
    assert made["headline"] == "One origin lost, db unavailable for 4 min"
    assert "Origin pg-2 of db was down for 4 min, from Wednesday 14:02 (connect_timeout)." in made["paragraph"]
    assert "Pool db had no origin for 4 min." in made["paragraph"]
    assert section(made, "Availability")["rows"] == [["db", "99.96 %", "1.00 of 1", "pg-2, 99.96 %", "4 min"]]
    assert made["to_do"] == ["Give pool db a second origin: it has only one, and was unavailable without it."]


def test_a_time_without_anything():
    made = told(replace(QUIET, total=Volume(), before=Volume()))
    assert (made["is_empty"], made["figures"], made["sections"]) == (True, [], [])
    assert made["paragraph"] == "No session ended in this time."
    assert not told(LOST)["is_empty"]


@pytest.mark.parametrize(
    ("facts", "headline"),
    [
        (replace(QUIET, total=Volume()), "Nothing was carried"),
        (replace(QUIET, pools={}), "No trouble"),
        (replace(QUIET, total=replace(TOTAL, failed=7_000_000), pools={}), "9.9 % of sessions failed"),
    ],
)
def test_the_headline_is_what_has_to_be_known_first(facts, headline):
    assert told(facts)["headline"] == headline


def test_days_and_apps_are_compared_with_those_before():
    days = [Volume(start=SINCE + i * 86400, sessions=10, failed=i, bytes_out=10**12) for i in range(7)]
    before = [Volume(start=SINCE + (i - 7) * 86400, bytes_out=(i + 1) * 10**11) for i in range(7)]
    apps = [
        Volume("game", sessions=100, failed=30, bytes_out=10**12, connect_ms=38.0),
        Volume("new", sessions=5, bytes_in=10**6),
    ]
    made = told(
        replace(QUIET, days=days, days_before=before, apps=apps, apps_before={"game": Volume("game", bytes_out=10**11)})
    )
    drawn = section(made, "Traffic per day")["days"]
    assert [(one["label"], one["before"]) for one in drawn[:2]] == [("Mon", 10**11), ("Tue", 2 * 10**11)]
    assert section(made, "Busiest apps")["rows"] == [
        ["game", "1.00 TB", "10 ×", "100", "30 %", "38 ms"],
        ["new", "1.00 MB", "new", "5", "0 %", ""],
    ]
    assert made["to_do"] == ["Check game: 30 % of its sessions failed."]


def test_nothing_to_compare_with_and_what_is_missing():
    made = told(replace(QUIET, before=Volume(), changes=2, missing=["Records of 12 minutes are missing."]))
    assert made["figures"][0]["note"] == "nothing to compare with"
    assert made["paragraph"].startswith("The edge carried 89.0 TB in 70.4 M sessions.")
    assert made["footer"].endswith("Two configurations were served in this time. Records of 12 minutes are missing.")


def test_origins_that_go_down_often():
    health = [
        HealthChange(SINCE + 3600 * i, "originHealth", "db/pg-2", bool(i % 2), "" if i % 2 else "refused")
        for i in range(8)
    ]
    made = told(replace(QUIET, health=health))
    assert made["to_do"] == ["Find out why db/pg-2 went down 4 times."]


GAME, NOBODY = AttackSums("game", "NTP reflection", 3, 5_000_000, 400_000_000), AttackSums("", "SYN flood", 1, 0, 9)
ATTACKED = replace(QUIET, attacks=[GAME, NOBODY], all_attacks=AttackSums("", "", 4, 5_000_000, 400_000_000))
CALMER = {
    "attacks_before": [replace(GAME, attacks=2, dropped=1000, bits_per_second=500_000_000)],
    "all_attacks_before": AttackSums("", "", 2, 1000, 500_000_000),
}


def test_attacks_have_a_section_where_there_were_any():
    assert section(told(QUIET), "Attacks") is None
    found = section(told(ATTACKED), "Attacks")
    assert found["rows"] == [
        ["NTP reflection", "game", "3", "new", "400 Mbit/s", "new", "5.00 M"],
        ["SYN flood", "no app", "1", "new", "9 bit/s", "new", "0"],
    ]
    assert found["lede"] == "In the week before: no attacks."
    found = section(told(replace(ATTACKED, **CALMER)), "Attacks")
    assert found["rows"][0] == ["NTP reflection", "game", "3", "+50 %", "400 Mbit/s", "−20 %", "5.00 M"]
    assert found["rows"][1][3] == "new"
    assert found["lede"] == "In the week before: two attacks, 1,000 packets dropped."


def test_attacks_are_told_in_the_summary_with_their_trend():
    made = told(ATTACKED)
    assert made["headline"] == "Four attacks of up to 400 Mbit/s, every origin up"
    assert (
        "Four attacks came, most often NTP reflection at game, and none in the week before; "
        "5.00 M packets were kept off." in made["paragraph"]
    )
    assert {"label": "Attacks", "value": "4", "note": "nothing to compare with"} in made["figures"]
    assert [one["label"] for one in made["figures"]] == ["Carried", "Sessions", "Failed sessions", "Attacks"]
    assert made["to_do"] == [
        "Find out why no packets of SYN flood at addresses of no app were dropped: the attacks page has the reason."
    ]
    made = told(replace(ATTACKED, **CALMER))
    assert "most often NTP reflection at game, 100 % more than the week before; 5.00" in made["paragraph"]
    assert {"label": "Attacks", "value": "4", "note": "+100 % on the week before"} in made["figures"]


def test_a_week_of_nothing_but_an_attack():
    made = told(replace(ATTACKED, total=Volume(), attacks=[NOBODY], all_attacks=replace(NOBODY, bits_per_second=0)))
    assert not made["is_empty"] and made["headline"] == "One attack, every origin up"
    assert made["paragraph"] == (
        "No session ended in this time. One attack came, most often SYN flood at addresses of no app, and none in the "
        "week before; no packets were dropped."
    )
