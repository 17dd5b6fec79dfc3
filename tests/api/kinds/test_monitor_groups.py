import pytest

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.monitor_groups import MONITOR_GROUPS, wanted_name
from spectrum.store.objects import file_id
from tests.api.kinds.references import Known, has, stored

REFS = Known(monitors=["tcp", "web"])
MEMBER = {"monitor_id": file_id("monitors", "tcp"), "enabled": False, "monitoring_only": True, "must_be_healthy": False}
BODY = {"description": "all of them", "members": [MEMBER, {"monitor_id": file_id("monitors", "web")}]}


def test_what_was_configured_is_answered():
    value = MONITOR_GROUPS.checked(BODY, REFS)
    assert [member["monitor"] for member in value["members"]] == ["tcp", "web"]
    told = MONITOR_GROUPS.from_value(stored("monitor_groups", "g", value), REFS)
    assert has(told, BODY)
    assert has(told["members"][1], {"enabled": True, "monitoring_only": False, "must_be_healthy": False})
    assert told["members"][0]["created_at"] == told["created_on"]
    assert MONITOR_GROUPS.checked(MONITOR_GROUPS.to_body(value, REFS), REFS) == value
    assert MONITOR_GROUPS.checked(told, REFS)["members"][0] == value["members"][0]


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"description": None}, "/description"),
        ({"members": None}, "/members"),
        ({"members": [1]}, "/members/0"),
        ({"members": [{"monitor_id": "0" * 32}]}, "/members/0/monitor_id"),
        ({"members": [MEMBER | {"colour": 1}]}, "/members/0/colour"),
        ({"members": [MEMBER | {"enabled": "no"}]}, "/members/0/enabled"),
        ({"colour": 1}, "/colour"),
    ],
)
def test_each_fault_has_its_place(more, pointer):
    with pytest.raises(ApiError) as caught:
        MONITOR_GROUPS.checked(BODY | more, REFS)
    assert (caught.value.status, caught.value.code, caught.value.details[0].pointer) == (400, 1002, pointer)


def test_a_place_of_the_file_is_one_of_the_body():
    detail = MONITOR_GROUPS.refusal([(("members", 1, "monitor"), "why")], BODY).details[0]
    assert (detail.pointer, detail.message) == ("/members/1/monitor_id", "why")


def test_a_group_is_named_for_what_it_does():
    assert [wanted_name({"description": text}) for text in ("All of them!", "")] == ["All-of-them", "group"]
