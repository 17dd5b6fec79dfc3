import pytest

from spectrum.api.envelope import ApiError
from spectrum.api.rates import MAX_CALLERS, RequestRates


def test_requests_are_counted_in_a_window():
    rates = RequestRates(2, 300)
    assert rates.count("a", 1000.0) == {
        "x-ratelimit-limit": "2",
        "x-ratelimit-remaining": "1",
        "x-ratelimit-reset": "Thu, 01 Jan 1970 00:21:40 GMT",
    }
    assert rates.count("a", 1001.0)["x-ratelimit-remaining"] == "0"
    with pytest.raises(ApiError) as caught:
        rates.count("a", 1100.0)
    assert caught.value.status == 429
    assert caught.value.headers["retry-after"] == "200"
    assert rates.count("b", 1100.0)["x-ratelimit-remaining"] == "1"
    assert rates.count("a", 1300.0)["x-ratelimit-remaining"] == "1"


def test_a_clock_that_is_set_back_begins_a_window():
    rates = RequestRates(1, 300)
    rates.count("a", 1000.0)
    assert rates.count("a", 10.0)["x-ratelimit-remaining"] == "0"


def test_no_limit_says_nothing():
    assert RequestRates(0).count("a", 1.0) == {}


def test_no_more_callers_are_remembered_than_fit():
    rates = RequestRates(1)
    for number in range(MAX_CALLERS + 1):
        rates.count(str(number), 1.0)
    rates.count("0", 1.0)
