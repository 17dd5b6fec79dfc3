import pytest

from spectrum.analytics.store import AnalyticsError, QuestionTooLarge


def test_errors_say_why_in_a_word():
    assert AnalyticsError("cannot be had").reason == "other"
    with pytest.raises(AnalyticsError, match="no room") as caught:
        raise QuestionTooLarge("no room", "full")
    assert caught.value.reason == "full"
