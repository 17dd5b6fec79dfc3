import json

import httpx
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import BodyFault
from spectrum.api.paging import (
    Page,
    by_cursor,
    by_cursor_after,
    cursor_of,
    key_of,
    page_query,
    paged,
    paged_items,
    part_after,
)


def said(response):
    return json.loads(response.body)


def test_a_page_has_its_part_and_what_there_is():
    answer = said(paged(range(45), Page(3, 20, True), str))
    assert answer["result"] == ["40", "41", "42", "43", "44"]
    assert answer["result_info"] == {"page": 3, "per_page": 20, "count": 5, "total_count": 45, "total_pages": 3}


def test_a_page_behind_the_end_is_empty():
    assert said(paged(range(45), Page(4, 20, True), str))["result"] == []


def test_an_empty_list_has_no_page():
    assert said(paged([], Page(), str))["result_info"]["total_pages"] == 0


def test_entries_may_stand_in_an_object():
    assert said(paged_items([1], Page(), str, "resources"))["result"] == {"resources": ["1"]}


@given(st.sets(st.text(min_size=1)), st.integers(1, 5))
def test_parts_by_cursor_are_the_list(names, limit):
    items, found, cursor = sorted(names), [], ""
    while True:
        part, cursor = part_after(items, cursor, limit, str)
        found += part
        if not cursor:
            break
    assert found == items


def test_what_is_added_before_a_cursor_moves_nothing():
    part, cursor = part_after(["b", "d", "f"], "", 2, str)
    assert part == ["b", "d"]
    assert part_after(["a", "b", "c", "d", "f"], cursor, 2, str) == (["f"], "")


@given(st.text())
def test_a_cursor_is_read_again(key):
    assert key_of(cursor_of(key)) == key


@pytest.mark.parametrize("cursor", ["*", "abc", "_w", "é"])
def test_a_strange_cursor_is_refused(cursor):
    with pytest.raises(BodyFault, match="cursor"):
        key_of(cursor)


def test_cursors_are_where_official_clients_look():
    assert said(by_cursor([1], "x"))["result_info"] == {"count": 1, "cursor": "x"}
    assert said(by_cursor([1], ""))["result_info"] == {"count": 1}
    assert said(by_cursor_after([1], "x"))["result_info"] == {"count": 1, "cursors": {"after": "x"}}
    assert said(by_cursor_after([], ""))["result_info"] == {"count": 0, "cursors": {}}


async def test_a_page_is_read_from_the_query():
    app = FastAPI()

    @app.get("/")
    def show(page=Depends(page_query(25, 100))):  # noqa: B008
        return [page.number, page.per_page, page.is_given]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        assert (await client.get("/")).json() == [1, 25, False]
        assert (await client.get("/?page=2&per_page=5")).json() == [2, 5, True]
        assert (await client.get("/?page=0")).status_code == (await client.get("/?per_page=101")).status_code == 422
