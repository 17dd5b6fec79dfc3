from spectrum.api.windows import Windows


def test_a_window_begins_with_the_first_and_ends_by_itself():
    windows = Windows(10)
    assert [windows.add("a", now, 60) for now in (10.0, 20.0, 69.9)] == [(1, 70.0), (2, 70.0), (3, 70.0)]
    assert windows.add("b", 69.9, 60) == (1, 129.9)
    assert windows.add("a", 70.0, 60) == (1, 130.0)


def test_a_clock_that_is_set_back_begins_a_window():
    windows = Windows(10)
    windows.add("a", 1000.0, 60)
    assert windows.add("a", 10.0, 60) == (1, 70.0)


def test_who_came_least_lately_is_forgotten_first():
    windows = Windows(2)
    for key in ("a", "b", "a", "c"):
        windows.add(key, 0.0, 60)
    assert windows.add("a", 1.0, 60)[0] == 3
    assert windows.add("b", 1.0, 60)[0] == 1
