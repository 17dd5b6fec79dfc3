import pytest

from spectrum.analytics.store import AnalyticsError
from spectrum.api.analytics.stores import make_store


def test_one_that_is_not_there():
    with pytest.raises(AnalyticsError, match="there is no store for /x"):
        make_store({"folder": "/x"})
