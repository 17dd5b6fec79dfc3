import asyncio

import msgspec
import pytest

from spectrum.control.ddos.profiles import ProfilesActor
from spectrum.control.http.resource import ResourceTable
from spectrum.core.ddos.maxima import DAY_S, DailyMaximum, Deviation, Maxima
from spectrum.core.ddos.profile_header import ProfileHeader, ReservoirHeader, with_header

TODAY = 20_000
NOW = TODAY * DAY_S + 3_600.0


def header(app="game", **changed):
    """Return the header of a profile of two weeks, with a busy day of which a deviation was noted."""
    days = [DailyMaximum(TODAY - 13 + place, 20_000.0 if place == 10 else 2_000.0) for place in range(14)]
    busy = (TODAY - 3) * DAY_S + 100.0
    maxima = (
        Maxima("port", "7000", days, [Deviation(busy, busy + 10, 20_000.0, 3_000.0, 170_000.0)], 0.9),
        Maxima("all", "all", days[-2:], []),
    )
    whole = ProfileHeader(
        app,
        "",
        NOW - 30,
        7_200.0,
        (100.0, 20.0, 5_000.0),
        0.7,
        4_000.0,
        (),
        (ReservoirHeader("day", 1_000), ReservoirHeader("week", 900), ReservoirHeader("used", 500)),
        maxima,
        0.6,
        NOW - 90_000,
        NOW - 40,
        0.0016,
        True,
    )
    return msgspec.structs.replace(whole, **changed)


def save(folder, name, **changed):
    (folder / f"{name or 'unserved'}.profile").write_bytes(with_header(header(name, **changed), b""))


def asked(folder, path, **query):
    table = ResourceTable(ProfilesActor(lambda: folder, lambda: NOW).resources(), 0)
    status, body = asyncio.run(table.answer("GET", path, query, b""))
    return status, msgspec.json.decode(body)


def test_profiles_say_how_sure_they_are(tmp_path):
    save(tmp_path, "web", is_settled=False)
    save(tmp_path, "game")
    save(tmp_path, "")  # of what no app gets
    status, answer = asked(tmp_path, "/ddos/profiles")
    assert status == 200 and answer["faults"] == []
    game, web = answer["profiles"]
    assert (game["app"], game["rows"], game["rows_in_use"], game["rules"]) == ("game", 1_900, 500, "act")
    assert (game["learned_s"], game["oldest_s"], game["newest_s"], game["saved_s"]) == (7_200, 90_000, 40, 30)
    assert (game["unseen"], game["day_share"], game["openings_per_second"]) == (0.0016, 0.6, 120)
    assert web["rules"] == "log" and "maxima" not in web


def test_the_limits_of_an_app(tmp_path):
    save(tmp_path, "game")
    (profile,) = asked(tmp_path, "/ddos/profiles", app="game")[1]["profiles"]
    port, everything = profile["maxima"]
    assert (port["dimension"], port["value"], port["limit"], port["percentile_95"]) == ("port", "7000", 3_000, 2_000)
    assert port["days"][-1] == {"day": "2024-10-04", "packets_per_second": 2_000}
    assert port["deviations"][0]["packets_beyond"] == 170_000
    assert everything["limit"] is None and not everything["is_doubtful"]


def test_what_would_have_been_too_much(tmp_path):
    save(tmp_path, "game")
    (line,) = asked(tmp_path, "/ddos/preview")[1]["beyond"]
    assert line == {
        "app": "game",
        "day": "2024-10-01",
        "dimension": "port",
        "value": "7000",
        "packets_per_second": 20_000,
        "limit": 3_000,
        "packets_beyond": 170_000,
        "openings_share": 0.9,
    }


def test_faults_are_reported(tmp_path):
    assert asked(None, "/ddos/profiles") == (422, {"errors": ["attacks are not detected: the file has no ddos"]})
    assert "no profile of an app 'x' was saved yet" in asked(tmp_path, "/ddos/profiles", app="x")[1]["errors"][0]
    (tmp_path / "a.profile").write_bytes(b"damaged")
    (tmp_path / "b.profile").symlink_to("/etc/passwd")
    save(tmp_path, "game")
    status, answer = asked(tmp_path, "/ddos/preview")
    assert status == 200 and len(answer["beyond"]) == 1
    assert "only 7 bytes" in answer["faults"][0] and "cannot be read" in answer["faults"][1]


@pytest.mark.parametrize("app", ["game", "web"])
def test_an_app_alone(tmp_path, app):
    save(tmp_path, "game")
    save(tmp_path, "web")
    assert [one["app"] for one in asked(tmp_path, "/ddos/preview", app=app)[1]["beyond"]] == [app]
