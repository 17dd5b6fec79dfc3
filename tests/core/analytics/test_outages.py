from spectrum.core.analytics.outages import HealthChange, availability, outages


def change(time, healthy, origin="db/a", event="originHealth", reason="connect_timeout"):
    return HealthChange(time, event, origin, healthy, "" if healthy else reason)


def test_outages_are_within_the_time_that_is_looked_at():
    changes = [
        change(1, False),  # goes on into the time
        change(110, True),
        change(150, False, "db/b"),
        change(151, False, "db/b", reason="later"),
        change(20, False, "db/c"),
        change(30, True, "db/c"),  # over before it
        change(190, False, "db/d"),
        change(250, False, "db/e"),  # begins after it
        change(120, False, event="poolHealth", origin=""),
        change(120, True, "db/f"),  # was never down
    ]
    found = outages(changes, 100, 200)
    assert [tuple(one) for one in found] == [
        ("db/a", 100, 110, "connect_timeout", False),
        ("db/b", 150, 200, "connect_timeout", True),
        ("db/d", 190, 200, "connect_timeout", True),
    ]
    assert (found[0].pool, found[0].name, found[0].length) == ("db", "a", 10)


def test_a_pool_is_unavailable_when_all_of_its_origins_are_down():
    changes = [
        change(10, False, "db/a"),
        change(30, True, "db/a"),
        change(20, False, "db/b", "originEjected"),
        change(40, True, "db/b", "originReturned"),
        change(50, False, "gone/x"),
    ]
    found = availability({"web": ["o"], "db": ["a", "b"], "empty": []}, outages(changes, 0, 100), 0, 100)
    db, empty, web = found
    assert (db.pool, db.available, db.up, db.down, db.unavailable) == ("db", 0.9, 1.6, 40, 10)
    assert (db.worst, db.worst_up, db.goes_on) == ("a", 0.8, False)
    assert (web.available, web.worst, web.down) == (1, "", 0)
    assert (empty.origins, empty.available) == (0, 1)


def test_an_origin_that_is_down_for_all_of_the_time():
    found = outages([change(0, False)], 100, 200)
    (pool,) = availability({"db": ["a"]}, found, 100, 200)
    assert (pool.available, pool.unavailable, pool.goes_on) == (0, 100, True)
