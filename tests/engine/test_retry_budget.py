from spectrum.engine.retry_budget import RetryBudget


def spent(budget, now_ms):
    """How many more connects there may be at a time."""
    count = 0
    while budget.spend(now_ms):
        count += 1
    return count


def test_a_share_of_the_sessions_may_retry():
    budget = RetryBudget(20, 0)
    assert not budget.allows(1000)
    for _ in range(100):
        budget.begin(1000)
    assert budget.allows(1000)
    assert spent(budget, 1000) == 20
    assert not budget.allows(1000)


def test_so_many_may_in_any_case():
    budget = RetryBudget(0, 0.5)
    assert spent(budget, 1000) == 5  # in ten seconds
    assert spent(budget, 1001) == 0
    assert 40 < sum(spent(budget, now) for now in range(1000, 101_000, 100)) <= 50


def test_what_was_counted_decays():
    budget = RetryBudget(20, 0)
    for _ in range(100):
        budget.begin(1000)
    assert spent(budget, 1000) == 20
    for _ in range(100):
        budget.begin(11_000)
    # Both counts have a weight of 1/e by now.
    assert spent(budget, 11_000) == 20
    assert spent(budget, 200_000) == 0


def test_a_clock_that_stops_or_goes_back_changes_nothing():
    budget = RetryBudget(100, 0)
    budget.begin(5000)
    assert budget.allows(5000)
    assert budget.allows(4000)
