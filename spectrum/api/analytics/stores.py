"""The store of analytics that the file asks for."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrum.analytics.store import AnalyticsError, AnalyticsStore

log = logging.getLogger(__name__)


def make_store(settings: Mapping[str, Any]) -> AnalyticsStore:
    """Return the store of some settings; it is not open yet.

    Raises:
        AnalyticsError: If a library that it needs is not installed.
    """
    try:
        # An extra. With ClickHouse too, DuckDB makes the rows.
        from spectrum.analytics.clickhouse import ClickHouseStore
        from spectrum.analytics.clickhouse_http import ClickHouseHttp
        from spectrum.analytics.embedded import EmbeddedStore
    except ImportError as exc:
        raise AnalyticsError(f"{exc}: pip install 'spectrum-edge[analytics]'") from exc
    if server := settings.get("clickhouse"):
        return ClickHouseStore(
            ClickHouseHttp(server["url"], server["database"], server["user"], server["password"]),
            Path(settings["folder"]),
            settings["events_s"],
            settings["minutes_s"],
        )
    return EmbeddedStore(
        Path(settings["folder"]),
        max_bytes=settings["max_bytes"],
        events_s=settings["events_s"],
        minutes_s=settings["minutes_s"],
        memory_bytes=settings["memory"],
        threads=settings["threads"],
        say=log.warning,
    )
