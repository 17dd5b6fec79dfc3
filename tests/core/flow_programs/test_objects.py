import pytest
from pydantic import ValidationError

from spectrum.core.flow_programs.objects import FlowProgram


def test_what_one_says():
    one = FlowProgram.model_validate({"source": "/etc/game.c", "apps": ["game"]})
    assert (one.mode, one.in_use, one.file) == ("log", False, "/etc/game.c")
    assert (
        FlowProgram.model_validate({"object": "/etc/game.o", "apps": ["a", "b"], "mode": "enabled"}).file
        == "/etc/game.o"
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "either source"),
        ({"source": "/a.c", "object": "/a.o"}, "either source"),
        ({"source": "a.c"}, "absolute"),
        ({"source": "/a.c", "apps": []}, "at least 1"),
        ({"source": "/a.c", "mode": "drop"}, "log"),
    ],
)
def test_what_it_cannot_say(more, why):
    with pytest.raises(ValidationError, match=why):
        FlowProgram.model_validate({"apps": ["game"]} | more)
