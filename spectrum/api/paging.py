"""The four ways in which Cloudflare's lists are paged: pages, pages in `result.items`, and two kinds of cursors."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Query
from starlette.responses import Response

from spectrum.api.envelope import BodyFault, success

T = TypeVar("T")
DEFAULT_PER_PAGE = 20
# Accounts and zones have at most 50, audit logs 1000: a request for fewer entries is not refused.
MOST_PER_PAGE = 1000
# Pages beyond it are empty.
LAST_PAGE = 1_000_000_000
BAD_CURSOR = 1002


@dataclass(frozen=True, slots=True)
class Page:
    """A requested page.

    Attributes:
        number: Its number, from 1 on; 1 by default.
        per_page: Entries of a page.
        is_given: Whether the request has a number.
    """

    number: int = 1
    per_page: int = DEFAULT_PER_PAGE
    is_given: bool = False

    def slice(self, items: Sequence[T]) -> Sequence[T]:
        """Return the entries of the page; none beyond the end of the list, where official clients stop."""
        begin = (self.number - 1) * self.per_page
        return items[begin : begin + self.per_page]

    def info(self, count: int, total: int) -> dict[str, int]:
        """Return `result_info`."""
        return {
            "page": self.number,
            "per_page": self.per_page,
            "count": count,
            "total_count": total,
            "total_pages": -(-total // self.per_page),
        }


def page_query(per_page: int = DEFAULT_PER_PAGE, most: int = MOST_PER_PAGE) -> Callable[..., Awaitable[Page]]:
    """Return a dependency that reads `page` and `per_page`.

    Args:
        per_page: The default.
        most: The largest value.
    """

    async def read(
        page: int | None = Query(None, ge=1, le=LAST_PAGE, description="Number of the page, from 1 on."),
        per_page: int = Query(per_page, ge=1, le=most, description="Entries of a page."),
    ) -> Page:
        return Page(page or 1, per_page, page is not None)

    return read


def paged(items: Sequence[T], page: Page, shown: Callable[[T], Any]) -> Response:
    """Return a page of a list, with `result_info`.

    Args:
        items: The whole list, in order.
        page: The page.
        shown: Returns an entry as it is sent; called for entries of the page only.
    """
    part = [shown(item) for item in page.slice(items)]
    return success(part, page.info(len(part), len(items)))


def paged_items(items: Sequence[T], page: Page, shown: Callable[[T], Any], key: str = "items") -> Response:
    """Return a page of a list inside an object: `result.items`."""
    part = [shown(item) for item in page.slice(items)]
    return success({key: part}, page.info(len(part), len(items)))


def cursor_of(key: str) -> str:
    """Return the cursor behind an entry."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def key_of(cursor: str) -> str:
    """Return the key in a cursor.

    Raises:
        BodyFault: If this API did not make the cursor.
    """
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise BodyFault(BAD_CURSOR, "cursor: not one of this API") from exc


def part_after(items: Sequence[T], cursor: str, limit: int, key: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """Return the entries behind a cursor, and the cursor behind these: empty at the end.

    Entries that are added or removed meanwhile do not shift others between pages.

    Args:
        items: The whole list, by ascending `key`.
        cursor: Empty for the first entries.
        limit: The most entries to return.
        key: The key of an entry; unique, and not empty.
    """
    begin = bisect_right(items, key_of(cursor), key=key) if cursor else 0
    part = items[begin : begin + limit]
    is_last = begin + limit >= len(items)
    return part, "" if is_last else cursor_of(key(part[-1]))


def by_cursor(part: Sequence[Any], after: str) -> Response:
    """Return a part of a list that clients continue by `result_info.cursor` (rulesets)."""
    info: dict[str, Any] = {"count": len(part)}
    if after:
        info["cursor"] = after
    return success(part, info)


def by_cursor_after(part: Sequence[Any], after: str) -> Response:
    """Return a part of a list that clients continue by `result_info.cursors.after` (items of lists, audit logs)."""
    info: dict[str, Any] = {"count": len(part), "cursors": {"after": after} if after else {}}
    return success(part, info)
