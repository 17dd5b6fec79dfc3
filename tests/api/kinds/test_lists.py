import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.lists import LISTS, found_items, item_id, items_below, with_items, without_items
from spectrum.store.objects import StoredObject
from tests.api.kinds.references import Known, has, stored

REFS = Known()
BODY = {"kind": "ip", "name": "attackers", "description": "who attacks"}
NOW = 1_700_000_200.0
STAMP = "2023-11-14T22:16:40.000000Z"


def make(**more):
    return stored("lists", "attackers", LISTS.checked(BODY | more, REFS))


def put(obj, items, replaces=False):
    return StoredObject(obj.section, obj.id, obj.name, with_items(obj, items, NOW, replaces=replaces), 0.0, 0.0)


def test_an_answer_counts_items_and_has_none():
    told = LISTS.from_value(make(items=["192.0.2.1"]), REFS)
    assert has(told, {**BODY, "num_items": 1, "num_referencing_filters": 0})
    assert "items" not in told


@pytest.mark.parametrize(
    ("more", "pointer", "words"),
    [
        ({"kind": "redirect"}, "/kind", "HTTP"),
        ({"kind": "hostname"}, "/kind", "HTTP"),
        ({"kind": "mac"}, "/kind", "ip or asn"),
        ({"kind": None}, "/kind", "missing"),
        ({"name": "a-b"}, "/name", "underscores"),
        ({"name": None}, "/name", "underscores"),
        ({"description": "x" * 501}, "/description", "500"),
        ({"items": ["x"]}, "/items/0", "not a prefix"),
        ({"items": {}}, "/items", "list"),
        ({"colour": 1}, "/colour", "unknown field"),
    ],
)
def test_each_fault_has_its_place(more, pointer, words):
    with pytest.raises(ApiError) as caught:
        LISTS.checked(BODY | more, REFS)
    assert (caught.value.status, caught.value.details[0].pointer) == (400, pointer)
    assert words in caught.value.details[0].message


def test_items_are_added_replaced_and_taken_out():
    obj = put(
        make(items=["192.0.2.1"]), [{"ip": "2001:DB8::/32", "comment": "six"}, {"ip": "192.0.2.1", "comment": "one"}]
    )
    assert items_below(found_items(obj, ""), obj) == [
        {
            "id": item_id(obj, "192.0.2.1"),
            "ip": "192.0.2.1",
            "comment": "one",
            "created_on": "2023-11-14T22:13:20.250000Z",
            "modified_on": STAMP,
        },
        {
            "id": item_id(obj, "2001:db8::/32"),
            "ip": "2001:db8::/32",
            "comment": "six",
            "created_on": STAMP,
            "modified_on": STAMP,
        },
    ]
    assert [item["ip"] for item in items_below(found_items(obj, "2001:D"), obj)] == ["2001:db8::/32"]
    assert without_items(obj, {"items": [{"id": item_id(obj, "192.0.2.1")}]})["items"] == obj.value["items"][1:]
    assert put(obj, [{"ip": "192.0.2.9"}], replaces=True).value["items"] == [{"ip": "192.0.2.9", "created_on": STAMP}]
    assert put(obj, [], replaces=True).value["items"] == []


def test_lists_of_autonomous_systems():
    obj = put(make(kind="asn", items=[64500, "AS64501"]), [{"asn": 64502}])
    assert [item["asn"] for item in items_below(found_items(obj, ""), obj)] == [64500, 64501, 64502]
    assert [item["asn"] for item in items_below(found_items(obj, "64501"), obj)] == [64501]
    assert found_items(obj, "6450") == []


@pytest.mark.parametrize(
    ("items", "pointer", "words"),
    [
        ({"ip": "192.0.2.1"}, "", "array"),
        ([{"ip": "192.0.2.1"}, {"ip": "192.0.2.1/24"}], "/1/ip", "not a prefix"),
        ([{"asn": 1}], "/0", 'no "ip"'),
        (["192.0.2.1"], "/0", 'no "ip"'),
        ([{"ip": "192.0.2.1", "colour": 1}], "/0/colour", "unknown field"),
        ([{"ip": "192.0.2.1", "comment": "x" * 501}], "/0/comment", "500"),
    ],
)
def test_each_fault_of_an_item_has_its_place(items, pointer, words):
    with pytest.raises(ApiError) as caught:
        with_items(make(), items, NOW, replaces=False)
    assert (caught.value.status, caught.value.details[0].pointer) == (400, pointer)
    assert words in caught.value.details[0].message


@pytest.mark.parametrize(
    ("body", "pointer"),
    [([], "/items"), ({}, "/items"), ({"items": [1]}, "/items"), ({"items": [{"id": "x"}]}, "/items/0/id")],
)
def test_only_items_that_are_there_are_taken_out(body, pointer):
    with pytest.raises(ApiError) as caught:
        without_items(make(items=["192.0.2.1"]), body)
    assert caught.value.details[0].pointer == pointer


@given(st.lists(st.ip_addresses(v=4), unique=True), st.lists(st.ip_addresses(v=4), unique=True))
def test_a_list_holds_what_was_added_once(first, second):
    obj = put(put(make(), [{"ip": str(one)} for one in first]), [{"ip": str(one)} for one in second])
    told = [item["ip"] for item in items_below(found_items(obj, ""), obj)]
    assert told == list(map(str, dict.fromkeys([*first, *second])))
    assert LISTS.checked(LISTS.to_body(obj.value, REFS), REFS) == obj.value
