import threading

import pytest

from spectrum.api.kinds import lists as kind
from spectrum.api.routes.lists import MAX_OPERATIONS, BulkOperations
from tests.api.routes.calls import LISTS, OTHER_ACCOUNT, done, refused


async def put(client, path, method, body):
    operation = (await done(client, method, f"{path}/items", body))["operation_id"]
    told = await done(client, "GET", f"{LISTS}/bulk_operations/{operation}")
    assert (told["id"], told["status"]) == (operation, "completed")
    return operation


async def test_items_are_added_found_replaced_and_deleted(api):
    async with api.client() as client:
        made = await done(client, "POST", LISTS, {"kind": "ip", "name": "banned", "description": "d"})
        path = f"{LISTS}/{made['id']}"
        assert (made["num_items"], made["num_referencing_filters"]) == (0, 0)
        operation = await put(client, path, "POST", [{"ip": f"192.0.2.{i}"} for i in range(5)])
        assert (await done(client, "GET", path))["num_items"] == 5
        first = (await client.get(f"{path}/items?per_page=3")).json()
        after = first["result_info"]["cursors"]["after"]
        second = (await client.get(f"{path}/items?per_page=3&cursor={after}")).json()
        assert [one["ip"][8:] for one in first["result"] + second["result"]] == list("01234")
        assert second["result_info"]["cursors"] == {}
        (found,) = await done(client, "GET", f"{path}/items?search=192.0.2.3")
        assert await done(client, "GET", f"{path}/items/{found['id']}") == found
        await put(client, path, "DELETE", {"items": [{"id": found["id"]}]})
        assert (await refused(client, "GET", f"{path}/items/{found['id']}"))[0] == 404
        await put(client, path, "PUT", [{"ip": "2001:db8::/64", "comment": "c"}])
        assert [one["comment"] for one in await done(client, "GET", f"{path}/items")] == ["c"]
        assert (await refused(client, "GET", f"{path}/items?cursor=!"))[0] == 400
        elsewhere = f"{OTHER_ACCOUNT}/rules/lists"
        assert (await refused(client, "GET", f"{elsewhere}/bulk_operations/{operation}"))[0] == 404
        assert await done(client, "DELETE", path) == {"id": made["id"]}


async def test_only_the_description_of_a_list_changes(api):
    async with api.client() as client:
        made = await done(client, "POST", LISTS, {"kind": "ip", "name": "banned", "items": ["192.0.2.1"]})
        path = f"{LISTS}/{made['id']}"
        told = await done(client, "PUT", path, {"description": "new"})
        assert (told["description"], told["num_items"]) == ("new", 1)
        assert (await done(client, "PUT", path, told))["description"] == "new"
        assert (await refused(client, "PUT", path, {"name": "other"}))[3] == "/name"
        assert (await refused(client, "PUT", path, {"kind": "asn"}))[3] == "/kind"
        assert [one["id"] for one in await done(client, "GET", LISTS)] == [made["id"]]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET", "describe"])
async def test_what_takes_a_step_for_each_item_does_not_hold_up_other_requests(api, monkeypatch, method):
    threads = []

    def noted(*args):
        threads.append(threading.current_thread())
        return value_of(*args)

    async with api.client() as client:
        made = await done(client, "POST", LISTS, {"kind": "ip", "name": "banned"})
        path = f"{LISTS}/{made['id']}"
        await put(client, path, "PUT", [{"ip": "192.0.2.1"}])
        (item,) = await done(client, "GET", f"{path}/items")
        value_of = kind.LISTS.checked if method == "describe" else kind.item_value
        if method == "describe":
            monkeypatch.setattr(type(kind.LISTS), "checked", lambda self, *args: noted(self, *args))
            value_of = lambda self, *args: self.to_value(*args)  # noqa: E731
            await done(client, "PUT", path, {"description": "d"})
        else:
            monkeypatch.setattr(kind, "item_value", noted)
            if method == "GET":
                monkeypatch.setattr("spectrum.api.routes.lists.items_below", lambda items, one: list(items))
                await done(client, "GET", f"{path}/items/{item['id']}")
            else:
                body = {"items": [{"id": item["id"]}]} if method == "DELETE" else [{"ip": "192.0.2.2"}]
                await put(client, path, method, body)
    assert threads and threading.main_thread() not in threads


def test_old_operations_are_forgotten():
    operations = BulkOperations()
    first = operations.add("a", 1.0)
    assert (operations.completed("a", first), operations.completed("b", first)) == (1.0, None)
    for _ in range(MAX_OPERATIONS):
        last = operations.add("a", 2.0)
    assert (operations.completed("a", first), operations.completed("a", last)) == (None, 2.0)
