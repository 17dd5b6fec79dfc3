import pytest

from spectrum.control.configuration.blocks import may_have_anchors, name_of, split

HEAD = "workers: 1\napps: # all\n\n  # the first\n"
A, B = "  a:\n    protocol: tcp/1\n\n# of b\n", "  b-1.x: {protocol: tcp/2}\n"


def test_pieces():
    blocks = split(HEAD + A + B + "log: {}\n")
    assert blocks.apps == [A, B]
    assert blocks.lines == [4, 8]
    assert [name_of(block) for block in blocks.apps] == ["a", "b-1.x"]
    assert blocks.rest == HEAD + "  apps:\nlog: {}\n"


@pytest.mark.parametrize("tail", ["log: {}\n", "- x\n", "...\n", "---\n", "'log': {}\n", "", "%YAML 1.2\n"])
def test_what_is_not_of_apps_is_the_rest(tail):
    blocks = split(HEAD + B + A + tail)
    assert blocks.apps == [B, A]
    assert blocks.rest == HEAD + "  apps:\n" + tail


def test_a_text_without_an_end():
    assert split((HEAD + B).rstrip()) == split(HEAD + B)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "apps:\n",
        "apps: {}\n",
        "apps:\nlog: {}\n",
        "apps:\n- a\n",
        "apps:\n  - a\n",
        "workers: 1\n",
        "apps:\n" + A + "apps:\n" + B,
        "apps:\n" + A + "  'b': {}\n",
        "apps:\n" + A + "  ? b\n  : {}\n",
        "apps:\n" + A + " b: {}\n",
        "apps:\n" + A + "  b:{}\n",
        "apps:\n" + A + "  b\n",
        "apps:\n\ta: {}\n",
    ],
)
def test_what_is_not_certain(text):
    assert split(text) is None


@pytest.mark.parametrize(
    ("text", "may"),
    [("a: &b c", True), ("a: [&b c]", True), ("&b", True), ("# R&D, R & D", False), ("a: 'x&y'", False), ("é&b", True)],
)
def test_anchors(text, may):
    assert may_have_anchors(text) == may
