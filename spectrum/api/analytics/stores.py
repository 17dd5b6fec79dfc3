"""Which store of analytics a file asks for."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrum.analytics.store import AnalyticsError, AnalyticsStore

log = logging.getLogger(__name__)


def make_store(settings: Mapping[str, Any]) -> AnalyticsStore:
    """Return the store of these settings; it is not open yet.

    Raises:
        AnalyticsError: If what it needs is not installed.
    """
    try:
        from spectrum.analytics.embedded import EmbeddedStore  # an extra
    except ImportError as exc:
        raise AnalyticsError(f"{exc}: pip install 'spectrum-edge[analytics]'") from exc
    return EmbeddedStore(
        Path(settings["folder"]),
        max_bytes=settings["max_bytes"],
        events_s=settings["events_s"],
        minutes_s=settings["minutes_s"],
        memory_bytes=settings["memory"],
        threads=settings["threads"],
        say=log.warning,
    )
