import asyncio

import pytest

from spectrum.api.catalogue import NotLive, ObjectFault
from spectrum.api.supervisor import DaemonLink
from spectrum.link.api import LinkLost
from spectrum.store.objects import ObjectChange


class Line:
    """Answers what it is given."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def ask(self, method, path, query, body, timeout_s):
        await asyncio.sleep(0)
        self.asked.append((method, path, query, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_changes_and_their_faults():
    line = Line((200, {"generation": 5, "faults": [[], [{"place": ["pools", "q", 0], "message": "no"}]], "busy": ""}))
    groups = [("ci", [ObjectChange("pools", "1", "p", {"a": 1})]), ("me", [ObjectChange("pools", "2", "q", None)])]
    assert await DaemonLink(line).change(groups) == [[], [ObjectFault(("pools", "q", 0), "no")]]
    ((method, path, _, body),) = line.asked
    assert (method, path) == ("POST", "/changes")
    assert body == {
        "groups": [
            {"by": "ci", "objects": [{"section": "pools", "name": "p", "value": {"a": 1}}]},
            {"by": "me", "objects": [{"section": "pools", "name": "q", "value": None}]},
        ]
    }


async def test_the_files_objects():
    assert await DaemonLink(Line((200, {"file": {}}))).objects() == {"file": {}}


@pytest.mark.parametrize(
    ("answer", "message", "is_for_now"),
    [
        ((200, {"faults": [], "busy": "it is being upgraded"}), "upgraded", True),
        (LinkLost("the daemon is gone"), "gone", True),
        ((422, {"errors": ["a", "b"]}), "a; b", False),
        ((404, None), "status 404", False),
    ],
)
async def test_a_daemon_that_does_not(answer, message, is_for_now):
    with pytest.raises(NotLive, match=message) as caught:
        await DaemonLink(Line(answer)).change([])
    assert caught.value.is_for_now == is_for_now
    assert caught.value.is_unknown == isinstance(answer, LinkLost)


async def test_changes_are_checked():
    line = Line((200, {"generation": 5, "faults": [[{"place": ["pools", "p"], "message": "no"}]], "busy": ""}))
    groups = [("ci", [ObjectChange("pools", "1", "p", {"a": 1})])]
    assert await DaemonLink(line).check(groups) == [[ObjectFault(("pools", "p"), "no")]]
    assert line.asked[0][3]["check"] is True
