import time

from spectrum.api.steps import Steps


def test_what_is_noted_has_its_time():
    steps, began_ns = Steps(), time.time_ns()
    steps.note("check", time.time_ns())
    steps.note("all", began_ns)
    steps.add([("plan", 1, 2)])
    (check, all_of_it, plan) = steps.all
    assert (check[0], all_of_it[0], plan) == ("check", "all", ("plan", 1, 2))
    assert all_of_it[1] <= check[1] <= check[2] <= all_of_it[2]
