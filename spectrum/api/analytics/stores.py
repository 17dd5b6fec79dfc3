"""Which store of analytics a file asks for."""

from collections.abc import Mapping
from typing import Any

from spectrum.analytics.store import AnalyticsError, AnalyticsStore


def make_store(settings: Mapping[str, Any]) -> AnalyticsStore:
    """Return the store of these settings; it is not open yet.

    Raises:
        AnalyticsError: If there is none of this kind.
    """
    raise AnalyticsError(f"there is no store for {settings['folder']} in this version")
